def trapezoid(step, total, warmup, cooldown, peak):
    """-> the learning rate of a step in [0, total)"""
    left = total - step  # steps that are left, this one counted: 1 for the last
    # Each fraction is below 1 only in its own part, so the smallest of the three decides.
    return peak * min(1.0, (step + 1) / (warmup + 1), left / (cooldown + 1))
