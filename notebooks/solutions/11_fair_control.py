def fair_control(marked, chance):
    """(B, H, W) bool, (B, H, W) numbers -> (B, H, W) bool: as many tokens, those with the largest chance"""
    counts = marked.flatten(1).sum(dim=1)  # (B,)
    order = chance.flatten(1).argsort(dim=1, descending=True)
    rank = order.argsort(dim=1)  # 0 for the token with the largest chance, 1 for the next, ...
    return (rank < counts[:, None]).view_as(marked)
