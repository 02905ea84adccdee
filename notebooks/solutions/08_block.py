def block(x, layer):
    """(B, H, W, C) -> (B, H, W, C): attention in windows, then the MLP, each normalised first and added"""
    H, W = x.shape[1:3]
    M, shift, attn = layer.window_size, layer.shift_size, layer.attn
    drop_prob = layer.drop_path.drop_prob

    windows, mask = to_windows(layer.norm1(x), M, shift)
    bias = attn.relative_position_bias()
    windows = attention(windows, attn.qkv, attn.proj, attn.num_heads, bias, mask)
    x = x + drop_path(from_windows(windows, M, shift, H, W), drop_prob, layer.training)

    return x + drop_path(layer.mlp(layer.norm2(x)), drop_prob, layer.training)
