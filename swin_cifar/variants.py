"""Swin with ideas taken out, and from a plain Vision Transformer to Swin one idea at a time."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from swin_cifar.config import SwinConfig, model_config
from swin_cifar.layers import FastLinear
from swin_cifar.model import SwinTransformer, SwinTransformerBlock, create_model

IDEAS = ("shift", "mask", "bias")


def ablate(model: SwinTransformer, *ideas: str) -> SwinTransformer:
    """Take ideas out of every block of a Swin Transformer, in place -> the model.

    "shift": the windows stay where they are. "mask": all tokens of a window attend to each other,
    also those that the roll moved there from the other edge, and padding. "bias": the relative
    position bias is zero and stays so in training. The model's config knows nothing of this, so a
    checkpoint of such a model loads as a whole one. Raises ValueError for another word.
    """
    unknown = set(ideas) - set(IDEAS)
    if unknown:
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


class PositionEmbedding(nn.Module):
    """(B, H, W, C) -> (B, H, W, C): adds a learned token per place, as the ViT does.

    (Dosovitskiy et al. 2021, "An image is worth 16x16 words", section 3.1.)
    """

    def __init__(self, H: int, W: int, dim: int):
        super().__init__()
        self.tokens = nn.Parameter(0.02 * torch.randn(1, H, W, dim))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.tokens.to(x.dtype)


def flat_model(
    preset: str, windows: bool = True, shift: bool = True, bias: bool = True, position: bool = False
) -> SwinTransformer:
    """The preset's blocks all on one scale, on as many channels as give it as many parameters.

    Without `windows` every token attends to every other; `bias` is the relative position bias,
    `position` the ViT's embedding. Takes pictures of the preset's size only.
    """
    config = model_config(preset)
    side = -(-config.image_size // config.patch_size)
    heads, depth = config.num_heads[-1], sum(config.depths)
    shape = {"depths": (depth,), "num_heads": (heads,)}
    if not windows:
        shape["window_size"] = side  # a window that covers the map
    wanted = _size(config)
    dims = range(heads, 64 * heads, heads)
    dim = min(dims, key=lambda dim: abs(_size(model_config(preset, embed_dim=dim, **shape)) - wanted))
    model = SwinTransformer(model_config(preset, embed_dim=dim, **shape))
    ablate(model, *(idea for idea, kept in (("shift", shift), ("bias", bias)) if not kept))
    if position:
        model.patch_embed = nn.Sequential(model.patch_embed, PositionEmbedding(side, side, dim))
    return model


def _size(config: SwinConfig) -> int:
    """Parameters of a model, without making it."""
    with torch.device("meta"):
        return sum(p.numel() for p in SwinTransformer(config).parameters())


# From a plain Transformer to Swin, each with one idea more: {idea: preset -> model}.
LADDER: dict[str, Callable[[str], SwinTransformer]] = {
    "global attention": partial(flat_model, windows=False, bias=False, position=True),
    "windows": partial(flat_model, shift=False, bias=False, position=True),
    "shift": partial(flat_model, bias=False, position=True),
    "relative position bias": flat_model,  # in place of the position embedding
    "hierarchy": create_model,
}


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
