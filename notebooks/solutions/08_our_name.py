def our_name(name):
    """torchvision's name of a weight -> ours"""
    parts = name.split(".")
    if parts[0] != "features":
        return name  # the last norm and the head
    place, rest = int(parts[1]), parts[2:]
    if place == 0:
        new = ["patch_embed", {"0": "proj", "2": "norm"}[rest[0]], *rest[1:]]
    elif place % 2 == 1:  # 1, 3, 5, 7: the blocks of stage 0, 1, 2, 3; rest begins with the block's number
        new = ["stages", str(place // 2), "blocks", *rest]
    else:  # 2, 4, 6: the merging at the beginning of stage 1, 2, 3
        new = ["stages", str(place // 2), "downsample", *rest]
    return ".".join(new).replace("mlp.0", "mlp.fc1").replace("mlp.3", "mlp.fc2")
