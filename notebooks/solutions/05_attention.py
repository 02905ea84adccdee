import math


def attention(x, qkv, proj, num_heads, bias, mask=None):
    """(B, nW, N, C), bias (heads, N, N), mask (nW, N, N) bool or None -> (B, nW, N, C)"""
    parts = qkv(x).unflatten(-1, (3, num_heads, -1))  # (B, nW, N, 3, heads, d)
    q, k, v = parts.permute(3, 0, 1, 4, 2, 5)  # (B, nW, heads, N, d) each
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)  # (B, nW, heads, N, N)
    if mask is not None:
        bias = bias.masked_fill(~mask[:, None], -math.inf)  # (nW, heads, N, N): the heads share a mask
    weights = (scores + bias).softmax(dim=-1)  # over the keys
    out = weights @ v  # (B, nW, heads, N, d)
    return proj(out.transpose(2, 3).flatten(3))  # heads side by side, (B, nW, N, C), and mixed
