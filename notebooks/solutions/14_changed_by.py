import torch


def changed_by(function, x, token):
    """(1, H, W, C) -> (H, W) bool: the outputs that change when this token of x becomes another one"""
    row, column = token
    other = x.clone()
    other[0, row, column] += torch.randn(x.shape[-1])  # noise: a LayerNorm would take a constant away
    difference = function(other) - function(x)
    return (difference.abs() > 1e-5).any(dim=-1)[0]
