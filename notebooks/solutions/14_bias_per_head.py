from swin_cifar import relative_position_index


def bias_per_head(table, M):
    """((2M-1)², heads) -> (heads, N, N): what each head adds to its scores"""
    bias = table[relative_position_index(M)]  # (N, N, heads): the row of each pair, one number for each head
    return bias.permute(2, 0, 1)
