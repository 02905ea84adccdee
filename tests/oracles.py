"""The same mathematics by slow loops in float64: no roll, no mask, no padding, no window functions.

And weights large enough to show a mistake, and a small model and sizes that show it.
"""

import torch

from swin_cifar.config import SwinConfig

CONFIG = SwinConfig(patch_size=2, embed_dim=12, depths=(2, 2), num_heads=(2, 3), window_size=4)
SIZES = [(20, 12), (16, 16), (11, 26)]  # pixels: maps that windows divide, pad, and cover along one axis


@torch.no_grad()
def enlarge_weights(module):
    """Make biases, norms, bias tables and what they meet larger: near zero they hide mistakes.

    Only where it helps: large matrices everywhere would bring rounding near the tolerance.
    """
    for name, parameter in module.named_parameters():
        if name.endswith("relative_position_bias_table"):
            parameter.normal_(std=2.0)
        elif parameter.ndim == 1:
            parameter.add_(torch.randn_like(parameter) * 0.3)
        elif name.endswith("qkv.weight"):
            parameter.mul_(2)
        elif name == "head.weight":
            parameter.mul_(4)
    return module


@torch.no_grad()
def number_weights(model):
    """Weights that are the same whatever random numbers a version of PyTorch draws."""
    for i, (name, parameter) in enumerate(model.named_parameters()):
        wave = (torch.arange(parameter.numel(), dtype=torch.float64) * 0.7 + i).sin().view_as(parameter)
        parameter.copy_(0.1 * wave + ("norm" in name and name.endswith("weight")))
    return model


def true_windows(size, window_size, shift):
    """Bounds (start, end) of the windows along one axis as they lie on the real map."""
    if shift == 0 or size <= window_size:
        starts = range(0, size, window_size)
    else:
        starts = [0, *range(shift, size, window_size)]
    starts = list(starts)
    return list(zip(starts, [*starts[1:], size]))


def attention_in_true_windows(attn, x, shift):
    """(B, H, W, C) -> (B, H, W, C): what a shifted block's attention should give, window by window."""
    B, H, W, C = x.shape
    M = attn.window_size
    out = torch.zeros(B, H, W, C, dtype=torch.float64)
    for b in range(B):
        for top, bottom in true_windows(H, M, shift):
            for left, right in true_windows(W, M, shift):
                places = [(y, x_) for y in range(top, bottom) for x_ in range(left, right)]
                values = attend(attn, [x[b, y, x_] for y, x_ in places], places)
                for (y, x_), value in zip(places, values):
                    out[b, y, x_] = value
    return out


def attend(attn, tokens, places):
    """Self-attention among a few tokens at known places, query by query, head by head."""
    _, _, v = _project(attn, tokens)
    weights = attention_weights(attn, tokens, places)
    results = []
    for of_query in weights:
        per_head = [sum(w * v[j][h] for j, w in enumerate(of_head)) for h, of_head in enumerate(of_query)]
        results.append(attn.proj.weight.double() @ torch.cat(per_head) + attn.proj.bias.double())
    return results


def attention_weights(attn, tokens, places):
    """-> per query and head, the weight of every token."""
    M, heads = attn.window_size, attn.num_heads
    d = attn.qkv.in_features // heads
    q, k, _ = _project(attn, tokens)
    table = attn.relative_position_bias_table.double()
    weights = []
    for i, (yi, xi) in enumerate(places):
        weights.append([])
        for h in range(heads):
            scores = []
            for j, (yj, xj) in enumerate(places):
                row = (yi - yj + M - 1) * (2 * M - 1) + (xi - xj + M - 1)
                scores.append(q[i][h] @ k[j][h] / d**0.5 + table[row, h])
            weights[i].append(torch.stack(scores).softmax(0))
    return weights


def _project(attn, tokens):
    """-> queries, keys, values: one (heads, d) each per token."""
    weight, bias = attn.qkv.weight.double(), attn.qkv.bias.double()
    return zip(*((weight @ t.double() + bias).view(3, attn.num_heads, -1) for t in tokens))
