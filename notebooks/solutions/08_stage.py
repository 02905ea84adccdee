from torch import nn


def stage(x, layer):
    """(B, H, W, C) -> (B, H', W', C'): the merging, where there is one, then the blocks"""
    merging = layer.downsample
    if not isinstance(merging, nn.Identity):  # the first stage has none
        x = patch_merging(x, merging.norm, merging.reduction)
    for each in layer.blocks:
        x = block(x, each)
    return x
