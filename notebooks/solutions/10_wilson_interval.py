import math


def wilson_interval(hits, n, z=1.96):
    """-> (low, high): the shares p from which hits / n is exactly z standard deviations away"""
    share = hits / n
    a = 1 + z**2 / n  # (share - p)² = z² p (1 - p) / n, sorted: a p² + b p + c = 0
    b = -(2 * share + z**2 / n)
    c = share**2
    root = math.sqrt(b**2 - 4 * a * c)
    return (-b - root) / (2 * a), (-b + root) / (2 * a)
