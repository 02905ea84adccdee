def count_parameters(C, depths, num_heads, M, P, classes):
    """-> int: how many numbers a Swin Transformer learns, by formula"""
    total = 3 * P * P * C + C + 2 * C  # patch embedding: weights, bias, LayerNorm
    for i, (depth, heads) in enumerate(zip(depths, num_heads)):
        c = C * 2**i
        if i > 0:  # the merging, from c / 2 channels: LayerNorm of 4 tokens, matrix without bias
            total += 2 * (2 * c) + (2 * c) * c
        norms = 2 * 2 * c
        attention = (c * 3 * c + 3 * c) + (c * c + c) + (2 * M - 1) ** 2 * heads  # qkv, proj, bias table
        mlp = (c * 4 * c + 4 * c) + (4 * c * c + c)
        total += depth * (norms + attention + mlp)
    return total + 2 * c + (c * classes + classes)  # last LayerNorm, head
