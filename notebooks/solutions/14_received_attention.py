def received_attention(block, x):
    """(B, H, W, C) -> (B, H, W): how much attention each token receives, the mean of the heads"""
    H, W = x.shape[1:3]
    windows, mask = block.to_windows(block.norm1(x))
    weights = block.attn.explicit_attention(windows, mask)[1]  # (B, nW, heads, N, N)
    received = weights.mean(dim=2).sum(dim=2)  # (B, nW, N)
    # The way back is that of the tokens: the block knows how far it has moved each axis.
    return block.from_windows(received[..., None], H, W)[..., 0]
