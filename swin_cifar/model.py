"""The block, the stage and the whole Swin Transformer."""

from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from swin_cifar.config import SwinConfig, model_config
from swin_cifar.layers import MLP, DropPath, FastLayerNorm, PatchEmbed, PatchMerging, WindowAttention
from swin_cifar.windows import (
    check_map,
    check_shift,
    padded_size,
    shift_per_axis,
    shifted_window_mask,
    window_partition,
    window_reverse,
)


class SwinTransformerBlock(nn.Module):
    """(B, H, W, C) -> (B, H, W, C): window attention and an MLP, each normalised first and added.

    `shift_size` > 0 moves the windows by that many tokens right and down. Any H, W >= 1.
    Raises ValueError for shift_size outside [0, window_size) and for input of another
    shape. (Swin paper, section 3.2, equation 3, figure 3b.)
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        window_size: int,
        shift_size: int = 0,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
    ):
        super().__init__()
        check_shift(window_size, shift_size)
        self.window_size = window_size
        self.shift_size = shift_size
        self.norm1 = FastLayerNorm(dim)
        self.attn = WindowAttention(dim, window_size, num_heads)
        self.norm2 = FastLayerNorm(dim)
        self.mlp = MLP(dim, int(dim * mlp_ratio))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        check_map(x, self.attn.qkv.in_features)
        x = x + self.drop_path(self.window_attention(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def window_attention(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C): attention in the (shifted) windows of a map."""
        H, W = x.shape[1:3]
        windows, mask = self.to_windows(x)
        return self.from_windows(self.attn(windows, mask), H, W)

    def to_windows(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """(B, H, W, C) -> windows (B, nW, N, C) and their mask (nW, N, N), None where all may attend.

        The mask is shared between calls: do not change it in place.
        """
        H, W, M = *x.shape[1:3], self.window_size
        Hp, Wp = padded_size(H, W, M)
        shift_h, shift_w = shift_per_axis(H, W, M, self.shift_size)
        padded, shifted = (Hp, Wp) != (H, W), shift_h > 0 or shift_w > 0
        if padded:
            x = F.pad(x, (0, 0, 0, Wp - W, 0, Hp - H))  # channels, right, below
        if shifted:
            x = x.roll((-shift_h, -shift_w), dims=(1, 2))
        mask = attention_mask(H, W, M, self.shift_size, x.device) if padded or shifted else None
        return window_partition(x, M), mask

    def from_windows(self, windows: Tensor, H: int, W: int) -> Tensor:
        """(B, nW, N, C) -> (B, H, W, C): windows back to the map: `to_windows` undone."""
        Hp, Wp = padded_size(H, W, self.window_size)
        shift = shift_per_axis(H, W, self.window_size, self.shift_size)
        x = window_reverse(windows, self.window_size, Hp, Wp)
        if any(shift):
            x = x.roll(shift, dims=(1, 2))
        return x[:, :H, :W]


def attention_mask(H: int, W: int, window_size: int, shift_size: int, device: torch.device) -> Tensor:
    """`shifted_window_mask` on `device`, made once per geometry."""
    if torch.compiler.is_compiling():  # a compiler must see how it is made, not a cached tensor
        return shifted_window_mask(H, W, window_size, shift_size, device)
    return cached_mask(H, W, window_size, shift_size, device)


@lru_cache(maxsize=256)
def cached_mask(H: int, W: int, window_size: int, shift_size: int, device: torch.device) -> Tensor:
    """`shifted_window_mask`, the same tensor at every call: do not change it in place."""
    with torch.inference_mode(False):  # made while evaluating, it must serve in training too
        return shifted_window_mask(H, W, window_size, shift_size, device)


class SwinStage(nn.Module):
    """(B, H, W, C) -> (B, H', W', dim): patch merging (if `downsample`), then `depth` blocks.

    With `downsample` C = dim / 2 and H' = ceil(H/2), else C = dim and H' = H. Every second
    block shifts its windows by half a window. `drop_path`: one rate per block, or None.
    Raises ValueError for another number of rates. (Swin paper, section 3.1, figure 3a.)
    """

    def __init__(
        self,
        dim: int,
        depth: int,
        num_heads: int,
        window_size: int,
        mlp_ratio: float = 4.0,
        drop_path: list[float] | None = None,
        downsample: bool = False,
    ):
        super().__init__()
        drop_path = [0.0] * depth if drop_path is None else list(drop_path)
        if len(drop_path) != depth:
            raise ValueError(f"expected {depth} drop_path rates, one per block, got {len(drop_path)}")
        self.downsample = PatchMerging(dim // 2) if downsample else nn.Identity()
        shifts = [(i % 2) * (window_size // 2) for i in range(depth)]
        self.blocks = nn.ModuleList(
            SwinTransformerBlock(dim, num_heads, window_size, shift, mlp_ratio, rate)
            for shift, rate in zip(shifts, drop_path)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.downsample(x)
        for block in self.blocks:
            x = block(x)
        return x


class SwinTransformer(nn.Module):
    """(B, 3, h, w) -> (B, num_classes): the hierarchical Transformer with shifted windows.

    Pictures are float and normalised, of any h, w >= 1; the answer is logits. Weights start
    as PyTorch initialises its layers. Raises ValueError or TypeError for other input.
    (Swin paper, figure 3a; mean over the tokens and head: appendix A2.)
    """

    def __init__(self, config: SwinConfig):
        super().__init__()
        self.config = config
        self.patch_embed = PatchEmbed(config.patch_size, config.in_channels, config.embed_dim)
        # Stochastic depth grows linearly from 0 at the first block.
        rates = torch.linspace(0, config.drop_path_rate, sum(config.depths), device="cpu")
        rates = [r.tolist() for r in rates.split(config.depths)]
        sizes = zip(config.dims, config.depths, config.num_heads, rates)
        self.stages = nn.ModuleList(
            SwinStage(dim, depth, heads, config.window_size, config.mlp_ratio, drop_path, downsample=i > 0)
            for i, (dim, depth, heads, drop_path) in enumerate(sizes)
        )
        self.norm = FastLayerNorm(config.dims[-1])
        self.head = nn.Linear(config.dims[-1], config.num_classes)

    def stage_maps(self, images: Tensor) -> list[Tensor]:
        """(B, 3, h, w) -> [(B, H, W, C), (B, H/2, W/2, 2C), ...]: the token map after each stage."""
        x = self.patch_embed(images)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def forward_features(self, images: Tensor) -> Tensor:
        """(B, 3, h, w) -> (B, H, W, C): the last token map, normalised."""
        return self.norm(self.stage_maps(images)[-1])

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """(B, H, W, C) -> (B, num_classes), or the mean tokens (B, C) with `pre_logits`."""
        x = x.mean(dim=(1, 2))
        return x if pre_logits else self.head(x)

    def forward(self, images: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(images))


def create_model(name: str, **overrides: Any) -> SwinTransformer:
    """A preset by name, with any field of `SwinConfig` overridden: create_model("mini", num_classes=100).

    Raises ValueError for a name or field that does not exist, suggesting the nearest.
    """
    return SwinTransformer(model_config(name, **overrides))


def freeze_stages(model: SwinTransformer, number: int) -> list[nn.Parameter]:
    """The first `number` stages learn nothing any more, nor, if there are any, does the patches' embedding.

    -> the parameters that learned before. Raises ValueError for more stages than there are.
    """
    if number > len(model.stages):
        raise ValueError(f"cannot freeze {number} stages of a model that has {len(model.stages)}")
    parts = (model.patch_embed, *model.stages[:number]) if number else ()
    learned = [p for part in parts for p in part.parameters() if p.requires_grad]
    for parameter in learned:
        parameter.requires_grad_(False)
    return learned
