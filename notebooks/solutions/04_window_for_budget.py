def window_for_budget(side, C, budget):
    """-> the largest window side M, or 0"""
    largest = 0
    for M in range(1, side + 1):
        cost = 4 * side**2 * C**2 + 2 * M**2 * side**2 * C  # four matrices; M² keys for each token
        if side % M == 0 and cost <= budget:
            largest = M  # M grows, so the last one that passes is the largest
    return largest
