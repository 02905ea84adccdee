"""Checks of notebook 12: a paired interval, how many seeds a study needs, a question that needs the mask."""

import math
import statistics

import torch
from matplotlib.figure import Figure

from course import figures
from course import studies as package
from course.check.core import Exercise, Symptom, Wrong, as_tensor, plain
from course.check.watch import calls
from course.questions import PAINT, ring_of, tokens_at
from course.studies import student_t

# --- paired_interval ---------------------------------------------------------------------


def _from_sums(values, reference):
    """With the sums of the differences and of their squares."""
    gains = torch.tensor([values[s] - reference[s] for s in sorted(values) if s in reference]).double()
    n, total, squares = len(gains), gains.sum().item(), gains.square().sum().item()
    half = student_t(n - 1) * math.sqrt((squares - total**2 / n) / (n - 1) / n)
    return total / n, total / n - half, total / n + half


def _pairs(values, reference):
    return [values[seed] - reference[seed] for seed in values if seed in reference]


def _by_place(values, reference):
    return [a - b for a, b in zip(values.values(), reference.values())]


def _paired(
    gains=_pairs,
    mean=lambda gains, values, reference: statistics.mean(gains),
    deviation=statistics.stdev,
    factor=lambda n: student_t(n - 1),
    root=math.sqrt,
    give=lambda mean, half: (mean, mean - half, mean + half),
):
    """The interval with a mistake in one of its parts, if asked for."""

    def function(values, reference):
        found = gains(values, reference)
        half = factor(len(found)) * deviation(found) / root(len(found))
        return give(mean(found, values, reference), half)

    return function


def _welch(values, reference):
    found = package.welch_difference(list(values.values()), list(reference.values()))
    return found.mean, found.low, found.high


def _pooled(values, reference):
    """Student's two groups of equal scatter."""
    groups = list(values.values()), list(reference.values())
    freedom = sum(map(len, groups)) - 2
    variance = sum((len(g) - 1) * statistics.variance(g) for g in groups) / freedom
    half = student_t(freedom) * math.sqrt(variance * sum(1 / len(g) for g in groups))
    mean = statistics.mean(groups[0]) - statistics.mean(groups[1])
    return mean, mean - half, mean + half


def _mean_of_all(gains, values, reference):
    return statistics.mean(values.values()) - statistics.mean(reference.values())


def _draw_paired(function):
    reference = {0: 68.1, 1: 66.9, 2: 69.0, 3: 67.4}
    values = {0: 68.9, 1: 67.6, 2: 69.4, 3: 68.3}
    figure = Figure(figsize=(7.5, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for seed in values:
        left.plot((0, 1), (reference[seed], values[seed]), "o-", color=figures.COLOURS[0], linewidth=2)
        right.plot(0, values[seed] - reference[seed], "o", color="black", markersize=7)
    mean, low, high = function(values, reference)
    right.plot((0.3, 0.3), (low, high), color=figures.COLOURS[5], linewidth=4)
    right.plot(0.3, mean, "s", color=figures.COLOURS[5], markersize=10)
    right.axhline(0, color="#444444", linestyle=":", linewidth=2)
    left.set_xticks((0, 1), ("reference", "changed"), fontsize=12)
    right.set_xticks((0, 0.3), ("each seed", "mean"), fontsize=12)
    right.set_xlim(-0.2, 0.5)
    left.set_ylabel("accuracy in percent; a line is a seed", fontsize=11)
    right.set_ylabel("difference, 95% interval", fontsize=11)
    alt = "Four seeds, each a rising line; beside them the differences, and your interval, which excludes 0."
    return figure, alt


def _study(seeds, others, scatter):
    """Accuracies of two recipes; equal seeds resemble each other."""
    common = {seed: torch.randn(()).item() for seed in {*seeds, *others}}
    values = {seed: 67.5 + common[seed] + scatter * torch.randn(()).item() for seed in seeds}
    reference = {seed: 67.0 + common[seed] + 0.2 * torch.randn(()).item() for seed in others}
    return values, reference


paired_interval = Exercise(
    "paired_interval",
    answer=_from_sums,
    cases=lambda: {
        "three seeds": _study([0, 1, 2], [0, 1, 2], 0.3),
        "five seeds, in another order": _study([4, 2, 0, 1, 3], [1, 0, 3, 4, 2], 0.5),
        "seeds that only one has": _study([0, 1, 2, 3, 7], [3, 9, 1, 0, 8], 0.4),
        "two seeds": _study([0, 1], [0, 1], 0.2),
    },
    call=lambda function, *inputs: plain(function(*inputs)),
    mistakes={
        "The differences are those of equal places. Pair equal seeds: a dictionary has its own order.": (
            _paired(gains=_by_place)
        ),
        "The sign is wrong: asked for is `values` minus `reference`.": _paired(
            gains=lambda values, reference: _pairs(reference, values)
        ),
        "The factor is 1.96, which is right for a known standard deviation. Yours comes from a few seeds: "
        "`student_t`.": _paired(factor=lambda n: 1.96),
        "The factor has n degrees of freedom. The standard deviation of n differences has n - 1.": _paired(
            factor=student_t
        ),
        "The standard deviation is that of n differences as if they were all there are: divide by n - 1.": (
            _paired(deviation=statistics.pstdev)
        ),
        "The interval is that of one seed's difference. That of their mean is √n times as narrow.": _paired(
            root=lambda n: 1
        ),
        "You divide by n. The standard deviation of a mean is √n times as small.": _paired(root=lambda n: n),
        "The two groups are compared as if seeds did not pair (Welch). Take the differences first.": _welch,
        "The two groups are pooled, as if seeds did not pair and both scattered alike. Take the differences "
        "first.": _pooled,
        "The width is right. In the mean, seeds that only one of both has count, too.": _paired(
            mean=_mean_of_all
        ),
        "You return the mean and half of the width. Asked for are the mean and both ends.": _paired(
            give=lambda mean, half: (mean, half)
        ),
        "The two ends have changed places. Return mean, low, high.": _paired(
            give=lambda mean, half: (mean, mean + half, mean - half)
        ),
        "The variance stands where the standard deviation belongs.": _paired(deviation=statistics.variance),
    },
    forbidden={
        "It is made by the course's `paired_difference`: write it yourself.": calls(package.paired_difference)
    },
    picture=_draw_paired,
    tolerance=1e-6,
)

# --- seeds_needed ------------------------------------------------------------------------

STUDIES = 20_000  # that the answer plays through for each number of seeds


def _share_shown(effect, deviation, n):
    """How often, of many studies with n seeds, is the effect shown? Each study has a scatter of its own."""
    generator = torch.Generator().manual_seed(n)
    gains = effect + deviation * torch.randn(STUDIES, n, generator=generator, dtype=torch.float64)
    half = student_t(n - 1) * gains.std(dim=1) / n**0.5
    return (gains.mean(dim=1).abs() > half).double().mean().item()


def _simulated(effect, deviation, power=0.75):
    n = 2
    while _share_shown(effect, deviation, n) < power:
        n += 1
    return n


def _power(effect, deviation, n, factor=None):
    """The same share without chance: an integral over the standard deviation that a study finds."""
    factor = student_t(n - 1) if factor is None else factor
    found = torch.linspace(1e-6, 8, 8000, dtype=torch.float64) * math.sqrt(n - 1)  # chi with n - 1
    density = (n - 2) * found.log() - found.square() / 2
    density = (density - density.max()).exp()
    normal = torch.distributions.Normal(0.0, 1.0)
    away = effect * math.sqrt(n) / deviation
    edge = factor * found / math.sqrt(n - 1)
    shown = normal.cdf(away - edge) + normal.cdf(-away - edge)
    return ((density * shown).sum() / density.sum()).item()


def _first(enough, give=lambda n: n):
    """The first n from 2 on that is enough(effect, deviation, n, power)."""

    def function(effect, deviation, power=0.75):
        return give(next(n for n in range(2, 200) if enough(effect, deviation, n, power)))

    return function


def _known(effect, deviation, n, power):
    """With the deviation known: 1.96 and the normal distribution."""
    normal = torch.distributions.Normal(0.0, 1.0)
    away = torch.tensor(effect * math.sqrt(n) / deviation)
    return (normal.cdf(away - 1.96) + normal.cdf(-away - 1.96)).item() >= power


_of_two_groups = _first(lambda effect, deviation, n, power: _power(effect, 2**0.5 * deviation, n) >= power)


def _is_near(found, n):
    return isinstance(found, int) and abs(found - n) <= 1  # a simulation is not exact


def _whole_number(function, *inputs):
    found = plain(function(*inputs))
    return int(found) if isinstance(found, float) and found.is_integer() else found


def _draw_seeds(function):
    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    ax = figure.subplots()
    effects = (0.4, 0.5, 0.6, 0.8, 1.0)
    counts = range(2, 15)
    for effect, colour, line in zip(effects, figures.COLOURS, ("-", "--", "-.", ":", "-")):
        shares = [_power(effect, 0.4, n) for n in counts]
        ax.plot(counts, shares, color=colour, linestyle=line, linewidth=2.5, label=f"{effect} points")
        n = function(effect, 0.4)
        ax.plot(n, _power(effect, 0.4, max(n, 2)), "o", color=colour, markersize=11)
    ax.axhline(0.75, color="#444444", linestyle=":", linewidth=2)
    ax.set_xlabel("seeds; dots: yours", fontsize=13)
    ax.set_ylabel("share of studies that show it", fontsize=13)
    ax.legend(fontsize=12, title="effect, at s.d. 0.4")
    return (
        figure,
        "Rising curves, the chance to show an effect over seeds; your dots: where they pass 0.75.",
    )


seeds_needed = Exercise(
    "seeds_needed",
    answer=_simulated,
    cases=lambda: {
        "0.5 points at a deviation of 0.4": (0.5, 0.4),
        "1 point at 0.4": (1.0, 0.4),
        "2 points at 0.4": (2.0, 0.4),
        "0.4 points at 0.4, power 0.55": (0.4, 0.4, 0.55),
        "0.5 points at 0.4, power one half": (0.5, 0.4, 0.5),
        "1.2 points at 0.6, power 0.85": (1.2, 0.6, 0.85),
        "0.8 points at 0.3, power 0.6": (0.8, 0.3, 0.6),
    },
    call=_whole_number,
    mistakes={
        "The factor is 1.96 whatever the number of seeds. With few, Student's t is far larger.": _first(
            lambda effect, deviation, n, power: _power(effect, deviation, n, 1.96) >= power
        ),
        "That is the formula for a known deviation. A study estimates its own, from few seeds.": _first(
            _known
        ),
        "The factor has n degrees of freedom. It is n - 1.": _first(
            lambda effect, deviation, n, power: _power(effect, deviation, n, student_t(n)) >= power
        ),
        "You ask when the effect is as long as half the usual interval. Then about half of the studies miss "
        "it: count the studies that show it.": _first(
            lambda effect, deviation, n, power: effect > student_t(n - 1) * deviation / n**0.5
        ),
        "Half of the interval is t · s. That of the mean of n seeds is √n times as narrow.": _first(
            lambda effect, deviation, n, power: (
                n > 100 or _power(effect, deviation, n, student_t(n - 1) * n**0.5) >= power
            )
        ),
        "One too few: with so many seeds the power is not yet reached.": _first(
            lambda effect, deviation, n, power: _power(effect, deviation, n) >= power, lambda n: n - 1
        ),
        "One too many: the number before it is enough.": _first(
            lambda effect, deviation, n, power: _power(effect, deviation, n) >= power, lambda n: n + 1
        ),
        "That is the number of runs, two for each seed. Asked for is the number of seeds.": _first(
            lambda effect, deviation, n, power: _power(effect, deviation, n) >= power, lambda n: 2 * n
        ),
        "Two deviations are added, as of two groups. The one given is that of the differences already.": (
            Symptom(lambda found, *inputs: _is_near(found, _of_two_groups(*inputs)))
        ),
        "The power is always 0.75. Use `power`.": _first(
            lambda effect, deviation, n, power: _power(effect, deviation, n) >= 0.75
        ),
    },
    picture=_draw_seeds,
)

# --- needs_mask --------------------------------------------------------------------------


def _in_the_corners(B, generator):
    """Blue and orange on a diagonal: in the middle (1), or in two corners (0)."""
    answers = torch.randint(2, (B,), generator=generator)
    places = torch.tensor([[3, 0], [1, 2]])[answers]  # (B, 2): those of blue and of orange
    return tokens_at(places, places, torch.tensor([[0, 1]]).expand(B, 2)), answers


def _is_of_tokens(pictures):
    """(B,) bool: is it grey but for two tokens, each blue or orange?"""
    tokens = pictures[:, :, ::8, ::8]  # (B, 3, 4, 4)
    whole = (tokens.repeat_interleave(8, 2).repeat_interleave(8, 3) == pictures).flatten(1).all(dim=1)
    kinds = torch.cat([torch.zeros(1, 3), PAINT])  # grey, blue, orange
    equal = (tokens[:, None] == kinds[:, :, None, None]).all(dim=2)  # (B, 3, 4, 4)
    return whole & equal.any(dim=1).flatten(1).all(dim=1) & (equal[:, 0].flatten(1).sum(dim=1) == 14)


def best_without_mask(pictures, answers):
    """-> share of right answers of the best model of one stage without the mask, and what chance gives it.

    Such a model has one answer for all pictures that are the same on the ring; the best gives the more
    frequent one. Its share is above one half by chance alone: as far as with the answers shuffled.
    """
    ring = ring_of(pictures[:, :, ::8, ::8], window=2).unique(return_inverse=True)[1]

    def share(answers):
        counts = torch.bincount(2 * ring + answers, minlength=2 * (int(ring.max()) + 1)).view(-1, 2)
        return counts.amax(dim=1).sum().item() / len(answers)

    shuffled = [share(answers[torch.randperm(len(answers))]) for _ in range(20)]
    return share(answers), statistics.mean(shuffled)


def _examine(function, B):
    """Raises Wrong, with what is wrong with the data set. -> what is right about it."""
    runs = [function(B, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    if not isinstance(runs[0], tuple | list) or len(runs[0]) != 2:
        raise Wrong("return two things: pictures, answers")
    pictures, answers = runs[0]
    as_tensor(pictures, (B, 3, 32, 32), "pictures (B, 3, 32, 32)")
    as_tensor(answers, (B,), "answers (B,)", torch.int64)
    if not torch.equal(pictures, runs[1][0]) or not torch.equal(answers, runs[1][1]):
        raise Wrong("two calls with equal generators give different pictures: draw all from `generator`")
    if torch.equal(pictures, runs[2][0]):
        raise Wrong("every generator gives the same pictures: draw them at random, from `generator`")
    if not ((answers == 0) | (answers == 1)).all():
        raise Wrong("an answer is neither 0 nor 1")
    if not _is_of_tokens(pictures).all():
        raise Wrong(
            "a picture is not grey with two coloured tokens: paint all with `tokens_at`, two places each"
        )
    yes = answers.double().mean().item()
    if not 0.45 < yes < 0.55:
        raise Wrong(f"{yes:.0%} of the answers are 1: guessing that wins. Make it one half")
    _examine_question(pictures, answers)
    return "needs the mask"


def _examine_question(pictures, answers):
    kinds, which = pictures[:, :, ::8, ::8].flatten(1).unique(dim=0, return_inverse=True)
    both = [which[answers == answer].unique() for answer in (0, 1)]
    if torch.isin(*both).any():
        raise Wrong("the same picture comes with both answers: no model at all can be right")
    share, chance = best_without_mask(pictures, answers)
    if share > 0.99:
        raise Wrong(
            "a model without the mask can be always right: on the ring, no picture with the answer 1 is the "
            "same as one with the answer 0. Move yours by one window (2 tokens): does the answer change?"
        )
    if share > chance + 0.03:
        raise Wrong(
            f"a model without the mask can be right in {share:.0%}: on the ring, some pictures are the same "
            "as one with the other answer, but not all of them equally often"
        )
    if _is_touching(kinds.view(-1, 3, 4, 4)):
        raise Wrong("that is the notebook's own question, in rows. Ask another")


def _is_touching(tokens):
    """Are all of them pictures of the notebook's `touching`?"""
    rows = torch.arange(4).repeat(2)[:, None].expand(8, 2)
    columns = torch.tensor([[1, 2]] * 4 + [[3, 0]] * 4)
    own = tokens_at(rows, columns, torch.tensor([[0, 1]]).expand(8, 2))[:, :, ::8, ::8]
    return bool((tokens[:, None] == own).flatten(2).all(dim=2).any(dim=1).all())


def _draw_question(function):
    pictures, answers = function(300, torch.Generator().manual_seed(1))
    ring = ring_of(pictures)
    figure, axes = figures.panels(1, 4, size=2.2)
    both = [kind for kind in ring.unique() if len(answers[ring == kind].unique()) == 2]
    for i, kind in enumerate((both[0], both[-1])):  # two pairs that are the same on the ring
        for answer in (1, 0):
            ax = axes[2 * i + 1 - answer]
            here = ((ring == kind) & (answers == answer)).nonzero()[0, 0]
            figures.draw_picture(ax, (pictures[here] + 1) / 2, "yes" if answer else "no")
            figures.draw_grid(ax, 2, 2, unit=16)
    return figure, "Two pairs of your pictures: a yes beside a no that is the same on the ring."


needs_mask = Exercise(
    "needs_mask",
    answer=_in_the_corners,
    cases=lambda: {"4,000 pictures": (4000,), "3,999 pictures": (3999,)},
    call=_examine,
    mistakes={},
    picture=_draw_question,
)
