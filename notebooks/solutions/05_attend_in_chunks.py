import math

import torch


def attend_in_chunks(q, chunks):
    """(N, d), [(keys (n, d), values (n, d)), ...] -> (N, d)"""
    N, d = q.shape
    largest = torch.full((N, 1), -math.inf)  # the largest score that each query has seen
    weights, values_sum = torch.zeros(N, 1), torch.zeros(N, d)
    for keys, values in chunks:
        scores = q @ keys.T / math.sqrt(d)  # (N, n)
        new = torch.maximum(largest, scores.amax(dim=1, keepdim=True))
        positive = (scores - new).exp()
        # The sums so far were made with the old maximum: bring both to the new one.
        factor = (largest - new).exp()  # at most 1; 0 for the first chunk
        weights = factor * weights + positive.sum(dim=1, keepdim=True)
        values_sum = factor * values_sum + positive @ values
        largest = new
    return values_sum / weights
