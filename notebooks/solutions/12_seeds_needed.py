import math

import torch

from course.studies import student_t


def seeds_needed(effect, deviation, power=0.75):
    """-> the smallest number of seeds with which at least the share `power` of all studies shows it"""
    generator = torch.Generator().manual_seed(0)
    for n in range(2, 100):
        gains = effect + deviation * torch.randn(10_000, n, generator=generator)  # a row is a study
        half = student_t(n - 1) * gains.std(dim=1) / math.sqrt(n)  # its own scatter, not the true one
        shown = gains.mean(dim=1).abs() > half
        if shown.double().mean() >= power:
            return n
