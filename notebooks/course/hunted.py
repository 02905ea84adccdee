"""The program of the hunt, right as it stands: a small Swin, its pictures, its training.

`course/hunt.py` runs this text with one line changed. So each step is a function of a few lines, which
finds the others by name; the classes at the end only call them. The weights have the package's names.
Letters as everywhere: token maps (B, H, W, C), windows (B, nW, N, C), M the side of a window.
"""

import math

import torch
import torch.nn.functional as F

import swin_cifar
from swin_cifar import layers

# --- the pictures ------------------------------------------------------------------------


def normalize(images, mean, std):
    """(B, 3, h, w) uint8 -> float: per channel mean 0 and standard deviation 1"""
    mean, std = torch.tensor(mean), torch.tensor(std)
    images = images / 255
    images = images - mean.view(3, 1, 1)
    return images / std.view(3, 1, 1)


def flip(images, generator):
    """(B, 3, h, w) -> same: about half of the pictures are mirrored, left and right exchanged"""
    B = len(images)
    chosen = torch.rand(B, generator=generator) < 0.5
    mirrored = images.flip(3)
    return torch.where(chosen.view(B, 1, 1, 1), mirrored, images)


def cutmix(images, labels, classes, generator):
    """-> images (B, 3, h, w) with a box of the one before pasted in, targets (B, classes) in that share"""
    h, w = images.shape[2:]
    side, row, column = torch.rand(3, generator=generator).tolist()
    top, bottom = (min(max(round(h * (row + s * side / 2)), 0), h) for s in (-1, 1))
    left, right = (min(max(round(w * (column + s * side / 2)), 0), w) for s in (-1, 1))
    others = images.roll(1, 0)
    images = images.clone()
    images[:, :, top:bottom, left:right] = others[:, :, top:bottom, left:right]
    share = (bottom - top) * (right - left) / (h * w)  # of the box that lies in the picture
    targets = F.one_hot(labels, classes).float()
    return images, (1 - share) * targets + share * targets.roll(1, 0)


# --- the model ---------------------------------------------------------------------------


def embed(images, proj, norm):
    """(B, 3, h, w) -> (B, H, W, C): patches, each an input of one linear layer, then the norm"""
    P = proj.kernel_size[0]
    h, w = images.shape[2:]
    images = F.pad(images, (0, -w % P, 0, -h % P))  # right, below
    patches = images.unflatten(3, (-1, P)).unflatten(2, (-1, P))  # (B, 3, H, P, W, P)
    patches = patches.permute(0, 2, 4, 1, 3, 5).flatten(3)  # (B, H, W, 3·P·P)
    x = patches @ proj.weight.flatten(1).T + proj.bias
    return norm(x)


def merge(x, norm, reduction):
    """(B, H, W, C) -> (B, H/2, W/2, 2C): four neighbours, normalised, through one linear layer"""
    H, W = x.shape[1:3]
    x = F.pad(x, (0, 0, 0, W % 2, 0, H % 2))  # channels, right, below
    places = (0, 0), (1, 0), (0, 1), (1, 1)
    four = [x[:, row::2, column::2] for row, column in places]
    x = torch.cat(four, dim=3)
    x = norm(x)
    return reduction(x)


def partition(x, M):
    """(B, H, W, C) -> (B, nW, N, C)"""
    B, H, W, C = x.shape
    x = x.reshape(B, H // M, M, W // M, M, C)
    x = x.permute(0, 1, 3, 2, 4, 5)
    return x.reshape(B, -1, M * M, C)


def reverse(windows, M, H, W):
    """(B, nW, N, C) -> (B, H, W, C)"""
    B, C = len(windows), windows.shape[-1]
    x = windows.reshape(B, H // M, W // M, M, M, C)
    x = x.permute(0, 1, 3, 2, 4, 5)
    return x.reshape(B, H, W, C)


def offsets(M):
    """-> (N, N): the row of the bias table for query i and key j"""
    y, x = torch.arange(M * M) // M, torch.arange(M * M) % M
    dy = y[:, None] - y[None, :] + M - 1
    dx = x[:, None] - x[None, :] + M - 1
    return dy * (2 * M - 1) + dx


def read_bias(table, index):
    """((2M-1)², heads), (N, N) -> (heads, N, N)"""
    heads = table.shape[1]
    N = len(index)
    rows = table[index.flatten()]  # (N·N, heads)
    return rows.T.reshape(heads, N, N)


def shifts(H, W, M, shift):
    """-> by how much rows and columns are moved"""
    down = shift if H > M else 0
    across = shift if W > M else 0
    return down, across


def missing(n, M):
    """-> how many rows or columns fill the last window"""
    return -n % M


def mask(H, W, M, shift):
    """-> (nW, N, N): what is added to the scores, 0 or -inf"""
    labels = []
    for size, move in zip((H, W), shifts(H, W, M, shift)):
        position = torch.arange(size + missing(size, M)).roll(-move)
        wrapped = (position < move).long()
        labels.append(wrapped.masked_fill(position >= size, -1))
    rows, columns = labels
    labels = 2 * rows[:, None] + columns[None, :]
    labels[(rows < 0)[:, None] | (columns < 0)[None, :]] = -1
    labels = partition(labels[None, :, :, None], M)[0, :, :, 0]  # (nW, N)
    allowed = labels[:, :, None] == labels[:, None, :]
    return torch.where(allowed, 0.0, -math.inf)


def to_windows(x, M, shift):
    """(B, H, W, C) -> windows (B, nW, N, C), what is added to their scores (nW, N, N)"""
    H, W = x.shape[1:3]
    moves = shifts(H, W, M, shift)
    x = F.pad(x, (0, 0, 0, missing(W, M), 0, missing(H, M)))  # channels, right, below
    x = x.roll((-moves[0], -moves[1]), dims=(1, 2))
    return partition(x, M), mask(H, W, M, shift)


def from_windows(windows, M, shift, H, W):
    """(B, nW, N, C) -> (B, H, W, C)"""
    moves = shifts(H, W, M, shift)
    x = reverse(windows, M, H + missing(H, M), W + missing(W, M))
    x = x.roll(moves, dims=(1, 2))
    return x[:, :H, :W]


def attention(x, qkv, proj, heads, bias, added):
    """x (B, nW, N, C), bias (heads, N, N), added (nW, N, N) or None

    -> outputs (B, nW, N, C), weights (B, nW, heads, N, N)
    """
    q, k, v = qkv(x).unflatten(-1, (3, heads, -1)).permute(3, 0, 1, 4, 2, 5)
    scale = q.shape[-1] ** -0.5
    scores = scale * q @ k.transpose(-2, -1) + bias
    if added is not None:
        scores = scores + added[:, None]
    weights = scores.softmax(dim=-1)
    out = weights @ v  # (B, nW, heads, N, d)
    out = out.transpose(2, 3).reshape(x.shape)
    return proj(out), weights


def drop_path(x, rate, training):
    """(B, ...) -> same: in training, drop the branch of whole samples"""
    keep = 1 - rate
    if rate == 0 or not training:
        return x
    kept = torch.empty(len(x), *[1] * (x.ndim - 1)).bernoulli_(keep)
    return x * kept / keep


def mlp(x, fc1, fc2):
    """(..., C) -> (..., C)"""
    x = fc1(x)
    x = F.gelu(x)
    return fc2(x)


def block(x, layer):
    """(B, H, W, C) -> (B, H, W, C)"""
    branch = layer.window_attention(layer.norm1(x))
    x = x + layer.drop_path(branch)
    branch = layer.mlp(layer.norm2(x))
    return x + layer.drop_path(branch)


def head(x, linear):
    """(B, H, W, C) -> (B, classes)"""
    tokens = x.flatten(1, 2)
    mean = tokens.mean(dim=1)
    return linear(mean)


# --- the training ------------------------------------------------------------------------


def learning_rate(step, steps, warmup, highest):
    """The rate of a step: up in a line, then down as half a cosine"""
    if step < warmup:
        return highest * (step + 1) / (warmup + 1)
    progress = (step - warmup) / max(1, steps - 1 - warmup)  # 0 to 1
    return highest * (1 + math.cos(math.pi * progress)) / 2


def training_step(model, optimizer, images, targets, lr):
    """-> the loss, before the step"""
    model.train()
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.zero_grad()
    loss = F.cross_entropy(model(images), targets)
    loss.backward()
    optimizer.step()
    return loss.item()


def evaluate(model, images):
    """-> (B, classes): the logits"""
    model.eval()
    with torch.no_grad():
        logits = model(images)
    return logits


# --- the classes, which only call these functions ------------------------------------------


class PatchEmbed(layers.PatchEmbed):
    def forward(self, images):
        return embed(images, self.proj, self.norm)


class PatchMerging(layers.PatchMerging):
    def forward(self, x):
        return merge(x, self.norm, self.reduction)


class WindowAttention(layers.WindowAttention):
    def relative_position_bias(self):
        return read_bias(self.relative_position_bias_table, offsets(self.window_size))

    def explicit_attention(self, x, added=None):
        bias = self.relative_position_bias()
        return attention(x, self.qkv, self.proj, self.num_heads, bias, added)

    def forward(self, x, added=None):
        return self.explicit_attention(x, added)[0]


class MLP(layers.MLP):
    def forward(self, x):
        return mlp(x, self.fc1, self.fc2)


class DropPath(layers.DropPath):
    def forward(self, x):
        return drop_path(x, self.drop_prob, self.training)


class SwinTransformerBlock(swin_cifar.SwinTransformerBlock):
    def to_windows(self, x):
        return to_windows(x, self.window_size, self.shift_size)

    def from_windows(self, windows, H, W):
        return from_windows(windows, self.window_size, self.shift_size, H, W)

    def forward(self, x):
        return block(x, self)


class SwinTransformer(swin_cifar.SwinTransformer):
    def forward_head(self, x, pre_logits=False):
        return x.mean(dim=(1, 2)) if pre_logits else head(x, self.head)


CLASSES = (PatchEmbed, PatchMerging, WindowAttention, MLP, DropPath, SwinTransformerBlock, SwinTransformer)
