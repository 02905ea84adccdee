import torch.nn.functional as F


def one_head(x, weight, bias, heads, head):
    """(B, nW, N, C) -> (B, nW, N, N): the attention weights of one head"""
    C = x.shape[-1]
    d = C // heads
    q_rows = slice(head * d, head * d + d)
    k_rows = slice(C + head * d, C + head * d + d)  # the keys begin after the C rows of all queries
    q = F.linear(x, weight[q_rows], bias[q_rows])  # (B, nW, N, d)
    k = F.linear(x, weight[k_rows], bias[k_rows])
    scores = q @ k.transpose(-2, -1) / d**0.5  # (B, nW, N, N)
    return scores.softmax(dim=-1)  # over the keys; the values are not needed
