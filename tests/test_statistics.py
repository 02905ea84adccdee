"""What a measurement allows to say (course/studies.py), by closed forms, tables and resampling."""

import math
import statistics
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from course import figures
from course.check.ablations import _power, _share_shown, best_without_mask
from course.questions import ring_of, tokens_at
from course.studies import (
    Difference,
    calibration_error,
    compare_runs,
    fit_temperature,
    paired_by_picture,
    paired_difference,
    reliability,
    student_t,
    welch_difference,
    wilson,
)
from swin_cifar import SwinConfig, SwinTransformer
from swin_cifar.variants import ablate

# --- Student's t --------------------------------------------------------------------------


def test_student_t_has_closed_forms_for_one_two_and_four():
    share = 0.95
    assert student_t(1) == pytest.approx(math.tan(math.pi / 2 * share), rel=1e-6)
    assert student_t(2) == pytest.approx(share * math.sqrt(2 / (1 - share**2)), rel=1e-6)
    t = student_t(4)  # P(|T| < t) = (3 u - u³) / 2 with u = t / √(4 + t²)
    u = t / math.sqrt(4 + t**2)
    assert (3 * u - u**3) / 2 == pytest.approx(share, abs=1e-8)


@pytest.mark.parametrize(("freedom", "t"), [(3, 3.1824), (10, 2.2281), (14, 2.1448), (30, 2.0423)])
def test_student_t_of_the_tables(freedom, t):
    assert student_t(freedom) == pytest.approx(t, abs=5e-5)
    assert student_t(freedom, 0.99) > t > student_t(freedom, 0.9)


def test_student_t_ends_at_the_normal_factor_and_takes_fractions():
    assert student_t(1e5) == pytest.approx(1.96, abs=1e-4)
    assert student_t(2) > student_t(2.5) > student_t(3)
    with pytest.raises(ValueError, match="at least 1 degree"):
        student_t(0.5)


# --- differences --------------------------------------------------------------------------


def misses(differences, truth):
    return sum(abs(each.mean - truth) > each.half for each in differences) / len(differences)


def normal(n, scatter, generator):
    return (scatter * torch.randn(n, generator=generator, dtype=torch.float64)).tolist()


def test_the_paired_interval_misses_5_of_100_whatever_seeds_have_in_common():
    generator = torch.Generator().manual_seed(0)
    for common in (0.0, 5.0):
        found = []
        for _ in range(2000):
            shared, reference, gains = (normal(3, s, generator) for s in (common, 0.3, 1.2))
            first = {s: shared[s] + gains[s] + 0.7 for s in range(3)}
            found.append(paired_difference(first, {s: shared[s] + reference[s] for s in (2, 0, 1)}))
        assert misses(found, 0.7) == pytest.approx(0.05, abs=0.015)
        assert {each.freedom for each in found} == {2}


def test_welch_holds_where_pooling_does_not():
    """The noisy group is the smaller one: a pooled deviation is far too small."""
    generator = torch.Generator().manual_seed(0)
    welch, pooled = [], []
    for _ in range(500):
        few, many = normal(3, 1.2, generator), normal(9, 0.3, generator)
        welch.append(welch_difference(few, many))
        variance = (2 * statistics.variance(few) + 8 * statistics.variance(many)) / 10
        half = student_t(10) * math.sqrt(variance * (1 / 3 + 1 / 9))
        pooled.append(Difference(welch[-1].mean, half, 10, paired=False))
    assert misses(welch, 0) < 0.08
    assert misses(pooled, 0) > 0.15


def test_welch_of_equal_groups_is_student_s():
    first, second = [1.0, 2.0, 4.0], [11.0, 12.0, 14.0]  # the same scatter
    found = welch_difference(first, second)
    assert found.mean == -10 and found.freedom == pytest.approx(4)
    assert found.half == pytest.approx(student_t(4) * math.sqrt(2 / 3 * statistics.variance(first)))


def test_the_claim_about_windows_is_not_shown():
    """Means 1.3 apart; global attention scatters four times as much. Pooling all models had shown it."""
    welch = welch_difference([68.56, 67.96, 68.1], [68.5, 69.2, 70.9])
    assert welch.mean == pytest.approx(-1.33, abs=0.01) and not welch.shown
    assert welch.mean / welch.half * student_t(welch.freedom) == pytest.approx(-1.8, abs=0.05)


def history(seed, accuracy):
    return SimpleNamespace(recipe=SimpleNamespace(seed=seed), accuracy=lambda part: accuracy)


def test_runs_are_paired_where_their_seeds_are_the_same_and_else_are_groups():
    first = [history(2, 0.73), history(0, 0.70), history(1, 0.71)]
    same = [history(0, 0.60), history(1, 0.61), history(2, 0.63)]
    found = compare_runs(first, same)
    assert found.paired and found.mean == pytest.approx(10) and found.half == pytest.approx(0, abs=1e-9)
    other = compare_runs(first, [history(seed + 7, 0.6 + seed / 100) for seed in range(3)])
    assert not other.paired and other.half > 1


def test_one_seed_shows_nothing():
    for found in (paired_difference({0: 9.0}, {0: 1.0}), welch_difference([9.0], [1.0, 1.1])):
        assert math.isinf(found.half) and not found.shown
        assert str(found).endswith("not shown: one seed has no scatter")
    with pytest.raises(ValueError, match="no seed was run with both"):
        paired_difference({0: 1.0}, {1: 1.0})


def test_what_is_said_follows_from_what_is_printed():
    """Two gains of 1.1 on both sides of 1.105, as in the first version of notebook 09."""
    for gain, said in ((1.149, "shown"), (1.101, "not shown"), (1.1049, "not shown")):
        found = Difference(gain, 1.1041, 2, paired=True)
        assert f"{found}".split("  ")[-1].startswith(said)
        printed = float(str(found).split("±")[0]), float(str(found).split("±")[1].split()[0])
        assert found.shown == (printed[0] > printed[1])


# --- pictures -----------------------------------------------------------------------------


@pytest.mark.parametrize(("hits", "n", "z"), [(9, 10, 1.96), (0, 5, 1.96), (7, 7, 1.0), (870, 1000, 2.576)])
def test_wilson_keeps_what_is_not_rejected(hits, n, z):
    low, high = wilson(hits, n, z)
    for p in torch.linspace(0, 1, 2001, dtype=torch.float64).tolist():
        kept = abs(hits / n - p) <= z * math.sqrt(p * (1 - p) / n) + 1e-12
        assert kept == (low - 1e-9 <= p <= high + 1e-9), p


def test_pairs_of_pictures_by_resampling():
    generator = torch.Generator().manual_seed(0)
    first = torch.rand(800, generator=generator) < 0.8
    second = torch.where(torch.rand(800, generator=generator) < 0.9, first, ~first)
    mean, half = paired_by_picture(first, second)
    b, c = (first & ~second).sum().item(), (~first & second).sum().item()
    assert mean == pytest.approx(100 * (c - b) / 800)
    drawn = torch.randint(800, (4000, 800), generator=generator)
    means = (second[drawn].double() - first[drawn].double()).mean(dim=1)
    assert half == pytest.approx(196 * means.std().item(), rel=0.05)


def test_bins_and_their_error():
    confidence = torch.tensor([0.05, 0.5, 0.5, 0.59, 1.0, 0.9], dtype=torch.float64)
    right = torch.tensor([False, True, False, True, True, True])
    table = reliability(confidence, right)
    assert [count for *_, count in table] == [1, 3, 2]
    assert table[1][1] == pytest.approx(2 / 3)
    by_hand = (0.05 + abs(0.5 + 0.5 + 0.59 - 2) + abs(1.9 - 2)) / 6
    assert calibration_error(confidence, right) == pytest.approx(by_hand)


def test_the_temperature_is_found_where_the_answers_came_from():
    torch.manual_seed(0)
    true = 2 * torch.randn(20_000, 5)
    labels = torch.distributions.Categorical(logits=true).sample()
    candidates = [0.5 + 0.1 * i for i in range(40)]
    half = 10_000
    T, before, after = fit_temperature(
        (2.5 * true[:half], labels[:half]), (2.5 * true[half:], labels[half:]), candidates
    )
    assert T == pytest.approx(2.5, abs=0.15)
    assert after < before == F.cross_entropy(2.5 * true[half:], labels[half:]).item()


# --- the size of a study, and the ring ----------------------------------------------------


@pytest.mark.parametrize(("effect", "deviation", "n"), [(0.5, 0.4, 7), (1.0, 0.4, 4), (0.4, 0.4, 3)])
def test_the_power_by_an_integral_is_that_of_many_studies(effect, deviation, n):
    assert _power(effect, deviation, n) == pytest.approx(_share_shown(effect, deviation, n), abs=0.015)


def test_without_an_effect_5_of_100_studies_show_one():
    assert _power(0.0, 0.4, 5) == pytest.approx(0.05, abs=0.001)


def every_picture():
    """All pictures of two tokens: (n, 3, 32, 32)."""
    places = [(p, q) for p in range(16) for q in range(16) if p != q]
    colours = [(a, b) for a in (0, 1) for b in (0, 1)]
    asked = torch.tensor([(*pair, *colour) for pair in places for colour in colours])
    pictures = tokens_at(asked[:, :2] // 4, asked[:, :2] % 4, asked[:, 2:])
    return pictures[:, :, ::8, ::8].unique(dim=0).repeat_interleave(8, 2).repeat_interleave(8, 3)


@torch.no_grad()
def test_the_ring_is_what_a_model_without_the_mask_sees():
    """Equal logits within a ring; with the mask every picture of it has logits of its own."""
    pictures = every_picture()
    ring = ring_of(pictures)
    config = SwinConfig(patch_size=8, embed_dim=16, depths=(2,), num_heads=(2,), window_size=2, num_classes=2)
    torch.manual_seed(0)
    model = SwinTransformer(config).double().eval()
    for p in model.parameters():
        p.copy_(torch.randn_like(p) * (0.6 if p.ndim > 1 else 0.3))
    with_mask = model(pictures.double())
    without = ablate(model, "mask")(pictures.double())
    for kind in ring.unique():
        of_one = ring == kind
        assert (without[of_one] - without[of_one][0]).abs().max() < 1e-9
        assert torch.pdist(with_mask[of_one]).min() > 1e-6 if of_one.sum() > 1 else True
    assert len(pictures) == 480 and len(ring.unique()) >= 120


def test_the_best_answer_for_each_ring_is_counted():
    torch.manual_seed(0)
    pictures = every_picture()
    ring = ring_of(pictures)
    assert best_without_mask(pictures, ring % 2)[0] == 1  # the ring itself is asked for
    inside = torch.zeros(480, dtype=torch.long)  # one half of each ring
    for kind in ring.unique():
        members = (ring == kind).nonzero().flatten()
        inside[members[: len(members) // 2]] = 1
    assert best_without_mask(pictures, inside)[0] <= 0.5 + 1e-9


def test_tokens_are_painted_where_they_are_asked_for():
    picture = tokens_at(torch.tensor([[0, 2]]), torch.tensor([[1, 3]]), torch.tensor([[0, 1]]))
    assert picture.shape == (1, 3, 32, 32)
    coloured = (picture != 0).any(dim=1)[0]
    assert coloured[:8, 8:16].all() and coloured[16:24, 24:].all() and coloured.sum() == 128
    assert picture[0, 2, 4, 12] > picture[0, 0, 4, 12]  # blue
    assert picture[0, 0, 20, 28] > picture[0, 2, 20, 28]  # orange


# --- the figures ---------------------------------------------------------------------------


def test_no_bar_of_the_reliability_figure_covers_another():
    bins = [(0.199, 0.2, 5), (0.201, 0.3, 9), (0.95, 0.9, 7)]
    lower = figures.plot_reliability({"a model": bins}).axes[1]
    edges = sorted((bar.get_x(), bar.get_x() + bar.get_width()) for bar in lower.patches)
    assert all(end <= start for (_, end), (start, _) in zip(edges, edges[1:]))
    assert [round(sum(edge) / 2, 6) for edge in edges] == [0.15, 0.25, 0.95]


def neighbours():
    return (tokens_at(torch.tensor([[1, 1]]), torch.tensor([[1, 2]]), torch.tensor([[0, 1]]))[0] + 1) / 2


def test_a_temperature_step_marks_its_loss():
    left, right = figures.plot_temperature_step([(0.5, 0.6, 9)], 2.0, [1.0, 2.0, 3.0], [0.3, 0.2, 0.4]).axes
    assert [values.tolist() for values in right.lines[1].get_data()] == [[2.0], [0.2]]
    assert left.get_title() == "validation, T = 2.00" and left.lines[1].get_ydata().tolist() == [0.6]


def test_on_the_ring_tokens_move_and_windows_stay():
    def dots_and_arcs(moved):
        ring = figures.plot_ring_step(neighbours(), 1, moved).axes[2]
        dots = {line.get_color()[:3]: line.get_xydata().round(3).tolist() for line in ring.lines[4:]}
        return dots, [line.get_xydata().tolist() for line in ring.lines[:4]]

    (start, arcs), (end, later) = dots_and_arcs(0), dots_and_arcs(2)
    blue, orange = (tuple(neighbours()[:, 12, x].tolist()) for x in (12, 20))
    for colour in (blue, orange):  # half a ring further: opposite
        assert [-x for x in start[colour][0]] == pytest.approx(end[colour][0], abs=1e-3)
    assert arcs == later


def test_in_the_mirror_every_window_holds_what_it_held():
    def bags(turned):
        axes = figures.plot_mirror_step(neighbours(), turned).axes[2:]
        return [sorted((box.get_y(), box.get_facecolor()) for box in ax.patches) for ax in axes]

    assert bags(0) == bags(1) and [len(bag) for bag in bags(0)] == [16, 16]
