import torch


def rollout(maps):
    """[(B, heads, H, W, H, W), ...] -> (B, H, W, H0, W0): from each token of the last map to the first map"""
    B, _, H0, W0 = maps[0].shape[:4]
    reached = torch.eye(H0 * W0).expand(B, -1, -1)
    for attention in maps:
        H, W = attention.shape[2:4]
        if reached.shape[1] != H * W:  # a merging came before: 2 x 2 tokens are one
            reached = reached.unflatten(1, (H, 2, W, 2)).mean(dim=(2, 4)).flatten(1, 2)
        step = attention.mean(dim=1).reshape(B, H * W, H * W)
        reached = (step @ reached + reached) / 2
    return reached.view(B, H, W, H0, W0)
