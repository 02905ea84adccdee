def absorb_normalization(weight, bias, mean, std):
    """(C, 3·P·P), (C,), (3,), (3,) -> new weight (C, 3·P·P), new bias (C,)"""
    pixels = weight.shape[1] // 3  # P·P numbers of each colour
    # A patch is written as all reds, then all greens, then all blues: mean and std in that order.
    mean, std = mean.repeat_interleave(pixels), std.repeat_interleave(pixels)  # (3·P·P,)
    # weight · (x - mean) / std + bias = (weight / std) · x + (bias - (weight / std) · mean)
    new_weight = weight / std
    return new_weight, bias - new_weight @ mean
