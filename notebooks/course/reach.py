"""Which pixels reach a token, its receptive field: measured by gradients, and counted without weights."""

import torch
import torch.nn.functional as F
from torch import Tensor

from swin_cifar.inspection import walk
from swin_cifar.model import SwinTransformer
from swin_cifar.predict import evaluating
from swin_cifar.windows import shift_per_axis


def influence(model: SwinTransformer, image: Tensor, row: int, col: int) -> list[Tensor]:
    """(3, h, w) normalised -> one (h, w) map per block: how much each pixel moves one token.

    The token is the one at (row, col) of the last map, and in earlier, larger maps the one in
    the middle of the area that becomes it. Measured as the size of the gradient of a random
    mix of the token's channels: exactly zero where a pixel cannot reach the token.
    """
    generator = torch.Generator().manual_seed(0)
    image = image[None].requires_grad_()
    influences = []
    with evaluating(model), torch.enable_grad():
        outputs = [out for _, _, out in walk(model, image)]
        for x, (y, z) in zip(outputs, _places(outputs, row, col)):
            mix = torch.randn(x.shape[3], generator=generator).to(x.device)
            (gradient,) = torch.autograd.grad(x[0, y, z] @ mix, image, retain_graph=True)
            influences.append(gradient[0].abs().sum(0))
    return influences


def reach(model: SwinTransformer, h: int, w: int, row: int, col: int) -> list[Tensor]:
    """-> one bool (h, w) map per block: the pixels of an h x w picture that can reach a token.

    By counting alone, without weights: tokens that share a true window reach each other. Which
    token is as for `influence`.
    """
    P = model.config.patch_size
    H, W = -(-h // P), -(-w // P)
    rows, cols = (torch.arange(n) // P for n in (h, w))
    cells = F.one_hot(rows, H).bool(), F.one_hot(cols, W).bool()
    sees = torch.einsum("hy,wx->yxhw", *cells)  # (H, W, h, w): a token sees its patch
    maps = []
    for i, stage in enumerate(model.stages):
        if i:
            sees = F.pad(sees, (0, 0, 0, 0, 0, sees.shape[1] % 2, 0, sees.shape[0] % 2))
            sees = sees[0::2, 0::2] | sees[1::2, 0::2] | sees[0::2, 1::2] | sees[1::2, 1::2]
        H, W = sees.shape[:2]
        for block in stage.blocks:
            M, shifts = block.window_size, shift_per_axis(H, W, block.window_size, block.shift_size)
            # Windows start `shift` tokens in; what lies before the first start is a window, too.
            window = [(torch.arange(n) - s).div(M, rounding_mode="floor") for n, s in zip((H, W), shifts)]
            same_row, same_col = (t[:, None] == t for t in window)
            shared = torch.einsum("yu,xv->yxuv", same_row.float(), same_col.float())
            sees = torch.einsum("yxuv,uvhw->yxhw", shared, sees.float()) > 0
            maps.append(sees)
    return [seen[y, x] for seen, (y, x) in zip(maps, _places([m[None] for m in maps], row, col))]


def _places(maps, row, col):
    """The token of each (1, H, W, ...) map that stands for (row, col) of the last one."""
    H, W = maps[-1].shape[1:3]
    if not (0 <= row < H and 0 <= col < W):
        raise ValueError(f"there is no token ({row}, {col}) in the last map of {H} x {W} tokens")
    for x in maps:
        yield tuple(
            min(n - 1, (2 * i + 1) * n // (2 * m)) for i, n, m in zip((row, col), x.shape[1:3], (H, W))
        )
