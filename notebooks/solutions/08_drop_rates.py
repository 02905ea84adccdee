def drop_rates(rate, depths):
    """0.1, (2, 6, 2) -> [[0.0, 0.011], [0.022, ...], [0.089, 0.1]]"""
    steps = max(1, sum(depths) - 1)  # n blocks have n - 1 steps between them; one block has none
    rates, block = [], 0
    for depth in depths:
        rates.append([rate * (block + i) / steps for i in range(depth)])
        block += depth  # the count goes on in the next stage
    return rates
