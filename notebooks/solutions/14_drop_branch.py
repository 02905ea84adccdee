import torch


def drop_branch(x, drop_prob, training):
    """(B, ...) -> (B, ...): in training, drop the branch of whole samples"""
    if drop_prob == 0 or not training:
        return x
    keep = 1 - drop_prob
    kept = torch.rand(len(x), *[1] * (x.ndim - 1)) < keep  # one for each sample
    return x / keep * kept
