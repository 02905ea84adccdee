"""Confidence that means what it says: how far off it is, and the one number that corrects most of it."""

import math

import torch
from torch import Tensor

BINS = 15  # of the calibration error, as in the paper
T_RANGE = 0.1, 10.0  # where the temperature is searched
MIN_PICTURES = 50  # of the shipped model: of 20 one fit in four is a third off, of 50 one in twelve


def fit_temperature(logits: Tensor, labels: Tensor) -> float | None:
    """(n, classes), (n,) -> the T with the smallest cross-entropy of logits / T.

    None where the pictures do not fix it: too few, or no T in T_RANGE is better than all others, as where
    every answer is right. (Guo et al. 2017, "On calibration of modern neural networks", section 4.2.)
    """
    if len(labels) < MIN_PICTURES:
        return None
    logits, labels = logits.cpu().double(), labels.cpu()
    truth = logits.gather(1, labels[:, None]).mean()
    low, high = (-math.log(T) for T in reversed(T_RANGE))  # of log(1 / T)
    for _ in range(50):
        middle = (low + high) / 2
        # The cross-entropy is convex in 1 / T; its slope there is the mean expected logit less the true one.
        expected = ((math.exp(middle) * logits).softmax(1) * logits).sum(1).mean()
        low, high = (low, middle) if expected > truth else (middle, high)
    inside = -math.log(T_RANGE[1]) < low and high < -math.log(T_RANGE[0])
    return math.exp(-middle) if inside else None


def calibration_error(probabilities: Tensor, labels: Tensor) -> float:
    """(n, classes), (n,) -> the gap between confidence and share right, averaged over the answers.

    An answer's confidence c, the largest probability, puts it into the bin i with i <= BINS c < i + 1, 1
    into the last; each bin's gap counts as often as it has answers. (Guo et al. 2017, equation 3.)
    """
    confidence, answer = probabilities.cpu().double().max(1)
    gaps = (answer == labels.cpu()).double() - confidence
    index = (confidence * BINS).long().clamp(max=BINS - 1)
    return torch.zeros(BINS, dtype=gaps.dtype).index_add(0, index, gaps).abs().sum().item() / len(gaps)


def calibration_in_words(logits: Tensor, labels: Tensor, temperature: float) -> str:
    """(n, classes), (n,) -> one line: the calibration error without the temperature, and with it."""
    before, after = (calibration_error((logits / T).softmax(1), labels) for T in (1.0, temperature))
    text = f"expected calibration error in {BINS} bins: {before:.2%}"
    if temperature == 1:
        return f"{text}; no temperature was fitted"
    return f"{text}, with the temperature {temperature:.2f} {after:.2%}"
