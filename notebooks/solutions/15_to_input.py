import numpy as np


def to_input(picture, mean, std):
    """(h, w, 3) uint8, three numbers each -> (1, 3, h, w) float32, normalised: NumPy alone"""
    mean, std = (np.array(numbers, dtype=np.float32) for numbers in (mean, std))
    x = picture.astype(np.float32) / 255  # uint8 would become float64
    x = (x - mean) / std  # along the last axis: the colours
    return x.transpose(2, 0, 1)[None]
