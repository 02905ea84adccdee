"""What goes between the judge and a student's process: from there to here, data and nothing else."""

import builtins
import io
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

LARGEST = 2**28  # bytes of one message


@dataclass(frozen=True)
class Handle:
    """In place of a function among the inputs: the student's process asks the judge to call it."""

    number: int


def pack(message):
    """A dictionary of plain data -> bytes."""
    buffer = io.BytesIO()
    torch.save(message, buffer)
    return buffer.getvalue()


def unpack(data):
    """bytes from a student's process -> data. Runs nothing. Raises whatever the bytes are wrong in."""
    return torch.load(io.BytesIO(data), weights_only=True)


def unpack_trusted(data):
    """bytes from the judge -> objects, layers among them."""
    return torch.load(io.BytesIO(data), weights_only=False)


def plain(value, depth=0):
    """A result as data: tensors without their history, numbers, texts, lists, tuples, dictionaries.

    What is none of these becomes a text that equals no right result.
    """
    if isinstance(value, torch.Tensor):
        return value.detach().as_subclass(torch.Tensor).clone()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return torch.from_numpy(value.copy())
    if value is None or type(value) in (bool, int, float, str):
        return value
    if depth < 9:
        if isinstance(value, (list, tuple)):
            members = [plain(member, depth + 1) for member in value]
            return members if isinstance(value, list) else tuple(members)
        if isinstance(value, dict):
            return {plain(k, depth + 1): plain(v, depth + 1) for k, v in value.items()}
    return f"<an object of type {type(value).__name__}>"


def with_handles(value, functions):
    """Functions in lists, tuples and dictionaries become handles; `functions` takes them up. Layers stay."""
    if isinstance(value, (list, tuple)):
        return type(value)(with_handles(member, functions) for member in value)
    if isinstance(value, dict):
        return {key: with_handles(member, functions) for key, member in value.items()}
    if callable(value) and not isinstance(value, (nn.Module, type)):
        functions.append(value)
        return Handle(len(functions) - 1)
    return value


def with_functions(value, made):
    """The other way: `made(number)` gives the function that stands for a handle."""
    if isinstance(value, (list, tuple)):
        return type(value)(with_functions(member, made) for member in value)
    if isinstance(value, dict):
        return {key: with_functions(member, made) for key, member in value.items()}
    return made(value.number) if isinstance(value, Handle) else value


def tensors(value):
    """-> all tensors among inputs, weights and buffers of layers too, in an order both sides agree on."""
    if isinstance(value, nn.Module):
        value = list(value.state_dict(keep_vars=True).values())
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [tensor for member in value for tensor in tensors(member)]
    return [value] if isinstance(value, torch.Tensor) else []


def gradients(value):
    """-> [gradient or None] of these tensors."""
    return [plain(tensor.grad) if tensor.is_leaf else None for tensor in tensors(value)]


def state(value):
    """-> [(numbers, gradient or None)] of these tensors: what a function may have changed."""
    return list(zip(map(plain, tensors(value)), gradients(value)))


def bring_up_to_date(value, states):
    """The tensors here get the numbers and gradients of those over there. Raises where they do not fit."""
    own = tensors(value)
    for tensor, (numbers, gradient) in zip(own, states, strict=True):
        if not torch.equal(tensor, numbers):
            tensor.data = numbers
        if tensor.is_leaf and gradient is not None:
            tensor.grad = gradient


def error_of(name, text):
    """-> an error of Python with this name; RuntimeError where there is none."""
    kind = getattr(builtins, name, None)
    kind = kind if isinstance(kind, type) and issubclass(kind, Exception) else RuntimeError
    return kind(text)
