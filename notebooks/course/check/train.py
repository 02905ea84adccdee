"""Checks of notebook 09: the learning rate, the step; another schedule, clipping, a batch in parts."""

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from course import figures
from course.check.core import Exercise, Wrong, as_tensor
from course.check.watch import calls, loops
from swin_cifar.config import TrainConfig
from swin_cifar.data import load_shapes10
from swin_cifar.training import learning_rate as package_learning_rate
from swin_cifar.training import training_step as package_training_step

# --- learning_rate -----------------------------------------------------------------------


def _rate(step, total_steps, recipe):
    """Both parts of the whole run as lists."""
    high, low = recipe.learning_rate, recipe.min_learning_rate
    warmup = math.floor(total_steps * min(0.5, recipe.warmup_epochs / recipe.epochs))
    up = [high * part / (warmup + 1) for part in range(1, warmup + 1)]
    last = total_steps - warmup - 1
    angles = [math.pi * i / last if last else 0.0 for i in range(last + 1)]
    return (up + [low + (high - low) * math.cos(angle / 2) ** 2 for angle in angles])[step]


def _scheduled(
    warmup=lambda recipe, total: int(min(recipe.warmup_epochs / recipe.epochs, 0.5) * total),
    up=lambda i, n, low, high: high * (i + 1) / (n + 1),
    way=lambda step, n, total: (step - n) / max(1, total - 1 - n),
    down=lambda share: (1 + math.cos(math.pi * share)) / 2,
    between=lambda share, low, high: low + (high - low) * share,
):
    """The schedule with a mistake in one of its parts, if asked for."""

    def function(step, total_steps, recipe):
        low, high, n = recipe.min_learning_rate, recipe.learning_rate, warmup(recipe, total_steps)
        if step < n:
            return float(up(step, n, low, high))
        return float(between(down(way(step, n, total_steps)), low, high))

    return function


def _half(wave, end):
    """The wave from angle 0 to this one, between 1 and 0."""
    return lambda share: (1 + wave(end * share)) / 2


def _halves_up(number):
    return math.floor(number + 0.5)


def _makes_a_list(watch, total, recipe):
    """Are there more repetitions, or more numbers in a tensor, than calls with one step each need?"""
    sizes = [count for counts in watch.operators.values() for count in counts]
    return loops(watch) and (watch.repeats() > 4 * total or max(sizes, default=0) > total / 2)


def _rates(function, total, recipe):
    return [function(step, total, recipe) for step in range(total)]


def _rate_of_each_step(function, total, recipe):
    return {f"step {step}": rate for step, rate in enumerate(_rates(function, total, recipe))}


def _draw_rates(function):
    recipe = TrainConfig(epochs=12, warmup_epochs=2.0)
    lines = {"yours": (list(range(60)), _rates(function, 60, recipe))}
    levels = {"highest": recipe.learning_rate}
    figure = figures.plot_curves(lines, "step", "learning rate", levels=levels)
    return figure, "The learning rate of 60 steps: it rises for 10 to 0.002, then falls along half a cosine."


learning_rate = Exercise(
    "learning_rate",
    answer=_rate,
    cases=lambda: {
        "60 steps in 12 epochs, 2 of warm-up": (60, TrainConfig(epochs=12, warmup_epochs=2.0)),
        "warm-up of half an epoch": (38, TrainConfig(epochs=3, warmup_epochs=0.5, min_learning_rate=1e-4)),
        "a warm-up of 5.6 steps": (45, TrainConfig(epochs=4, warmup_epochs=0.5)),
        "no warm-up": (20, TrainConfig(epochs=2, warmup_epochs=0.0)),
        "a warm-up as long as the run": (21, TrainConfig(epochs=1, warmup_epochs=1.0, learning_rate=0.01)),
        "a run of one step": (1, TrainConfig(epochs=1)),
    },
    call=_rate_of_each_step,
    mistakes={
        "There is no warm-up: the cosine begins at the first step.": _scheduled(
            warmup=lambda recipe, total: 0
        ),
        "You take warmup_epochs for a number of steps. It is one of epochs: which share of all epochs, so "
        "of all steps?": _scheduled(warmup=lambda recipe, total: int(recipe.warmup_epochs)),
        "The warm-up may be longer than half of the run. It takes at most half of the steps.": _scheduled(
            warmup=lambda recipe, total: int(recipe.warmup_epochs / recipe.epochs * total)
        ),
        "The number of warm-up steps is rounded up. Cut off what follows the point: `int`.": _scheduled(
            warmup=lambda recipe, total: math.ceil(min(recipe.warmup_epochs / recipe.epochs, 0.5) * total)
        ),
        "The number of warm-up steps is rounded instead of cut off: of 5.6 steps 5 are left.": (
            _scheduled(
                warmup=lambda recipe, total: round(min(recipe.warmup_epochs / recipe.epochs, 0.5) * total)
            )
        ),
        "The number of warm-up steps is rounded instead of cut off: of 5.6 steps 5 are left, not 6.": (
            _scheduled(
                warmup=lambda recipe, total: _halves_up(
                    min(recipe.warmup_epochs / recipe.epochs, 0.5) * total
                )
            )
        ),
        "The first step has the rate 0: nothing changes. Step i of n has (i + 1)/(n + 1) of the highest.": (
            _scheduled(up=lambda i, n, low, high: high * i / n)
        ),
        "The last step of the warm-up has the highest rate already. The first step after it is to have it.": (
            _scheduled(up=lambda i, n, low, high: high * (i + 1) / n)
        ),
        "The warm-up starts at the lowest rate. It starts from 0: step i of n has (i + 1)/(n + 1) of the "
        "highest.": _scheduled(up=lambda i, n, low, high: low + (high - low) * (i + 1) / (n + 1)),
        "The cosine counts from the start of the run, so the rate jumps down after the warm-up. It begins "
        "where the warm-up ends.": _scheduled(way=lambda step, n, total: step / max(1, total - 1)),
        "The last step has not reached the lowest rate. From the first step of the cosine to the last, how "
        "many steps lie between?": _scheduled(way=lambda step, n, total: (step - n) / (total - n)),
        "The rate falls to 0. It should end at min_learning_rate.": _scheduled(
            between=lambda share, low, high: high * share
        ),
        "The cosine begins above the highest rate: the lowest is added to all of it. What is left between "
        "the lowest and the highest?": _scheduled(between=lambda share, low, high: low + high * share),
        "The rate falls along a straight line. Asked for is half a cosine.": _scheduled(
            down=lambda share: 1 - share
        ),
        "The rate rises again: that is a whole cosine, down and up. Half of one is asked for.": _scheduled(
            down=lambda share: (1 + math.cos(2 * math.pi * share)) / 2
        ),
        "The rate falls too fast: that is a quarter of a cosine. Half of one goes from 1 to -1.": _scheduled(
            down=lambda share: math.cos(math.pi * share / 2)
        ),
        "The angle of the cosine runs to 1. Half a cosine ends at the angle π.": _scheduled(
            down=_half(math.cos, 1)
        ),
        "The angle of the cosine runs to 180. `math.cos` takes radians: half a cosine ends at the angle π.": (
            _scheduled(down=_half(math.cos, 180))
        ),
        "1 + cos runs from 2 to 0, so the cosine begins at twice the height. Where is the half?": _scheduled(
            down=lambda share: 1 + math.cos(math.pi * share)
        ),
        "You take a sine. It begins in the middle, where a cosine begins at its highest point.": _scheduled(
            down=lambda share: (1 - math.sin(math.pi * share)) / 2
        ),
        "You take a sine, which rises first. A cosine begins at its highest point.": _scheduled(
            down=lambda share: (1 + math.sin(math.pi * share)) / 2
        ),
        "After the warm-up the rate stays the highest: the cosine is missing.": _scheduled(
            down=lambda share: 1
        ),
    },
    forbidden={
        "It is made by the package's `learning_rate`: write it yourself.": calls(package_learning_rate),
        "You make the rates of many steps, to return one of them. Asked for is one step, without a list.": (
            _makes_a_list
        ),
    },
    picture=_draw_rates,
    tolerance=1e-9,
    piece=True,
)

# --- training_step -----------------------------------------------------------------------


def _step_by_formula(forward, optimizer, images, targets, lr, recipe):
    """The loss by its formula, the gradient by `torch.autograd.grad`, clipped as one vector."""
    logits = forward(images)
    smooth = recipe.label_smoothing
    wanted = (1 - smooth) * targets + smooth / targets.shape[1]
    loss = -(wanted * logits.float().log_softmax(1)).sum(1).mean()
    weights = [p for group in optimizer.param_groups for p in group["params"]]
    gradients = torch.autograd.grad(loss, weights)
    length = sum(g.square().sum() for g in gradients).sqrt().item()
    factor = min(1.0, recipe.max_grad_norm / length) if recipe.max_grad_norm else 1.0
    for p, g in zip(weights, gradients):
        p.grad = g * factor
    for group in optimizer.param_groups:
        group["lr"] = group["lr_scale"] * lr
    optimizer.step()
    right = [row.argmax() == target.argmax() for row, target in zip(logits, targets)]
    return torch.stack([loss.detach(), torch.stack(right).sum().float()])


def _clip_whole(parameters, limit):
    if limit:
        nn.utils.clip_grad_norm_(parameters, limit)


def _clip_each(parameters, limit):
    for p in parameters:
        _clip_whole([p], limit)


def _clip_numbers(parameters, limit):
    if limit:
        nn.utils.clip_grad_value_(parameters, limit)


def _scale_groups(optimizer, lr):
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"]


def _scale_first_group(optimizer, lr):
    optimizer.param_groups[0]["lr"] = lr * optimizer.param_groups[0]["lr_scale"]


def _scale_all_alike(optimizer, lr):
    for group in optimizer.param_groups:
        group["lr"] = lr


def _scale_what_is_there(optimizer, lr):
    for group in optimizer.param_groups:
        group["lr"] = group["lr"] * lr * group["lr_scale"]


def _cross_entropy(logits, targets, recipe):
    return F.cross_entropy(logits.float(), targets, label_smoothing=recipe.label_smoothing)


def _clip_to_one(parameters, limit):
    nn.utils.clip_grad_norm_(parameters, 1.0)


def _lengthen(parameters, limit):
    """Every gradient gets the length of the limit, a short one as well."""
    length = nn.utils.get_total_norm([p.grad for p in parameters])
    for p in parameters:
        p.grad *= limit / length if limit else 1


def _count_right(logits, targets):
    return (logits.argmax(1) == targets.argmax(1)).sum().float()


def _stepping(
    loss_of=_cross_entropy,
    before=lambda optimizer: optimizer.zero_grad(),
    clip=_clip_whole,
    set_rate=_scale_groups,
    late=False,
    move=lambda optimizer: optimizer.step(),
    count=_count_right,
    again=False,
    returned=lambda loss, right: [loss, right],
):
    """The step with a mistake in one of its parts, if asked for."""

    def function(forward, optimizer, images, targets, lr, recipe):
        logits = forward(images)
        loss = loss_of(logits, targets, recipe)
        before(optimizer)
        loss.backward()
        clip([p for group in optimizer.param_groups for p in group["params"]], recipe.max_grad_norm)
        if not late:
            set_rate(optimizer, lr)
        move(optimizer)
        if late:
            set_rate(optimizer, lr)
        if again:
            logits = forward(images)
            loss = loss_of(logits, targets, recipe) if again == "both" else loss
        return torch.stack(returned(loss.detach(), count(logits, targets)))

    return function


class _Forward:
    """A small model with a weight and a bias in two parameter groups; in bf16, if asked for."""

    def __init__(self, dtype):
        weight = nn.Parameter(0.5 * torch.randn(4, 6))
        self.layer, self.dtype = {"the weight": weight, "the bias": nn.Parameter(torch.zeros(4))}, dtype

    def __call__(self, images):
        return F.linear(images, *self.layer.values()).to(self.dtype)


def _take_steps(function, batches, lr, recipe, dtype):
    """-> what each of the steps returned, and the weights after them."""
    torch.manual_seed(0)
    forward, found = _Forward(dtype), {}
    groups = [{"params": [p], "lr_scale": scale} for p, scale in zip(forward.layer.values(), (1.0, 3.0))]
    optimizer = torch.optim.SGD(groups, lr=0.5)
    with torch.enable_grad():
        forward(torch.ones(2, 6)).float().sum().backward()  # a gradient that is there already
        for step, (images, targets) in enumerate(batches, 1):
            result = as_tensor(function(forward, optimizer, images, targets, lr / step, recipe), (2,), "")
            if result.requires_grad:
                raise Wrong("the loss that you return still holds what `backward` needs: `detach` it")
            found[f"step {step}, loss and right answers"] = result
    weights = {name: p.detach().clone() for name, p in forward.layer.items()}
    return found | {f"{name} after {len(batches)} steps": value for name, value in weights.items()}


def _batches(B, size):
    def soft():
        return torch.rand(B, 4).softmax(1) if B % 2 else F.one_hot(torch.randint(4, (B,)), 4).float()

    return [(size * torch.randn(B, 6), soft()) for _ in range(3)]


def _draw_steps(function):
    pictures, _ = load_shapes10(64, 1)
    images = pictures.images.flatten(1).float() / 255 - 0.5
    targets = F.one_hot(pictures.labels, 10).float()
    weight = nn.Parameter(torch.zeros(10, images.shape[1]))
    groups = [{"params": [weight], "lr_scale": 1.0, "weight_decay": 0.0}]
    optimizer, recipe = torch.optim.AdamW(groups), TrainConfig()
    steps = list(range(1, 41))
    with torch.enable_grad():
        results = [function(lambda x: x @ weight.T, optimizer, images, targets, 0.002, recipe) for _ in steps]
    loss, right = zip(*(result.tolist() for result in results))
    lines = {"loss": (steps, loss), "share of right answers": (steps, [count / 64 for count in right])}
    alt = f"40 of your steps with one batch: the loss falls from {loss[0]:.1f} to {loss[-1]:.1f}, and "
    alt += f"{right[-1]:.0f} of 64 answers are right at the end."
    return figures.plot_curves(lines, "step", ""), alt


training_step = Exercise(
    "training_step",
    answer=_step_by_formula,
    cases=lambda: {
        "long gradients": (_batches(6, 9.0), 0.1, TrainConfig(max_grad_norm=1.0), torch.float32),
        "short gradients, mixed targets": (_batches(7, 0.3), 0.5, TrainConfig(), torch.float32),
        "no smoothing": (_batches(5, 3.0), 0.2, TrainConfig(label_smoothing=0.0), torch.float32),
        "no clipping": (_batches(8, 3.0), 0.1, TrainConfig(max_grad_norm=0.0), torch.float32),
        "logits in bf16": (_batches(6, 2.0), 0.3, TrainConfig(max_grad_norm=0.3), torch.bfloat16),
    },
    call=_take_steps,
    mistakes={
        "The weights have not moved. Which call takes the step, and are the gradients still there then?": (
            _stepping(move=lambda optimizer: None)
        ),
        "The gradients of the step before are still in the sum. Remove them before `backward` adds more.": (
            _stepping(before=lambda optimizer: None)
        ),
        "The gradient is not clipped: where it is long, the step is too long.": _stepping(
            clip=lambda parameters, limit: None
        ),
        "max_grad_norm = 0 means no clipping. You shorten the gradient to length 0, and nothing moves.": (
            _stepping(clip=lambda parameters, limit: nn.utils.clip_grad_norm_(parameters, limit))
        ),
        "Every parameter is clipped by itself. All of them together are one vector, with one length.": (
            _stepping(clip=_clip_each)
        ),
        "Every single number of the gradient is cut at the limit. Clip the length of the whole.": (
            _stepping(clip=_clip_numbers)
        ),
        "A gradient is shortened to length 1, whatever the recipe's max_grad_norm.": _stepping(
            clip=lambda parameters, limit: _clip_whole(parameters, min(limit, 1) and 1.0)
        ),
        "A gradient is always shortened to length 1. The recipe says to which length, and 0 means no "
        "clipping.": _stepping(clip=_clip_to_one),
        "Every gradient gets the length max_grad_norm. Only one that is longer is shortened.": _stepping(
            clip=_lengthen
        ),
        "The weights move, but not the way down: `step` is called twice.": _stepping(
            move=lambda optimizer: (optimizer.step(), optimizer.step())
        ),
        "The gradients are set to zero after the step alone. What was there before your first step is still "
        "in its sum.": _stepping(
            before=lambda optimizer: None, move=lambda optimizer: (optimizer.step(), optimizer.zero_grad())
        ),
        "Every step has the recipe's highest learning rate. The rate of this step is `lr`.": _stepping(
            set_rate=lambda optimizer, lr: _scale_groups(optimizer, TrainConfig().learning_rate)
        ),
        "Each group has an `lr_scale`: its learning rate is lr times that.": _stepping(
            set_rate=_scale_all_alike
        ),
        "Only the first parameter group gets the new learning rate.": _stepping(set_rate=_scale_first_group),
        "The learning rate is never set: the optimizer goes on with its own.": _stepping(
            set_rate=lambda optimizer, lr: None
        ),
        "The learning rate is set after the step, so each step uses the one of the step before.": _stepping(
            late=True
        ),
        "The learning rate is multiplied into that of the step before, and shrinks step by step. Set it.": (
            _stepping(set_rate=_scale_what_is_there)
        ),
        "The loss is without label smoothing. How much says the recipe.": _stepping(
            loss_of=lambda logits, targets, recipe: F.cross_entropy(logits.float(), targets)
        ),
        "The label smoothing is 0.1 in every step. How much says the recipe.": _stepping(
            loss_of=lambda logits, targets, recipe: F.cross_entropy(
                logits.float(), targets, label_smoothing=0.1
            )
        ),
        "Softmax stands before `cross_entropy`, which applies it to the logits itself.": _stepping(
            loss_of=lambda logits, targets, recipe: _cross_entropy(logits.float().softmax(1), targets, recipe)
        ),
        "The loss knows only the class with the largest share. Where two pictures are mixed, targets has "
        "shares of several classes: hand it on as it is.": _stepping(
            loss_of=lambda logits, targets, recipe: _cross_entropy(logits, targets.argmax(1), recipe)
        ),
        "The loss is computed with the logits in bf16. Turn them into float32 before, not after.": _stepping(
            loss_of=lambda logits, targets, recipe: F.cross_entropy(
                logits, targets, label_smoothing=recipe.label_smoothing
            ).float()
        ),
        "The loss is the sum over the pictures of the batch. Its mean is asked for.": _stepping(
            loss_of=lambda logits, targets, recipe: len(logits) * _cross_entropy(logits, targets, recipe)
        ),
        "The second number is the share of right answers. Return how many there are.": _stepping(
            count=lambda logits, targets: _count_right(logits, targets) / len(logits)
        ),
        "The weights are right, but loss and right answers are those after the step. Return the ones that "
        "led to it.": _stepping(again="both"),
        "The weights and the loss are right, but the right answers are counted after the step. Count those "
        "of the logits that led to it.": _stepping(again="answers"),
        "The order of the result is wrong: first the loss, then how many answers are right.": _stepping(
            returned=lambda loss, right: [right, loss]
        ),
    },
    forbidden={
        "It is made by the package's `training_step`: write it yourself.": calls(package_training_step)
    },
    picture=_draw_steps,
    piece=True,
)

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
