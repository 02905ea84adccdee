"""The package's form of each core piece, with the signature that the student writes.

`my_swin` runs this file anew for every model, and then the student's pieces among these functions: so
they find one another by name, whoever wrote them. What they compute is what `swin_cifar.model` does,
operation for operation. From here a student's piece may use the names in `GIVEN`, and no other.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

import swin_cifar
from swin_cifar.training import learning_rate, training_step  # noqa: F401

GIVEN = {"torch": torch, "F": F, "nn": nn, "math": math}


def patch_embed(images, weight, bias):
    return F.conv2d(images, weight, bias, stride=weight.shape[-1]).permute(0, 2, 3, 1)


def patch_merging(x, norm, reduction):
    H, W = x.shape[1:3]
    if H % 2 or W % 2:
        x = F.pad(x, (0, 0, 0, W % 2, 0, H % 2))  # channels, right, below
    x = x.unflatten(2, (-1, 2)).unflatten(1, (-1, 2))  # (B, H/2, 2, W/2, 2, C)
    return reduction(norm(x.permute(0, 1, 3, 4, 2, 5).flatten(3)))


def window_partition(x, M):
    return swin_cifar.window_partition(x, M)


def window_reverse(windows, M, H, W):
    return swin_cifar.window_reverse(windows, M, H, W)


def attention(x, qkv, proj, num_heads, bias, mask=None):
    q, k, v = qkv(x).unflatten(-1, (3, num_heads, -1)).permute(3, 0, 1, 4, 2, 5)  # (B, nW, heads, N, d)
    bias = bias[None]
    if mask is not None:
        bias = bias.masked_fill(~mask[:, None], float("-inf"))  # (nW, heads, N, N)
    if x.is_cuda:  # the kernels want one batch axis
        B, nW = x.shape[:2]
        bias = bias.to(q.dtype).expand(B, nW, -1, -1, -1)
        q, k, v, bias = (t.flatten(0, 1) for t in (q, k, v, bias))
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias).unflatten(0, (B, nW))
    else:
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
        out = (scores + bias).softmax(dim=-1) @ v
    return proj(out.transpose(2, 3).flatten(3))


def relative_position_index(M):
    return swin_cifar.relative_position_index(M)


def shifted_window_mask(H, W, M, shift):
    return swin_cifar.shifted_window_mask(H, W, M, shift)


def to_windows(x, M, shift):
    H, W = x.shape[1:3]
    shift_h, shift_w = (shift if H > M else 0), (shift if W > M else 0)  # one window: nothing to shift
    padded, shifted = H % M > 0 or W % M > 0, shift_h > 0 or shift_w > 0
    if padded:
        x = F.pad(x, (0, 0, 0, -W % M, 0, -H % M))  # channels, right, below
    if shifted:
        x = x.roll((-shift_h, -shift_w), dims=(1, 2))
    mask = shifted_window_mask(H, W, M, shift).to(x.device) if padded or shifted else None
    return window_partition(x, M), mask


def from_windows(windows, M, shift, H, W):
    shift_h, shift_w = (shift if H > M else 0), (shift if W > M else 0)
    x = window_reverse(windows, M, H + -H % M, W + -W % M)
    if shift_h or shift_w:
        x = x.roll((shift_h, shift_w), dims=(1, 2))
    return x[:, :H, :W]


def drop_path(x, drop_prob, training):
    if not training or drop_prob == 0:
        return x
    keep = 1 - drop_prob
    return x * x.new_empty(len(x), *[1] * (x.ndim - 1)).bernoulli_(keep).div_(keep)


def block(x, layer):
    H, W = x.shape[1:3]
    M, shift, attn, rate = layer.window_size, layer.shift_size, layer.attn, layer.drop_path.drop_prob
    windows, mask = to_windows(layer.norm1(x), M, shift)
    bias = attn.relative_position_bias()  # (heads, N, N): the table, read with `relative_position_index`
    windows = attention(windows, attn.qkv, attn.proj, attn.num_heads, bias, mask)
    x = x + drop_path(from_windows(windows, M, shift, H, W), rate, layer.training)
    return x + drop_path(layer.mlp(layer.norm2(x)), rate, layer.training)


def stage(x, layer):
    x = layer.downsample(x)  # the piece `patch_merging`; nothing in the first stage
    for member in layer.blocks:
        x = block(x, member)
    return x


def forward(images, model):
    x = model.patch_embed(images)  # pads, the piece `patch_embed`, its norm
    for member in model.stages:
        x = stage(x, member)
    return model.head(model.norm(x).mean(dim=(1, 2)))
