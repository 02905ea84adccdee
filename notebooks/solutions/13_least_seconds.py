def least_seconds(n, N, C, heads, operations_per_second, bytes_per_second, fused=False):
    """n tokens in windows of N -> seconds that scores, softmax and values take at least, in float32"""
    tokens, scores = n * C, n * N * heads  # numbers in a map, numbers in all scores
    steps = [  # operations, numbers read and written
        (2 * n * N * C, 2 * tokens + scores),  # q and k in, scores out
        (5 * scores, 2 * scores),
        (2 * n * N * C, scores + 2 * tokens),  # weights and v in, the result out
    ]
    if fused:
        steps = [(sum(operations for operations, _ in steps), 4 * tokens)]  # q, k, v in, the result out
    return sum(max(a / operations_per_second, 4 * b / bytes_per_second) for a, b in steps)
