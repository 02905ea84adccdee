import torch.nn.functional as F


def pad_centred(images, P):
    """(B, 3, h, w) -> the same with zeros on all sides, height and width multiples of P"""
    h, w = images.shape[2:]
    across, down = -w % P, -h % P  # zeros that are needed: 0 where P divides the side
    left, above = across // 2, down // 2
    # n - n // 2 and not n // 2 a second time: the two halves must add up to n, also if n is odd.
    return F.pad(images, (left, across - left, above, down - above))
