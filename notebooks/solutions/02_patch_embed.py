def patch_embed(images, weight, bias):
    """images (B, 3, h, w), weight (C, 3, P, P), bias (C,) -> (B, H, W, C)"""
    P = weight.shape[-1]
    # The last axis first: then the number of the other one has not changed yet.
    x = images.unflatten(3, (-1, P)).unflatten(2, (-1, P))  # (B, 3, H, row, W, column)
    # H and W lead; channel, row and column of a patch follow, in the order of the weights.
    x = x.permute(0, 2, 4, 1, 3, 5).flatten(3)  # (B, H, W, 3·P·P)
    # One filter a row: transposed, it is a column, and each token a weighted sum for each column.
    return x @ weight.flatten(1).T + bias
