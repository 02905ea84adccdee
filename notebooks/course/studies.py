"""What a measurement allows to say: intervals of accuracies and of differences, and the studies to read.

One way throughout. Two models on the same pictures are compared picture by picture (`paired_by_picture`).
Two recipes are compared seed by seed where equal seeds were run (`paired_difference`), else as two groups
that may scatter differently (`welch_difference`); `compare_runs` chooses between these two by the seeds
alone, before it looks at any accuracy. "Shown" means everywhere: the 95% interval excludes 0.
"""

import math
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.append(str(Path(__file__).parents[2] / "checkpoints"))  # they stand beside their histories

from study import LADDER, REFERENCE, RUNGS, differences, load_study, mean_and_deviation  # noqa: E402

__all__ = [
    "LADDER",
    "REFERENCE",
    "RUNGS",
    "Difference",
    "by_seed",
    "calibration_error",
    "compare_runs",
    "differences",
    "fit_temperature",
    "load_study",
    "mean_and_deviation",
    "paired_by_picture",
    "paired_difference",
    "reliability",
    "student_t",
    "welch_difference",
    "wilson",
]

# --- from seeds --------------------------------------------------------------------------


@dataclass(frozen=True)
class Difference:
    """A mean difference in percentage points with its 95% interval, mean ± half.

    Other units are to be scaled so that two digits after the point are enough: `shown` is decided by these.
    """

    mean: float
    half: float  # half the interval's width, which |mean| must exceed to be shown; inf if unknown
    freedom: float  # degrees of freedom of the standard deviation; 0 if unknown
    paired: bool

    @property
    def low(self) -> float:
        return self.mean - self.half

    @property
    def high(self) -> float:
        return self.mean + self.half

    @property
    def shown(self) -> bool:
        """Does the interval exclude 0? Decided by two digits, those that are printed."""
        return round(abs(self.mean), 2) > round(self.half, 2)

    def __str__(self) -> str:
        """Two digits of both, one more than is worth reporting: nothing is decided by digits unseen."""
        way = "paired" if self.paired else "Welch"
        if math.isinf(self.half):
            return f"{self.mean:+6.2f} ±  ???  not shown: one seed has no scatter"
        said = "shown" if self.shown else "not shown"
        freedom = f"{self.freedom:.3g} degree{'s' * (self.freedom != 1)} of freedom"
        return f"{self.mean:+6.2f} ± {self.half:5.2f}  {said} ({way}, {freedom})"


@cache
def student_t(freedom: float, share: float = 0.95) -> float:
    """-> t so that Student's t with so many degrees of freedom lies in [-t, t] with probability `share`.

    `freedom` may be a fraction. Takes the place of 1.96 where a standard deviation comes from few
    values. By bisection: with t = √v tan θ, P(|T| < t) is the integral of cosᵛ⁻¹ from 0 to θ, over that
    from 0 to π/2. Raises ValueError for less than 1 degree of freedom.
    """
    if freedom < 1:
        raise ValueError(f"Student's t needs at least 1 degree of freedom, not {freedom}")
    whole = math.sqrt(math.pi) / 2 * math.exp(math.lgamma(freedom / 2) - math.lgamma((freedom + 1) / 2))
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        angle = (low + high) / 2
        part = torch.linspace(0, angle, 2001, dtype=torch.float64).cos().pow(freedom - 1)
        weights = torch.ones(2001, dtype=torch.float64)  # Simpson's rule
        weights[1:-1:2], weights[2:-1:2] = 4, 2
        if (part * weights).sum().item() * angle / 6000 < share * whole:
            low = angle
        else:
            high = angle
    return math.sqrt(freedom) * math.tan(low)


def paired_difference(values: Mapping, reference: Mapping) -> Difference:
    """{seed: value} twice -> values - reference, over the seeds that both have.

    The interval is mean ± t s/√n over the n differences, with n - 1 degrees of freedom. It holds whether or
    not equal seeds resemble each other. Raises ValueError where no seed is in both.
    """
    gains = [values[seed] - reference[seed] for seed in values if seed in reference]
    if not gains:
        raise ValueError("no seed was run with both: nothing can be paired")
    return _mean_of(gains, paired=True)


def _mean_of(gains, paired):
    n = len(gains)
    if n == 1:
        return Difference(gains[0], math.inf, 0, paired)
    half = student_t(n - 1) * statistics.stdev(gains) / math.sqrt(n)
    return Difference(statistics.mean(gains), half, n - 1, paired)


def welch_difference(values: Sequence[float], reference: Sequence[float]) -> Difference:
    """Two groups -> mean of values - mean of reference; each group may scatter in its own way.

    (Welch 1947, "The generalization of Student's problem when several different population variances
    are involved"; the degrees of freedom are Satterthwaite's.)
    """
    mean = statistics.mean(values) - statistics.mean(reference)
    if min(len(values), len(reference)) < 2:
        return Difference(mean, math.inf, 0, paired=False)
    parts = [(statistics.variance(group) / len(group), len(group) - 1) for group in (values, reference)]
    variance = sum(part for part, _ in parts)
    if variance == 0:
        return Difference(mean, 0.0, len(values) + len(reference) - 2, paired=False)
    freedom = variance**2 / sum(part**2 / own for part, own in parts)
    return Difference(mean, student_t(freedom) * math.sqrt(variance), freedom, paired=False)


def by_seed(histories, part: str = "validation") -> dict[int, float]:
    """Histories -> {seed: accuracy in percent} of "train", "validation" or "test"; of equal seeds the last"""
    return {h.recipe.seed: 100 * h.accuracy(part) for h in histories}


def compare_runs(histories, reference, part: str = "validation") -> Difference:
    """Two lists of histories -> the difference of their accuracies in percentage points.

    Paired where both have the same seeds, else Welch's. Which of the two is decided by the seeds alone.
    """
    first, second = by_seed(histories, part), by_seed(reference, part)
    if first.keys() == second.keys():
        return paired_difference(first, second)
    return welch_difference(list(first.values()), list(second.values()))


# --- from pictures -----------------------------------------------------------------------


def wilson(hits: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """-> the lowest and highest share p from which `hits` of n >= 1 is at most z standard deviations away.

    (Wilson 1927, "Probable inference, the law of succession, and statistical inference".)
    """
    share = hits / n
    middle = share + z**2 / (2 * n)
    spread = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    low, high = (middle - spread) / (1 + z**2 / n), (middle + spread) / (1 + z**2 / n)
    return max(0.0, low), min(1.0, high)  # rounding alone passes 0 and 1


def paired_by_picture(first: Tensor, second: Tensor) -> tuple[float, float]:
    """(n,) bool twice, the same pictures -> accuracy of the second minus the first, half its 95% interval.

    Both in percentage points. Each picture gives -1, 0 or 1: the interval is mean ± 1.96 s/√n, for hundreds
    of pictures. Where no answer changes it is ± 0, more certain than n pictures can be.
    """
    gains = second.double() - first.double()
    return 100 * gains.mean().item(), 196 * gains.std().item() / math.sqrt(len(gains))


def reliability(confidence: Tensor, right: Tensor, bins: int = 10) -> list[tuple[float, float, int]]:
    """(n,) and (n,) bool -> [(mean confidence, share right, count)] of each bin that is not empty.

    Bin i holds i/bins <= confidence < (i + 1)/bins; the last one 1, too.
    """
    index = (confidence * bins).long().clamp(max=bins - 1)
    chosen = [index == i for i in range(bins)]
    return [
        (confidence[c].mean().item(), right[c].double().mean().item(), c.sum().item())
        for c in chosen
        if c.any()
    ]


def calibration_error(confidence: Tensor, right: Tensor, bins: int = 10) -> float:
    """The gap between confidence and share right of each bin, averaged over the answers.

    (Naeini et al. 2015, "Obtaining well calibrated probabilities using Bayesian binning": the ECE.)
    """
    parts = reliability(confidence, right, bins)
    return sum(count * abs(mean - share) for mean, share, count in parts) / len(right)


def fit_temperature(validation, test, candidates: Sequence[float]) -> tuple[float, float, float]:
    """(logits (n, classes), labels (n,)) twice -> T, loss of the test pictures without and with it.

    T is the candidate with the smallest cross-entropy on the validation pictures.
    """
    logits, labels = validation
    T = min(candidates, key=lambda T: F.cross_entropy(logits / T, labels).item())
    logits, labels = test
    return T, F.cross_entropy(logits, labels).item(), F.cross_entropy(logits / T, labels).item()
