"""Pure functions on windows: cut, put back, number the offsets, say which tokens may attend to which."""

import torch
from torch import Tensor


def window_partition(x: Tensor, window_size: int) -> Tensor:
    """(B, H, W, C) -> (B, nW, N, C): cut the map into non-overlapping square windows.

    H and W must be multiples of `window_size`; windows come row by row, as do the
    tokens inside each. Raises ValueError otherwise. (Swin paper, section 3.2.)
    """
    if x.ndim != 4:
        raise ValueError(f"expected a token map (B, H, W, C), got shape {tuple(x.shape)}")
    B, H, W, C = x.shape
    M = window_size
    _check_divides(H, W, M)
    x = x.view(B, H // M, M, W // M, M, C)
    return x.transpose(2, 3).reshape(B, (H // M) * (W // M), M * M, C)  # (B, nW, N, C)


def window_reverse(windows: Tensor, window_size: int, H: int, W: int) -> Tensor:
    """(B, nW, N, C) -> (B, H, W, C): put the windows back, the inverse of `window_partition`.

    Raises ValueError where the windows cannot fill an H x W map. Swapped H and W fill it
    just as well, so a swap cannot be noticed here: it gives another map.
    """
    if windows.ndim != 4:
        raise ValueError(f"expected windows (B, nW, N, C), got shape {tuple(windows.shape)}")
    B, nW, N, C = windows.shape
    M = window_size
    _check_divides(H, W, M)
    if N != M * M or nW * N != H * W:
        raise ValueError(
            f"{nW} windows of {N} tokens do not fill a {H} x {W} map "
            f"with windows of {M} x {M}: that takes {H * W // (M * M)} windows of {M * M}"
        )
    x = windows.view(B, H // M, W // M, M, M, C)
    return x.transpose(2, 3).reshape(B, H, W, C)


def relative_position_index(window_size: int) -> Tensor:
    """M -> (N, N) int64 in [0, (2M-1)²): which row of the bias table serves query i and key j.

    The offset (dy, dx) = position of i minus position of j lies in [-(M-1), M-1]². Adding
    M-1 makes it non-negative; dy · (2M-1) + dx gives each offset a number of its own.
    (Swin paper, section 3.2, "Relative position bias"; the numbering is the official code's.)
    """
    M = window_size
    _check_window(M)
    y, x = torch.meshgrid(torch.arange(M), torch.arange(M), indexing="ij")
    y, x = y.flatten(), x.flatten()  # (N,)
    dy = y[:, None] - y[None, :] + M - 1  # (N, N)
    dx = x[:, None] - x[None, :] + M - 1
    return dy * (2 * M - 1) + dx


def padded_size(H: int, W: int, window_size: int) -> tuple[int, int]:
    """(H, W) -> the smallest multiples of `window_size` that are not smaller."""
    M = window_size
    return H + -H % M, W + -W % M


def shift_per_axis(H: int, W: int, window_size: int, shift_size: int) -> tuple[int, int]:
    """The shift actually made along (H, W): none along an axis that one window covers.

    Such an axis has no seam to attend across; shifting would only split the window.
    """
    return (shift_size if H > window_size else 0), (shift_size if W > window_size else 0)


def shifted_window_mask(
    H: int, W: int, window_size: int, shift_size: int, device: torch.device | str | None = None
) -> Tensor:
    """-> (nW, N, N) bool on `device`, True where query i may attend to key j.

    Describes the windows cut from an H x W map that was padded right and below to
    multiples of `window_size` and then rolled by -`shift_size`. Two tokens of a window
    may attend to each other when neither was wrapped around an edge that the other was
    not (then they are neighbours in the picture too) and neither is padding. Padding
    attends to padding only, so that no row is empty. Raises ValueError for H, W or
    window_size < 1 and for shift_size outside [0, window_size).
    (Swin paper, section 3.2, "Efficient batch computation", figure 4.)
    """
    M = window_size
    if H < 1 or W < 1:
        raise ValueError(f"a token map has H, W >= 1, got {H} x {W}")
    check_shift(M, shift_size)
    rows, cols = (
        _axis_labels(size, padded, shift, device)
        for size, padded, shift in zip((H, W), padded_size(H, W, M), shift_per_axis(H, W, M, shift_size))
    )
    labels = 2 * rows[:, None] + cols[None, :]  # wrapped or not, per axis: 4 labels
    labels = labels.masked_fill((rows < 0)[:, None] | (cols < 0)[None, :], -1)  # padding
    labels = window_partition(labels[None, :, :, None], M)[0, :, :, 0]  # (nW, N)
    return labels[:, :, None] == labels[:, None, :]


def _axis_labels(size, padded, shift, device):
    """(padded,): after the roll, 0 = in place, 1 = wrapped around the edge, -1 = padding."""
    position = torch.arange(padded, device=device).roll(-shift, dims=0)
    wrapped = (position < shift).long()
    return wrapped.masked_fill(position >= size, -1)


def check_shift(window_size: int, shift_size: int) -> None:
    """Raise ValueError unless window_size >= 1 and 0 <= shift_size < window_size."""
    _check_window(window_size)
    if not 0 <= shift_size < window_size:
        raise ValueError(f"shift_size must lie in [0, {window_size}), got {shift_size}")


def check_map(x: Tensor, dim: int) -> None:
    """Raise ValueError unless `x` is a token map (B, H, W, dim)."""
    if x.ndim != 4 or x.shape[3] != dim:
        raise ValueError(f"expected a token map (B, H, W, {dim}), got shape {tuple(x.shape)}")


def _check_window(window_size):
    if window_size < 1:
        raise ValueError(f"window_size must be at least 1, got {window_size}")


def _check_divides(H, W, window_size):
    _check_window(window_size)
    if H % window_size or W % window_size:
        raise ValueError(
            f"a {H} x {W} map cannot be cut into {window_size} x {window_size} windows: "
            "pad H and W to multiples of the window first"
        )


# --- cost -------------------------------------------------------------------------------


def msa_multiply_adds(H: int, W: int, C: int) -> int:
    """Multiply-adds of self-attention over all H·W tokens at once. (Swin paper, equation 1.)"""
    return 4 * H * W * C**2 + 2 * (H * W) ** 2 * C


def window_msa_multiply_adds(H: int, W: int, C: int, window_size: int) -> int:
    """Multiply-adds of self-attention inside windows of M x M tokens. (Swin paper, equation 2.)"""
    return 4 * H * W * C**2 + 2 * window_size**2 * H * W * C
