"""Checks of notebook 09: a schedule in three parts, clipping by hand, a batch in several parts."""

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from course import figures
from course.check.core import Exercise
from course.check.watch import calls

# --- trapezoid ---------------------------------------------------------------------------


def _trapezoid(step, total, warmup, cooldown, peak):
    """Walk through the steps: add a part of the peak while warming up, take one away while cooling down."""
    rate = 0.0
    for i in range(step + 1):
        if i <= warmup:
            rate = peak * (i + 1) / (warmup + 1)
        elif i >= total - cooldown:
            rate -= peak / (cooldown + 1)
    return rate


def _slopes(up=lambda i, n: (i + 1) / (n + 1), down=lambda left, n: left / (n + 1)):
    """up(step, warmup) and down(steps that are left, this one counted, cooldown), shares of the peak."""

    def function(step, total, warmup, cooldown, peak):
        rate = peak
        if step < warmup:
            rate = peak * up(step, warmup)
        elif step >= total - cooldown:
            rate = peak * down(total - step, cooldown)
        return float(rate)

    return function


def _falls_from_the_start(step, total, warmup, cooldown, peak):
    return min(peak * (step + 1) / (warmup + 1), peak * (total - step) / (total - warmup))


def _cools_too_early(step, total, warmup, cooldown, peak):
    """The cool-down begins `cooldown` steps after the warm-up and then stays."""
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    return float(peak * max(1, cooldown + warmup - step) / (cooldown + 1))


def _call_with_steps(function, total, *settings):
    return [function(step, total, *settings) for step in range(total)]


def _draw_trapezoid(function):
    rates = _call_with_steps(function, 60, 8, 20, 0.002)
    figure = figures.plot_curves({"yours": (list(range(60)), rates)}, "step", "learning rate")
    return figure, "A trapezoid: the learning rate rises for 8 steps, stays at 0.002, and falls for 20 steps."


trapezoid = Exercise(
    "trapezoid",
    answer=_trapezoid,
    cases=lambda: {
        "20 steps, warm-up 4, cool-down 6": (20, 4, 6, 0.01),
        "no warm-up": (10, 0, 4, 0.01),
        "no cool-down": (10, 3, 0, 0.01),
        "no flat part": (12, 5, 6, 0.01),
    },
    call=_call_with_steps,
    mistakes={
        "The first step has the rate 0: it changes nothing. Step i of n has (i + 1)/(n + 1) of the peak.": (
            _slopes(up=lambda i, n: i / n)
        ),
        "The last step of the warm-up has reached the peak already. Step i of n has (i + 1)/(n + 1) of it.": (
            _slopes(up=lambda i, n: (i + 1) / n)
        ),
        "The last step has the rate 0: it changes nothing. The way down is the way up, backwards.": (
            _slopes(down=lambda left, n: (left - 1) / n)
        ),
        "The cool-down begins with the peak, one step too late. The way down is the way up, backwards.": (
            _slopes(down=lambda left, n: left / n)
        ),
        "The cool-down rises: it should fall.": _slopes(down=lambda left, n: (n + 1 - left) / (n + 1)),
        "The rate falls along a cosine. Asked for are straight lines.": (
            _slopes(down=lambda left, n: (1 + math.cos(math.pi * (1 - left / (n + 1)))) / 2)
        ),
        "The rate never falls: the cool-down is missing.": _slopes(down=lambda left, n: 1),
        "There is no warm-up: the first steps have the full rate.": _slopes(up=lambda i, n: 1),
        "The rate falls from the end of the warm-up on. Between both parts it stays at the peak.": (
            _falls_from_the_start
        ),
        "The cool-down follows the warm-up at once. It takes the last steps of the run.": _cools_too_early,
    },
    picture=_draw_trapezoid,
    tolerance=1e-9,
)

# --- clip_by_hand ------------------------------------------------------------------------


def _clip_as_vector(gradients, max_norm):
    vector = torch.cat([g.flatten() for g in gradients]).double()
    length = vector.dot(vector) ** 0.5
    vector = (vector if length <= max_norm else vector / length * max_norm).float()
    return [part.view(g.shape) for part, g in zip(vector.split([g.numel() for g in gradients]), gradients)]


def _scaled(gradients, factor):
    return [g * factor for g in gradients]


def _length(gradients):
    return torch.stack([g.square().sum() for g in gradients]).sum().sqrt()


def _each_alone(gradients, max_norm):
    return [g * min(1, max_norm / g.norm().item()) if g.any() else g for g in gradients]


def _shorten(measure):
    return lambda gradients, max_norm: _scaled(
        gradients, min(1, max_norm / max(measure(gradients).item(), 1e-12))
    )


def _always_that_long(gradients, max_norm):
    return _scaled(gradients, max_norm / _length(gradients))


def _gradients(size):
    return [size * torch.randn(3, 4), size * torch.randn(5), 3 * size * torch.randn(2, 1, 2)]


def _draw_clip(function):
    before = [step / 10 for step in range(1, 41)]
    direction = torch.tensor([0.6, 0.8])
    after = [function([length * direction], 1.0)[0].norm().item() for length in before]
    figure = figures.plot_curves({"yours": (before, after)}, "length before", "length after")
    return figure, "Length of a gradient after clipping over its length before: equal up to 1, then constant."


clip_by_hand = Exercise(
    "clip_by_hand",
    answer=_clip_as_vector,
    cases=lambda: {
        "a long gradient": (_gradients(2.0), 1.0),
        "a short gradient": (_gradients(0.01), 1.0),
        "another limit": (_gradients(2.0), 0.3),
        "longer than 1, but not than the limit": (_gradients(0.3), 50.0),
        "a gradient of zeros": (_gradients(0.0), 1.0),
    },
    mistakes={
        "Every tensor is clipped by itself, which changes the direction. All of them "
        "together are one vector, with one length.": _each_alone,
        "A short gradient is made longer. Only one that is longer than the limit changes.": _always_that_long,
        "Every single number is cut at the limit, which changes the direction. Multiply all by one factor.": (
            lambda gradients, max_norm: [g.clamp(-max_norm, max_norm) for g in gradients]
        ),
        "You divide by the sum of squares. The length is its root.": _shorten(lambda g: _length(g) ** 2),
        "You add up the lengths of the tensors. The length of the whole is the root of "
        "the sum of all squares.": (
            _shorten(lambda gradients: torch.stack([g.norm() for g in gradients]).sum())
        ),
        "You divide by the longest tensor's length. All numbers of all tensors count.": (
            _shorten(lambda gradients: torch.stack([g.norm() for g in gradients]).max())
        ),
        "A long gradient is shortened to length 1, whatever the limit.": (
            lambda gradients, max_norm: (
                _scaled(gradients, 1 / _length(gradients)) if _length(gradients) > max_norm else gradients
            )
        ),
        "Nothing is clipped.": lambda gradients, max_norm: gradients,
    },
    forbidden={
        "PyTorch's own function clips. Asked for is its work: one length, one factor.": calls(
            nn.utils.clip_grad_norm_
        )
    },
    picture=_draw_clip,
)

# --- accumulate --------------------------------------------------------------------------


def _whole_batch(model, images, targets, parts):
    """The gradient by the formula, picture by picture, into p.grad."""
    sums = [torch.zeros_like(p) for p in model.parameters()]
    for i in range(len(images)):
        loss = F.cross_entropy(model(images[i : i + 1]), targets[i : i + 1])
        for total, g in zip(sums, torch.autograd.grad(loss, list(model.parameters()))):
            total += g / len(images)
    for p, total in zip(model.parameters(), sums):
        p.grad = total


def _accumulate(model, images, targets, parts, share=lambda n, B, parts: n / B, clear="first"):
    """With a mistake, if asked for."""
    if clear != "never":
        model.zero_grad()
    for x, y in zip(images.tensor_split(parts), targets.tensor_split(parts)):
        if clear == "every time":
            model.zero_grad()
        loss = F.cross_entropy(model(x), y) * share(len(x), len(images), parts)
        loss.backward()


def _all_at_once(model, images, targets, parts):
    model.zero_grad()
    F.cross_entropy(model(images), targets).backward()


def _first_part_only(model, images, targets, parts):
    _all_at_once(model, images.tensor_split(parts)[0], targets.tensor_split(parts)[0], 1)


def _ragged_end_dropped(model, images, targets, parts):
    size = len(images) // parts
    _accumulate(model, images[: size * parts], targets[: size * parts], parts)


def _call_with_model(function, images, targets, parts):
    """-> the most pictures that the model saw at once (those of a part at least), and the gradients."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4))
    seen = [math.ceil(len(images) / parts)]
    with torch.enable_grad():
        model(torch.ones(2, 6)).sum().backward()  # a gradient that is there already
        model.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
        function(model, images, targets, parts)
    gradients = {f"the gradient of {name}": p.grad for name, p in model.named_parameters()}
    return {"most pictures at once": max(seen)} | gradients


def _batch(B):
    return torch.randn(B, 6), torch.randint(4, (B,))


def _draw_accumulate(function):
    torch.manual_seed(1)
    images, targets = _batch(10)
    pairs = {}
    for parts in (2, 3):
        whole, found = (_call_with_model(f, images, targets, parts) for f in (_whole_batch, function))
        gradients = [torch.cat([g.flatten() for g in list(run.values())[1:]]) for run in (whole, found)]
        pairs[f"10 pictures in {parts} parts"] = gradients
    figure = figures.plot_agreement(pairs, "gradient of the whole batch", "yours minus that")
    for ax in figure.axes:
        ax.set_ylim(-0.1, 0.1)
    return figure, "Gradients in parts minus those of the whole batch: all differences are 0."


accumulate = Exercise(
    "accumulate",
    answer=_whole_batch,
    cases=lambda: {
        "one part": (*_batch(6), 1),
        "4 equal parts": (*_batch(8), 4),
        "10 pictures in 3 parts": (*_batch(10), 3),
        "11 pictures in 4 parts": (*_batch(11), 4),
    },
    call=_call_with_model,
    mistakes={
        "The gradient is as many times too large as there are parts: a sum of means is no mean.": (
            partial(_accumulate, share=lambda n, B, parts: 1)
        ),
        "Every part counts alike, whatever its size. The pictures should count alike.": (
            partial(_accumulate, share=lambda n, B, parts: 1 / parts)
        ),
        "Only the last part counts: the gradients of the others are removed.": partial(
            _accumulate, clear="every time"
        ),
        "An older gradient is still in the sum. Remove it before you begin.": partial(
            _accumulate, clear="never"
        ),
        "The gradient is right, but the model has worked on the whole batch at once.": _all_at_once,
        "Only the first part counts.": _first_part_only,
        "The pictures that do not fill a part are dropped.": _ragged_end_dropped,
        "Each loss counts as often as its part has pictures. The gradient of a mean "
        "over the batch is wanted.": (partial(_accumulate, share=lambda n, B, parts: n)),
    },
    picture=_draw_accumulate,
)
