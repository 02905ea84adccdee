"""Checks of notebook 10: an interval for a share, a reliability table, a temperature."""

import math

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure

from course import figures
from course import studies as package
from course.check.core import Exercise, Symptom, plain
from course.check.watch import calls

# --- wilson_interval ---------------------------------------------------------------------


def _not_rejected(hits, n, z=1.96):
    """Search: from the measured share outwards, halve the gap between a p that is kept and one that isn't."""

    def kept(p):
        return abs(hits / n - p) <= z * math.sqrt(p * (1 - p) / n)

    bounds = []
    for outermost in (0.0, 1.0):
        inside, outside = hits / n, outermost
        if kept(outside):  # then nothing is rejected on this side
            inside = outside
        for _ in range(100):
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if kept(middle) else (inside, middle)
        bounds.append(inside)
    return bounds


def _middle(p, n, z):
    return (p + z**2 / (2 * n)) / (1 + z**2 / n)


def _spread(p, n, z):
    return z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)


def _interval(
    middle=_middle,
    spread=_spread,
    ends=lambda middle, spread: (middle - spread, middle + spread),
):
    """The interval with a mistake in one of its parts, if asked for."""

    def function(hits, n, z=1.96):
        return ends(middle(hits / n, n, z), spread(hits / n, n, z))

    return function


def _simple(p, n, z):
    return z * math.sqrt(p * (1 - p) / n)


def _two_more_of_each(hits, n, z=1.96):
    """Agresti and Coull's."""
    n, p = n + z**2, (hits + z**2 / 2) / (n + z**2)
    return p - _simple(p, n, z), p + _simple(p, n, z)


def _draw_intervals(function):
    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    ax = figure.subplots()
    for hits in range(11):
        low, high = function(hits, 10)
        ax.plot((low, high), (hits, hits), color=figures.COLOURS[0], linewidth=5)
        simple = _simple(hits / 10, 10, 1.96)
        ends = (hits / 10 - simple, hits / 10 + simple)
        ax.plot(ends, (hits - 0.3, hits - 0.3), color=figures.COLOURS[5], linewidth=2, linestyle="--")
        ax.plot(hits / 10, hits, "o", color="black", markersize=6)
    for edge in (0, 1):
        ax.axvline(edge, color="#444444", linestyle=":", linewidth=1.5)
    ax.set_xlabel("share; solid: yours, dashed: the simple formula", fontsize=13)
    ax.set_ylabel("right of 10", fontsize=13)
    return figure, "Intervals for 0 to 10 right of 10: yours stay between 0 and 1, the simple ones do not."


wilson_interval = Exercise(
    "wilson_interval",
    answer=_not_rejected,
    cases=lambda: {
        "9 right of 10": (9, 10),
        "870 of 1,000": (870, 1000),
        "none of 5": (0, 5),
        "all 7 of 7": (7, 7),
        "3 of 8, within 1 standard deviation": (3, 8, 1.0),
        "40 of 50, within 2.576": (40, 50, 2.576),
    },
    call=lambda function, *inputs: plain(function(*inputs)),
    mistakes={
        "That is the simple formula: its standard deviation is that of the measured share. Asked for is that "
        "of each p that is tried: p stands on both sides.": _interval(
            middle=lambda p, n, z: p, spread=_simple
        ),
        "That is the simple formula, cut off at 0 and 1. For 0 of 5 it is still sure of 0.": _interval(
            middle=lambda p, n, z: p,
            spread=_simple,
            ends=lambda middle, spread: (max(0.0, middle - spread), min(1.0, middle + spread)),
        ),
        "It is the simple formula with some trials added (Agresti and Coull's): near it, but wider. Solve "
        "the equation.": _two_more_of_each,
        "The middle is right, the width not. Under the root stands a second term, with n².": _interval(
            spread=lambda p, n, z: _simple(p, n, z) / (1 + z**2 / n)
        ),
        "The width is right, the middle not: it lies between the measured share and one half.": _interval(
            middle=lambda p, n, z: p
        ),
        "Everything is still to be divided by what stands before p²: 1 + z²/n.": _interval(
            middle=lambda p, n, z: p + z**2 / (2 * n),
            spread=lambda p, n, z: z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)),
        ),
        "The middle is right, the width still to be divided by what stands before p²: 1 + z²/n.": _interval(
            spread=lambda p, n, z: z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
        ),
        "The number 1.96 stands in the code. Use z.": lambda hits, n, z=1.96: _interval()(hits, n),
        "You have z where z² belongs.": _interval(
            middle=lambda p, n, z: (p + z / (2 * n)) / (1 + z / n),
            spread=lambda p, n, z: math.sqrt(z * p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z / n),
        ),
        "The higher end comes first. Return (low, high).": _interval(
            ends=lambda middle, spread: (middle + spread, middle - spread)
        ),
        "You return the middle and half the width. Asked for are the two ends.": _interval(
            ends=lambda middle, spread: (middle, spread)
        ),
        "The interval is twice as wide as it should be: 2a divides both the middle and the root.": _interval(
            spread=lambda p, n, z: 2 * _spread(p, n, z)
        ),
        "The ends are in percent. Return shares.": _interval(
            ends=lambda middle, spread: (100 * (middle - spread), 100 * (middle + spread))
        ),
    },
    forbidden={"It is made by the course's `wilson`: derive it yourself.": calls(package.wilson)},
    picture=_draw_intervals,
    tolerance=1e-6,
)

# --- reliability_table -------------------------------------------------------------------


def _one_by_one(confidence, right, bins=10):
    """Answer by answer, each into its bin."""
    kept = [[] for _ in range(bins)]
    for sure, is_right in zip(confidence.tolist(), right.tolist()):
        place = next((i for i in range(bins) if sure < (i + 1) / bins), bins - 1)
        kept[place].append((sure, float(is_right)))
    table = [(*(math.fsum(column) / len(b) for column in zip(*b)), len(b)) for b in kept if b]
    gaps = [count * abs(sure - share) for sure, share, count in table]
    return table, math.fsum(gaps) / len(confidence)


def _binned(
    place=lambda confidence, bins: (confidence * bins).long().clamp(max=bins - 1),
    centre=lambda confidence, i, bins: confidence.mean().item(),
    share=lambda chosen, right: right[chosen].double().mean().item(),
    size=lambda chosen: chosen.sum().item(),
    error=lambda table: sum(c * abs(a - b) for a, b, c in table) / sum(c for *_, c in table),
):
    """The table with a mistake in one of its parts, if asked for."""

    def function(confidence, right, bins=10):
        index, table = place(confidence, bins), []
        for i in range(bins):
            chosen = index == i
            if chosen.any():
                table.append((centre(confidence[chosen], i, bins), share(chosen, right), size(chosen)))
        return table, error(table)

    return function


def _equally_filled(confidence, bins):
    """Bins with equally many answers."""
    return confidence.argsort().argsort() * bins // len(confidence)


def _from_lowest_to_highest(confidence, bins):
    low, high = confidence.min(), confidence.max()
    return ((confidence - low) / (high - low) * bins).long().clamp(max=bins - 1)


def _mean_gap(table):
    return sum(abs(a - b) for a, b, _ in table) / len(table)


def _with_words(found):
    """nan as a word, since it does not equal itself."""
    if isinstance(found, tuple | list):
        return [_with_words(member) for member in found]
    return "nan" if isinstance(found, float) and math.isnan(found) else found


def _holds(found, value):
    """Has a row of the table this value in a place where a right one has another? (A count is an int.)"""
    table = found[0] if isinstance(found, list) and found else None
    rows = [row for row in table if isinstance(row, list)] if isinstance(table, list) else []
    return any(type(x) is type(value) and x == value for row in rows for x in row)


def _answers(n, low=0.1):
    """n answers whose confidence is a little too high."""
    confidence = low + (1 - low) * torch.rand(n, dtype=torch.float64)
    return confidence, torch.rand(n, dtype=torch.float64) < confidence**1.5


def _draw_table(function):
    torch.manual_seed(1)
    figure = figures.plot_reliability({"500 answers": function(*_answers(500, low=0.2), 10)[0]})
    return figure, "Your table as a figure: share right against confidence, below the diagonal, and counts."


reliability_table = Exercise(
    "reliability_table",
    answer=_one_by_one,
    cases=lambda: {
        "200 answers": (*_answers(200), 10),
        "4 bins, and confidences on their edges": (
            torch.tensor([0.25, 0.5, 0.3, 0.75, 0.8, 0.51, 0.26, 0.27], dtype=torch.float64),
            torch.tensor([True, False, False, True, True, False, True, True]),
            4,
        ),
        "a confidence of 1": (
            torch.tensor([0.55, 0.95, 0.96, 1.0, 1.0], dtype=torch.float64),
            torch.tensor([False, True, True, False, True]),
            10,
        ),
        "empty bins": (*_answers(30, low=0.7), 10),
    },
    call=lambda function, *inputs: _with_words(plain(function(*inputs))),
    mistakes={
        "Answers with a confidence of exactly 1 are missing. They belong to the last bin.": _binned(
            place=lambda confidence, bins: (confidence * bins).long()
        ),
        "A confidence on the edge of two bins is in the lower one. It belongs to the upper one, which begins "
        "with it.": _binned(place=lambda c, bins: ((c * bins).ceil().long() - 1).clamp(min=0)),
        "Empty bins are in the table, with nan: a mean over nothing. Leave them out.": Symptom(
            lambda found, *inputs: _holds(found, "nan")
        ),
        "Empty bins are in the table, with a count of 0. Leave them out: nobody answered so.": Symptom(
            lambda found, *inputs: _holds(found, 0)
        ),
        "The table is right. In the error every bin counts alike; every answer should.": _binned(
            error=_mean_gap
        ),
        "The table is right. The error is its largest gap; asked for is the mean gap, over the answers.": (
            _binned(error=lambda table: max(abs(a - b) for a, b, _ in table))
        ),
        "The table is right. In the error, too high and too low cancel: a gap has no sign.": _binned(
            error=lambda table: sum(c * (a - b) for a, b, c in table) / sum(c for *_, c in table)
        ),
        "The table is right. In the error too high and too low cancel, since the sign is removed at the "
        "very end.": _binned(
            error=lambda table: abs(sum(c * (a - b) for a, b, c in table)) / sum(c for *_, c in table)
        ),
        "The table is right. The gaps are squared in the error; take them as they are.": _binned(
            error=lambda table: sum(c * (a - b) ** 2 for a, b, c in table) / sum(c for *_, c in table)
        ),
        "The table is right. The error is still to be divided by the number of answers.": _binned(
            error=lambda table: sum(c * abs(a - b) for a, b, c in table)
        ),
        "In place of the mean confidence stands the middle of the bin.": _binned(
            centre=lambda confidence, i, bins: (i + 0.5) / bins
        ),
        "In place of the share that is right stands their number.": _binned(
            share=lambda chosen, right: right[chosen].double().sum().item()
        ),
        "Every bin has the share of all answers that are right. Take those of the bin alone.": _binned(
            share=lambda chosen, right: right.double().mean().item()
        ),
        "The third column is a share. It is to be the number of answers.": _binned(
            size=lambda chosen: chosen.double().mean().item(),
        ),
        "There are ten bins, whatever `bins` says.": lambda confidence, right, bins=10: _binned()(
            confidence, right, 10
        ),
        "The bins hold equally many answers. They are to be equally wide, from 0 to 1.": _binned(
            place=_equally_filled
        ),
        "The bins go from the lowest confidence to the highest. They are to go from 0 to 1.": _binned(
            place=_from_lowest_to_highest
        ),
    },
    forbidden={
        "It is made by the course's `reliability` or `calibration_error`: write it yourself.": calls(
            package.reliability, package.calibration_error
        )
    },
    picture=_draw_table,
    tolerance=1e-9,
)

# --- fit_temperature ---------------------------------------------------------------------


def _loss_by_formula(logits, labels, T=1.0):
    """The mean of log Σ exp(z/T) - z_y/T, in double precision."""
    logits = logits.double() / T
    return (logits.logsumexp(dim=1) - logits[torch.arange(len(labels)), labels]).mean().item()


def _search(validation, test, candidates):
    """One after the other; the best so far is kept."""
    best, lowest = None, math.inf
    for T in candidates:
        loss = _loss_by_formula(*validation, T)
        if loss < lowest:
            best, lowest = T, loss
    return best, _loss_by_formula(*test), _loss_by_formula(*test, best)


def _chosen(
    judge=lambda logits, labels: F.cross_entropy(logits, labels).item(),
    scaled=lambda logits, T: logits / T,
    chosen_on="validation",
    measured_on="test",
    give=lambda T, before, after, candidates: (T, before, after),
    loss=lambda logits, labels: F.cross_entropy(logits, labels).item(),
):
    """The search with a mistake in one of its parts, if asked for: `judge` is made small."""

    def function(validation, test, candidates):
        parts = {"validation": validation, "test": test}
        logits, labels = parts[chosen_on]
        T = min(candidates, key=lambda T: judge(scaled(logits, T), labels))
        logits, labels = parts[measured_on]
        return give(T, loss(logits, labels), loss(scaled(logits, T), labels), candidates)

    return function


def _gap(logits, labels):
    """|mean confidence - accuracy|"""
    confidence, answer = logits.softmax(dim=1).max(dim=1)
    return abs(confidence.mean().item() - (answer == labels).double().mean().item())


def _wrongs(logits, labels):
    return (logits.argmax(dim=1) != labels).sum().item()


def _confident(logits, labels):
    return -logits.softmax(dim=1).amax(dim=1).mean().item()


def _softmax_twice(logits, labels):
    return F.cross_entropy(logits.softmax(dim=1), labels).item()


def _logits_of(n, T, classes=5):
    """n pictures whose logits are right after a division by about T, and their labels."""
    logits = 1.5 * torch.randn(n, classes)
    labels = torch.distributions.Categorical(logits=logits).sample()
    return T * logits, labels


def _case(validation, test, candidates):
    return _logits_of(400, validation), _logits_of(300, test), candidates


def _draw_temperature(function):
    torch.manual_seed(1)
    validation, test, candidates = _case(2.0, 2.0, [0.5 + 0.05 * i for i in range(80)])
    losses = [_loss_by_formula(*validation, T) for T in candidates]
    figure = figures.plot_curves({"validation": (candidates, losses)}, "temperature T", "loss")
    T, _, _ = function(validation, test, candidates)
    figure.axes[0].axvline(T, color=figures.COLOURS[5], linestyle="--", linewidth=2.5)
    return figure, "Loss of the validation pictures over T; a dashed line marks your T, at its lowest point."


fit_temperature = Exercise(
    "fit_temperature",
    answer=_search,
    cases=lambda: {
        "a model that is too sure": _case(3.0, 2.0, [0.5 + i / 16 for i in range(80)]),
        "one that is not sure enough": _case(0.4, 0.7, [2.0 - i / 64 for i in range(120)]),
        "three candidates": _case(1.0, 2.0, [5.0, 1.1, 0.8]),
    },
    call=lambda function, *inputs: plain(function(*inputs)),
    mistakes={
        "T is chosen on the test pictures. What is fitted there cannot be tested there.": _chosen(
            chosen_on="test"
        ),
        "T is right, but both losses are those of the validation pictures. They helped to choose: take the "
        "test pictures.": _chosen(measured_on="validation"),
        "T is chosen on the test pictures, and the losses are those of the validation pictures: the two "
        "have changed places.": _chosen(chosen_on="test", measured_on="validation"),
        "You multiply by T. Divide: T > 1 is to make every answer less confident.": _chosen(
            scaled=lambda logits, T: logits * T
        ),
        "You choose by the accuracy. No T changes any answer, so all are equally good and the first one "
        "wins.": _chosen(judge=_wrongs),
        "You take the T with the largest loss.": _chosen(
            judge=lambda logits, labels: -F.cross_entropy(logits, labels).item()
        ),
        "You choose where mean confidence and accuracy are nearest. Asked for is the smallest "
        "cross-entropy.": _chosen(judge=_gap),
        "You take the T that makes the answers most confident, right or wrong.": _chosen(judge=_confident),
        "Softmax is taken twice: `F.cross_entropy` takes logits, and applies softmax itself.": _chosen(
            judge=_softmax_twice, loss=_softmax_twice
        ),
        "Softmax comes first and the division after it. Divide the logits.": _chosen(
            scaled=lambda logits, T: logits.softmax(dim=1) / T
        ),
        "T is right, the two losses have changed places: first without T (T = 1), then with it.": _chosen(
            give=lambda T, before, after, candidates: (T, after, before)
        ),
        "You return the place of T in the list. Return T itself.": _chosen(
            give=lambda T, before, after, candidates: (candidates.index(T), before, after)
        ),
        "T is right, but the losses are sums. Take means over the pictures.": _chosen(
            loss=lambda logits, labels: F.cross_entropy(logits, labels, reduction="sum").item()
        ),
    },
    forbidden={
        "It is made by the course's `fit_temperature`: write it yourself.": calls(package.fit_temperature)
    },
    picture=_draw_temperature,
)
