"""The layers of a Swin Transformer, in the order in which a picture meets them."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from swin_cifar.windows import check_map, relative_position_index


class PatchEmbed(nn.Module):
    """(B, 3, h, w) -> (B, H, W, C): cut a picture into patches and embed each linearly.

    H = ceil(h / patch_size), W = ceil(w / patch_size): a side that the patch does not
    divide is padded with zeros right and below. Raises ValueError or TypeError for input
    that is not a float tensor (B, in_channels, h, w). (Swin paper, section 3.1; the
    LayerNorm is in the official code.)
    """

    def __init__(self, patch_size: int = 2, in_channels: int = 3, embed_dim: int = 96):
        super().__init__()
        self.patch_size = patch_size
        # A convolution whose stride is its kernel is one linear map applied to every patch.
        self.proj = nn.Conv2d(in_channels, embed_dim, kernel_size=patch_size, stride=patch_size)
        self.norm = FastLayerNorm(embed_dim)

    def forward(self, images: Tensor) -> Tensor:
        if images.ndim != 4 or images.shape[1] != self.proj.in_channels:
            raise ValueError(
                f"expected pictures (B, {self.proj.in_channels}, h, w), got shape {tuple(images.shape)}"
            )
        if not images.is_floating_point():
            raise TypeError(f"expected float pictures, got {images.dtype}: normalize them first")
        h, w = images.shape[2:]
        if torch.jit.is_tracing():  # a trace is of one size: another one must fail, not be computed wrongly
            images = images.expand(-1, -1, int(h), int(w))
        if h % self.patch_size or w % self.patch_size:
            images = F.pad(images, (0, -w % self.patch_size, 0, -h % self.patch_size))  # right, below
        x = self.proj(images)  # (B, C, H, W)
        return self.norm(x.permute(0, 2, 3, 1))  # (B, H, W, C)


class PatchMerging(nn.Module):
    """(B, H, W, C) -> (B, ceil(H/2), ceil(W/2), 2C): gather 2 x 2 neighbours, normalise, project.

    An odd side is padded with zeros right and below. Raises ValueError for another number
    of channels. (Swin paper, section 3.1; the LayerNorm is in the official code.)
    """

    def __init__(self, dim: int):
        super().__init__()
        self.norm = FastLayerNorm(4 * dim)
        self.reduction = FastLinear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        check_map(x, self.reduction.in_features // 4)
        H, W = x.shape[1:3]
        if H % 2 or W % 2:
            x = F.pad(x, (0, 0, 0, W % 2, 0, H % 2))  # channels, right, below
        x = x.unflatten(2, (-1, 2)).unflatten(1, (-1, 2))  # (B, H/2, 2, W/2, 2, C)
        # Top-left, bottom-left, top-right, bottom-right: the order of the published weights.
        x = x.permute(0, 1, 3, 4, 2, 5).flatten(3)  # (B, H/2, W/2, 4C)
        return self.reduction(self.norm(x))  # (B, H/2, W/2, 2C)


class WindowAttention(nn.Module):
    """(B, nW, N, C), mask (nW, N, N) or None -> (B, nW, N, C): self-attention inside each window.

    softmax(q kᵀ / sqrt(d) + bias) v for each head, where the learned bias depends on the
    offset between query and key alone. `mask` is boolean, True where a query may attend. On CUDA
    `forward` takes the fused form, elsewhere the explicit one: on CPUs the fused one was no faster
    for windows this small (`python -m swin_cifar bench`); on CUDA, MPS and XPU neither was ever run.
    Raises ValueError where `num_heads` does not divide `dim` and for input or mask of
    another shape. (Swin paper, section 3.2, equation 4.)
    """

    def __init__(self, dim: int, window_size: int, num_heads: int):
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"num_heads {num_heads} does not divide dim {dim}")
        self.window_size = window_size
        self.num_heads = num_heads
        self.qkv = FastLinear(dim, 3 * dim)
        self.proj = FastLinear(dim, dim)
        table = torch.empty((2 * window_size - 1) ** 2, num_heads)
        self.relative_position_bias_table = nn.Parameter(nn.init.trunc_normal_(table, std=0.02))
        # Derived from window_size, so no checkpoint carries it, and loading one makes it again.
        index = relative_position_index(window_size)
        self.register_buffer("relative_position_index", index, persistent=False)
        self.register_load_state_dict_post_hook(_make_index_again)

    def relative_position_bias(self) -> Tensor:
        """-> (heads, N, N): the bias table read out for every query and key of a window."""
        bias = F.embedding(self.relative_position_index, self.relative_position_bias_table)
        return bias.permute(2, 0, 1)

    def explicit_attention(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, nW, N, C) -> output (B, nW, N, C) and attention (B, nW, heads, N, N), step by step."""
        q, k, v, attn_bias = self._operands(x, mask)
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)  # (B, nW, heads, N, N)
        attn = (scores + attn_bias).softmax(dim=-1)
        return self._merge_heads(attn @ v), attn

    def fused_attention(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, nW, N, C) -> (B, nW, N, C): the same in one kernel, which keeps no attention."""
        q, k, v, attn_bias = self._operands(x, mask)
        B, nW = x.shape[:2]
        attn_bias = attn_bias.to(q.dtype).expand(B, nW, -1, -1, -1)
        # The kernels want one batch axis: (B·nW, heads, N, d), and N instead of d for the bias.
        q, k, v, attn_bias = (t.flatten(0, 1) for t in (q, k, v, attn_bias))
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=attn_bias)
        return self._merge_heads(out.unflatten(0, (B, nW)))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if x.is_cuda:
            return self.fused_attention(x, mask)
        return self.explicit_attention(x, mask)[0]

    def _operands(self, x, mask):
        """q, k, v (B, nW, heads, N, d) and what is added to the scores, (1 or nW, heads, N, N)."""
        N, C = self.window_size**2, self.qkv.in_features
        if x.ndim != 4 or x.shape[2:] != (N, C):
            raise ValueError(f"expected windows (B, nW, {N}, {C}), got shape {tuple(x.shape)}")
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, -1))  # (B, nW, N, 3, heads, d)
        q, k, v = qkv.permute(3, 0, 1, 4, 2, 5)  # (B, nW, heads, N, d) each
        attn_bias = self.relative_position_bias()[None]  # (1, heads, N, N)
        if mask is not None:
            if mask.dtype != torch.bool or mask.shape != (x.shape[1], N, N):
                raise ValueError(
                    f"expected a bool mask ({x.shape[1]}, {N}, {N}), got {mask.dtype} {tuple(mask.shape)}"
                )
            attn_bias = attn_bias.masked_fill(~mask[:, None], float("-inf"))  # (nW, heads, N, N)
        return q, k, v, attn_bias

    def _merge_heads(self, out):
        return self.proj(out.transpose(2, 3).flatten(3))  # (B, nW, heads, N, d) -> (B, nW, N, C)


def _make_index_again(attention, _):
    """After meta and `to_empty` it is memory without content."""
    index = relative_position_index(attention.window_size)
    attention.relative_position_index = index.to(attention.relative_position_bias_table.device)


class MLP(nn.Module):
    """(..., C) -> (..., C): two linear layers with a GELU between, each token by itself."""

    def __init__(self, dim: int, hidden_dim: int):
        super().__init__()
        self.fc1 = FastLinear(dim, hidden_dim)
        self.fc2 = FastLinear(hidden_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class DropPath(nn.Module):
    """(B, ...) -> (B, ...): in training, drop a residual branch for whole samples.

    Each sample's branch becomes zero with probability `drop_prob`; the others are scaled
    by 1 / (1 - drop_prob), which keeps the expected value. In evaluation: the identity.
    Raises ValueError outside [0, 1). (Huang et al. 2016, "stochastic depth".)
    """

    def __init__(self, drop_prob: float):
        super().__init__()
        if not 0 <= drop_prob < 1:
            raise ValueError(f"drop_prob must lie in [0, 1), got {drop_prob}")
        self.drop_prob = drop_prob

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.drop_prob == 0:
            return x
        keep = 1 - self.drop_prob
        shape = (x.shape[0],) + (1,) * (x.ndim - 1)
        return x * x.new_empty(shape).bernoulli_(keep).div_(keep)

    def extra_repr(self) -> str:
        return f"drop_prob={self.drop_prob:.3f}"


# --- nothing but speed: the same mathematics as PyTorch's layers of these names -----------

# By the processor, not by a measurement: equal seeds shall give equal weights in every run.
_CONVOLVES = (
    torch.backends.mkl.is_available()
    and torch.backends.mkldnn.is_available()
    and torch.backends.cpu.get_cpu_capability().startswith("AVX512")
)


class FastLinear(nn.Linear):
    """(B, X, Y, C) -> (B, X, Y, C'): `nn.Linear` for maps and windows, by oneDNN in float32 with AVX-512.

    A 1 x 1 convolution is the same map. In float32 PyTorch hands it to oneDNN and `nn.Linear` to
    MKL, which took twice the time on one AMD processor with AVX-512, the same time on another; on
    one without, `nn.Linear` was the faster one by up to a third. In bf16 both go to oneDNN, and
    `nn.Linear` needs no change of layout.
    """

    def forward(self, x: Tensor) -> Tensor:
        in_float32 = x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
        if x.device.type != "cpu" or x.ndim != 4 or not in_float32 or not _CONVOLVES:
            return super().forward(x)
        x = F.conv2d(x.permute(0, 3, 1, 2), self.weight[:, :, None, None], self.bias)
        return x.permute(0, 2, 3, 1)


class FastLayerNorm(nn.LayerNorm):
    """(..., C) -> (..., C): `nn.LayerNorm` that answers in the dtype of its input.

    Under autocast PyTorch's own answers in float32, which would double the bytes of the
    whole residual stream. The sums are taken in float32 either way.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype == self.weight.dtype:
            return super().forward(x)
        weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
        with torch.autocast(x.device.type, enabled=False):
            return F.layer_norm(x, self.normalized_shape, weight, bias, self.eps)
