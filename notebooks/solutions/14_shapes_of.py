def shapes_of(model, images):
    """(B, 3, h, w) -> the shapes after the patch embedding, after each merging and after each block"""
    x = model.patch_embed(images)
    shapes = [tuple(x.shape)]
    for i, stage in enumerate(model.stages):
        layers = list(stage.blocks)
        if i > 0:  # the first stage merges nothing
            layers = [stage.downsample, *layers]
        for layer in layers:
            x = layer(x)
            shapes.append(tuple(x.shape))
    return shapes
