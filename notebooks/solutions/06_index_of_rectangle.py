import torch


def index_of_rectangle(height, width):
    """-> (N, N) int64, N = height · width, from 0 to (2·height - 1) · (2·width - 1) - 1"""
    token = torch.arange(height * width)
    y, x = token // width, token % width  # a row of the window holds `width` tokens
    dy = y[:, None] - y[None, :] + height - 1  # (N, N), from 0 to 2·height - 2
    dx = x[:, None] - x[None, :] + width - 1  # from 0 to 2·width - 2
    return dy * (2 * width - 1) + dx  # room for all values of dx
