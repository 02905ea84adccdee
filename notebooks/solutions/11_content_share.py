def content_share(qk, bias):
    """(B, heads, N, N) scores without bias, (heads, N, N) -> (heads,): mean distance to the average map"""
    weights = (qk + bias).softmax(dim=-1)
    average = weights.mean(dim=0)  # (heads, N, N): the same for every picture
    moved = (weights - average).abs().sum(dim=-1) / 2  # (B, heads, N)
    return moved.mean(dim=(0, 2))
