import math


def wilson_interval(hits, n, z=1.96):
    """-> (low, high): the shares p from which hits / n is exactly z standard deviations away"""
    share = hits / n
    u = 1 + z**2 / n  # (share - p)² = z² p (1 - p) / n, sorted: u p² + v p + w = 0
    v = -(2 * share + z**2 / n)
    w = share**2
    root = math.sqrt(v**2 - 4 * u * w)
    return (-v - root) / (2 * u), (-v + root) / (2 * u)
