import torch

from swin_cifar import window_partition


def mask_by_distance(H, W, M, shift):
    """-> (nW, N, N) bool, True where query and key may attend to each other"""
    # After the roll, the token at (i, j) comes from row rows[i] and column columns[j] of the picture.
    rows, columns = torch.arange(H).roll(-shift), torch.arange(W).roll(-shift)
    places = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1)  # (H, W, 2)
    windows = window_partition(places[None], M)[0]  # (nW, N, 2): a map of 2 channels
    distance = (windows[:, :, None] - windows[:, None, :]).abs()  # (nW, N, N, 2)
    return (distance < M).all(dim=-1)
