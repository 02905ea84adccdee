def forward(images, model):
    """(B, 3, h, w) -> (B, classes): pictures in, logits out"""
    x = model.patch_embed(images)  # (B, H, W, C)
    for each in model.stages:
        x = stage(x, each)
    x = model.norm(x).mean(dim=(1, 2))  # every token first, then the mean over all
    return model.head(x)
