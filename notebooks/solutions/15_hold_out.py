import torch


def hold_out(labels, keys, share):
    """(n,) classes, (n,) keys in [0, 1) -> (n,) bool, True = to test: a share of each class, smallest keys"""
    test = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        members = (labels == label).nonzero().flatten()
        members = members[keys[members].argsort()]
        count = max(1, min(round(share * len(members)), len(members) - 1))
        test[members[:count]] = True
    return test
