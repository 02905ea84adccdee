"""What a model asks of a piece beyond the right result: gradients, fresh draws, the device of its input."""

import contextlib
import copy
import dataclasses
import io

import torch
from torch import nn

from course import package_pieces
from course.pieces import PIECES
from swin_cifar.layers import DropPath

SEED = 20  # that nobody else sets
CALLS = 4  # of what draws at random


def tensors(inputs):
    """The tensors among the inputs, and among the members of lists and tuples and the weights of layers."""
    if isinstance(inputs, nn.Module):
        inputs = list(inputs.state_dict().values())
    if isinstance(inputs, (list, tuple)):
        return [tensor for member in inputs for tensor in tensors(member)]
    return [inputs] if isinstance(inputs, torch.Tensor) else []


def settings(inputs):
    """-> [(name, value)]: numbers, texts and truth values that layers and recipes among the inputs hold."""
    found = []
    for member in inputs:
        holders = member.modules() if isinstance(member, nn.Module) else [member]
        if isinstance(member, nn.Module) or dataclasses.is_dataclass(member):
            found += [item for holder in holders for item in vars(holder).items()]
    return [(name, value) for name, value in found if isinstance(value, (bool, int, float, str))]


def changed(before, after):
    """-> the name of the first setting that is no longer what it was, or ""."""
    return next((new[0] for old, new in zip(before, after) if new != old), "")


def problem(name, function, inputs, first):
    """Run a piece as a model does -> in words, what is wrong with it, or "". Raises what the function raises.

    The package's form says what is right. Inputs without tensors or layers have no gradient and no device.
    Layers of layers are slow on "meta", so only the first of an exercise's inputs gets there.
    """
    form, inputs = getattr(package_pieces, name), copy.deepcopy(inputs)
    if not _leaves(name, inputs):
        return ""
    with contextlib.redirect_stdout(io.StringIO()), torch.enable_grad():  # what it prints has been seen
        found = _trains(name, function, form, inputs)
        layered = any(isinstance(member, nn.Module) and [*member.children()] for member in inputs)
        return found or (_on_a_device(function, form, inputs) if first or not layered else "")


def _leaves(name, inputs):
    """-> {name: a tensor that takes a gradient}: among the inputs, and the weights of layers there."""
    leaves = {}
    for part, member in zip(PIECES[name][1].split(", "), inputs):
        if isinstance(member, nn.Module):
            leaves |= {f"{part}.{inner}": weight for inner, weight in member.named_parameters()}
        elif isinstance(member, torch.Tensor) and member.is_floating_point():
            leaves[part] = member
    return leaves


def _trains(name, function, form, inputs):
    for module in (m for member in inputs if isinstance(member, nn.Module) for m in member.modules()):
        module.training = True
        if isinstance(module, DropPath):
            module.drop_prob = 0.0
    for leaf in _leaves(name, inputs).values():
        leaf.requires_grad_()
    before = settings(inputs)
    found, gradients = _run(name, function, inputs)
    if torch.initial_seed() != SEED:
        return (
            "It sets the seed of all random numbers (`manual_seed`): whatever is drawn after it is the same "
            "in every step. Draw without a seed."
        )
    if setting := changed(before, settings(inputs)):
        return f"It changes `{setting}` of what it is given: leave its input as it is."
    expected, wanted = _run(name, form, inputs)
    alike = all(map(_alike, found, expected))
    return _cut_off(gradients, wanted, alike) or ("" if alike else _draws(function, form, inputs))


def _run(name, function, inputs):
    """-> the floating-point tensors of the result, and {name: gradient} of a weighted sum of them."""
    leaves = _leaves(name, inputs)
    torch.manual_seed(SEED)
    found = [tensor for tensor in tensors(function(*inputs)) if tensor.is_floating_point()]
    chance = torch.Generator().manual_seed(0)
    total = sum((tensor * torch.randn(tensor.shape, generator=chance)).sum() for tensor in found)
    gradients = [None] * len(leaves)
    if total.requires_grad:
        gradients = torch.autograd.grad(total, leaves.values(), allow_unused=True)
    zeros = map(torch.zeros_like, leaves.values())
    return found, {n: zero if g is None else g for n, zero, g in zip(leaves, zeros, gradients)}


def _alike(found, expected, part=1e-3):
    """Equal but for a small part of the largest number?"""
    return bool((found - expected).abs().max() <= part * expected.abs().max())


def _cut_off(gradients, wanted, alike):
    """`alike`: the results are, so the gradients must be; what is drawn has one or none."""
    largest = max(gradient.abs().max() for gradient in wanted.values())
    needed = [name for name, gradient in wanted.items() if gradient.abs().max() > 1e-5 * largest]
    missing = [name for name in needed if not gradients[name].any()]
    by = "`detach`, `.data`, `numpy` or `no_grad` cuts it off."
    if needed and missing == needed:
        return f"No gradient comes through: {by}"
    if missing:
        return f"No gradient reaches `{missing[0]}`: {by}"
    wrong = [name for name in needed if alike and not _alike(gradients[name], wanted[name])]
    if wrong:
        return f"A part of the gradient of `{wrong[0]}` is missing: does `detach` or `no_grad` cut it off?"
    return ""


def _draws(function, form, inputs):
    """What draws at random: anew in every call, and each sample for itself?"""
    torch.manual_seed(SEED)
    calls, expected = ([f(*inputs) for _ in range(CALLS)] for f in (function, form))
    if all(call.equal(calls[0]) for call in calls):
        return "Every call draws the same: its random numbers start anew each time. Draw without a seed."
    zeros, wanted = ({int((call == 0).sum()) for call in each} for each in (calls, expected))
    if len(zeros) == 1 < len(wanted):
        return (
            "Every call drops the same number of samples. Each sample is drawn for itself: now more of them "
            "are dropped, now fewer."
        )
    return ""


def _on_a_device(function, form, inputs):
    """On "meta", the device without numbers, what makes tensors on the CPU stops or gives some of them."""
    moved = [m.to("meta") if isinstance(m, (torch.Tensor, nn.Module)) else m for m in inputs]
    try:
        if not any(tensor.device.type == "cpu" for tensor in tensors(function(*moved))):
            return ""
    except Exception as error:  # others come from steps that need numbers
        if not any(words in str(error) for words in ("expected device", "same device", "copy out of meta")):
            return ""
    with contextlib.suppress(Exception):  # then nobody can be asked for it
        form(*moved)
        return "It works on the CPU only: make new tensors on the device of its input."
    return ""
