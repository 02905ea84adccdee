import torch

from swin_cifar import window_partition


def assert_mask(mask):
    """mask(H, W, M, shift) -> (nW, N, N), added to the scores. Raises AssertionError where it is wrong."""
    for H, W, M, shift in ((8, 12, 4, 2), (9, 6, 3, 1)):  # sides that differ, two shifts
        rows, columns = (torch.arange(n).roll(-shift) for n in (H, W))  # where each token was before the roll
        places = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1)  # (H, W, 2)
        places = window_partition(places[None], M)[0]  # (nW, N, 2)
        distances = (places[:, :, None] - places[:, None, :]).abs()  # (nW, N, N, 2)
        near = (distances < M).all(dim=-1)  # tokens from opposite edges are farther apart
        weights = mask(H, W, M, shift).softmax(dim=-1)
        assert torch.equal(weights > 0, near)
