"""Swin with an idea left out, and the attention that it replaces."""

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from swin_cifar.layers import FastLinear
from swin_cifar.model import SwinTransformer, SwinTransformerBlock

IDEAS = ("shift", "mask", "bias")


def ablate(model: SwinTransformer, *ideas: str) -> SwinTransformer:
    """Take ideas out of every block of a Swin Transformer, in place -> the model.

    "shift": the windows stay where they are. "mask": all tokens of a window attend to each other,
    also those that the roll moved there from the other edge, and padding. "bias": the relative
    position bias is zero and stays so in training. The model's config knows nothing of this, so a
    checkpoint of such a model loads as a whole one. Raises ValueError for another word.
    """
    if unknown := set(ideas) - set(IDEAS):
        raise ValueError(f"unknown idea {unknown.pop()!r}; there are: {', '.join(IDEAS)}")
    for block in model.modules():
        if isinstance(block, SwinTransformerBlock):
            if "shift" in ideas:
                block.shift_size = 0
            if "mask" in ideas:
                block.to_windows = partial(_to_windows_without_mask, block)
            if "bias" in ideas:
                nn.init.zeros_(block.attn.relative_position_bias_table).requires_grad_(False)
    return model


def _to_windows_without_mask(block, x):
    return SwinTransformerBlock.to_windows(block, x)[0], None


class GlobalAttention(nn.Module):
    """(B, H, W, C) -> (B, H, W, C): every token attends to every other; the ViT's layer."""

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = FastLinear(dim, 3 * dim)
        self.proj = FastLinear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        B, H, W, C = x.shape
        qkv = self.qkv(x).view(B, H * W, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        out = F.scaled_dot_product_attention(*qkv)  # (B, heads, H·W, d)
        return self.proj(out.transpose(1, 2).reshape(B, H, W, C))
