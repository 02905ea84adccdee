def window_for_budget(H, W, budget):
    """-> the largest window side M, or 0"""
    largest = 0
    for M in range(1, min(H, W) + 1):
        pairs = H * W * M**2  # each of H·W tokens attends to M² tokens
        if H % M == 0 and W % M == 0 and pairs <= budget:
            largest = M  # M grows, so the last one that passes is the largest
    return largest
