"""What attention takes from the picture, and what from the position bias.

A score is q·k / √d + bias. The first part depends on the picture, the second on the offset alone.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor

from swin_cifar.inspection import block_attention, roll_back, walk
from swin_cifar.model import SwinTransformer, SwinTransformerBlock
from swin_cifar.predict import evaluating

WAYS = ("average", "another's", "bias alone", "q·k alone", "equal")


def parts_of_attention(model: SwinTransformer, images: Tensor) -> list[dict[str, Tensor]]:
    """(B, 3, h, w) normalised -> a dict for each block, of three attentions (B, heads, H, W, H, W).

    Its keys: "attention" is that of `attention_maps`. "bias alone": queries and keys are set to 0.
    "q·k alone": the bias table is. Shift and padding are undone, in all three the mask is kept.
    """
    parts = []
    with evaluating(model), torch.no_grad():
        for block, x, _ in walk(model, images):
            bias, content = copy.deepcopy(block), copy.deepcopy(block)
            bias.attn.qkv.weight.zero_()
            bias.attn.qkv.bias.zero_()
            content.attn.relative_position_bias_table.zero_()
            which = {"attention": block, "bias alone": bias, "q·k alone": content}
            parts.append({name: block_attention(each, x) for name, each in which.items()})
    return parts


def total_variation(p: Tensor, q: Tensor) -> Tensor:
    """(..., H, W, H, W) attention, two of them -> (..., H, W): the share of each query's weight that moves.

    Half the sum of absolute differences: 0 = the same, 1 = nothing in common.
    """
    return (p - q).abs().sum(dim=(-2, -1)) / 2


def rollout(maps: list[Tensor]) -> Tensor:
    """[(B, heads, H, W, H, W), ...] block after block -> (B, H, W, H0, W0): from the last map to the first.

    Heads are averaged, half of each token stays (the residual connection), blocks are multiplied. Where
    a map has half the side of the one before, each token is the mean of the 2 x 2 that were merged.
    (Abnar & Zuidema 2020, "Quantifying attention flow in transformers"; merging is an addition.)
    """
    looks = (partial(torch.einsum, "byxuv,byxq->buvq", attention.mean(dim=1)) for attention in maps)
    return roll_back([(*m.shape[2:4], look) for m, look in zip(maps, looks)], maps[0])


@contextmanager
def replaced_attention(
    model: SwinTransformer, block: SwinTransformerBlock, way: str, others: Tensor | None = None
) -> Iterator[None]:
    """In here the attention weights of one block are others; its values, and all other blocks, stay.

    `way`: "average" = the mean over the pictures `others` (B, 3, h, w), normalised; "another's" = those
    of the picture before in the batch; "bias alone", "q·k alone" as in `parts_of_attention`; "equal" = the
    same weight for all tokens that may be attended to. Raises ValueError for another way, or an average
    of nothing.
    """
    attn, average = block.attn, None
    if way not in WAYS:
        raise ValueError(f"way must be one of {', '.join(WAYS)}; got {way!r}")
    if way == "average":
        if others is None:
            raise ValueError("the way 'average' needs `others`, pictures")
        with evaluating(model), torch.no_grad():
            x = next(x for each, x, _ in walk(model, others) if each is block)
            average = attn.explicit_attention(*block.to_windows(block.norm1(x)))[1].mean(0, keepdim=True)
    without_bias = copy.deepcopy(attn)
    with torch.no_grad():
        without_bias.relative_position_bias_table.zero_()

    def change(x, mask):
        if way == "q·k alone":
            return without_bias.explicit_attention(x, mask)[1]
        weights = attn.explicit_attention(x, mask)[1]
        if way == "average":
            return average.expand_as(weights)
        if way == "another's":
            return weights.roll(1, dims=0)
        scores = attn.relative_position_bias() if way == "bias alone" else weights.new_zeros(())
        scores = scores.expand(weights.shape[1:])
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None], float("-inf"))
        return scores.softmax(dim=-1).expand_as(weights)

    def forward(x, mask=None):
        weights = change(x, mask)
        _, _, v = attn.qkv(x).unflatten(-1, (3, attn.num_heads, -1)).permute(3, 0, 1, 4, 2, 5)
        return attn.proj((weights @ v).transpose(2, 3).flatten(3))  # (B, nW, heads, N, d) -> (B, nW, N, C)

    attn.forward = forward
    try:
        yield
    finally:
        del attn.forward
