def clip_by_hand(gradients, max_norm):
    """[tensor, ...] -> [tensor, ...]: together at most max_norm long"""
    length = sum(g.square().sum() for g in gradients) ** 0.5  # of all of them as one vector
    if length <= max_norm:  # also for zeros, so that we never divide by 0
        return [g.clone() for g in gradients]
    return [g * (max_norm / length) for g in gradients]  # one factor: the direction stays
