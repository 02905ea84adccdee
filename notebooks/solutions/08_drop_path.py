def drop_path(x, drop_prob, training):
    """(B, ...) -> (B, ...): in training whole samples become 0, the others are divided by 1 - drop_prob"""
    if not training or drop_prob == 0:
        return x
    one_per_sample = [len(x)] + [1] * (x.ndim - 1)  # (B, 1, ..., 1)
    keep = x.new_empty(one_per_sample).bernoulli_(1 - drop_prob)  # of x's type, on its device
    return x * (keep / (1 - drop_prob))
