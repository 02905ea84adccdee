def favourite_offset(table):
    """((2M - 1)²,) -> (dy, dx)"""
    side = round(len(table) ** 0.5)  # 2M - 1
    # number = (dy + M - 1) · side + (dx + M - 1): the quotient is the first digit, the remainder the second.
    first, second = divmod(table.argmax().item(), side)
    middle = side // 2  # M - 1
    return first - middle, second - middle
