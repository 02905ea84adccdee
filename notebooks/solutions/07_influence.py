def influence(size, M, shifts, token):
    """-> (first, end): of an axis of `size` tokens, those that a change of `token` reaches"""
    first, end = token, token + 1
    for shift in shifts:
        # Down to where a window begins, up to where the next one does, and never beyond the edge.
        first = max(0, (first - shift) // M * M + shift)
        end = min(size, -((shift - end) // M) * M + shift)
    return first, end
