"""The core of the checks: run a student's function, compare what it gives, and say what is wrong."""

import copy
import inspect
import math
import re
import textwrap
import traceback
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import torch

from course import figures, my_swin
from course.check import in_use
from course.check.watch import Stopped, Watch, code_of, ready_made
from swin_cifar.data import load_shapes10
from swin_cifar.model import SwinTransformerBlock, cached_mask
from swin_cifar.windows import shifted_window_mask


@dataclass(frozen=True)
class Verdict:
    passed: bool | None  # None: not attempted
    text: str
    stopped: bool = False  # the function was not let run to its end

    def _ipython_display_(self):
        """Nothing: a check has printed it, and its cell in a notebook ends with the call."""


@dataclass(frozen=True)
class Symptom:
    """A mistake known by a property of the result: `seen(found, *inputs)` -> bool, True in every case."""

    seen: Callable


class Wrong(Exception):
    """Raised by an exercise's `call`: what is wrong with a result, in words."""


@dataclass(frozen=True)
class Exercise:
    """What one exercise asks for, and how a check finds out what is wrong with an attempt.

    Called with a student's function it prints a verdict, draws what the function does
    if it is right, and returns the verdict. The inputs are made so that mistakes show: maps that
    are not square, more than one picture, numbers that are all different.
    """

    name: str
    answer: Callable  # the right function, in another way than students are asked to write it
    cases: Callable  # () -> {what is special about it: inputs}
    mistakes: dict  # {what to say: a function with this mistake, or a Symptom}; the first that fits is said
    picture: Callable  # function -> figure, its alternative text
    axes: str = ""  # of the result, such as "(B, nW, N, C)"
    call: Callable = lambda function, *inputs: function(*inputs)  # what is compared
    tolerance: float = 1e-5
    forbidden: dict = field(default_factory=dict)  # {what is asked for: seen(watch, *inputs) -> bool}
    piece: bool = False  # of the student's own Swin: kept when right, see course/my_swin.py

    def __call__(self, function):
        verdict = self.verdict(function)
        note = verdict.text
        if self.piece and verdict.passed:
            kept = my_swin.keep(self.name, function, lambda alone: self.verdict(alone).passed)
            note = note if kept.startswith("Kept") else kept
            verdict = Verdict(True, f"{verdict.text}\n{_say(True, kept).text}")
        my_swin.note_verdict(self.name, verdict.passed, note)
        print(verdict.text)
        if verdict.passed:
            with torch.random.fork_rng([]), _fresh_masks(), self._within_reach(function):
                torch.manual_seed(0)
                try:
                    picture = self.picture(Watch(function))
                except Exception as error:  # other inputs than the cases
                    print(
                        _say(None, f"But for the input of a picture, {explain_error(error, function)}").text
                    )
                    return verdict
                figures.show(*picture)
        return verdict

    def verdict(self, function):
        """-> Verdict. Nothing that a student's function does or raises comes out of here."""
        if not callable(function):
            return _say(False, f"Hand over the function itself, without calling it: check.{self.name}(...)")
        with torch.random.fork_rng([]), self._within_reach(function):
            torch.manual_seed(0)
            cases = self.cases()
            answers = {label: self._run(self.answer, inputs) for label, inputs in cases.items()}
            attempts, watch = {}, Watch(function)
            for label, inputs in cases.items():
                watch.begin()
                attempts[label] = self._run(watch, inputs)
                if isinstance(attempts[label].error, Stopped):
                    return _say(False, f"Not right yet. {attempts[label].error} (Tried with: {label}.)", True)
                attempts[label].avoided = self._avoided(watch, inputs)
            if any(_is_skeleton(attempt.error, function) for attempt in attempts.values()):
                return _say(None, f"{self.name} is not written yet. Run this cell again when it is.")
            return self._judge(watch, attempts, answers, cases)

    def answers(self, cases):
        """-> {label: what the answer gives}, for `differs`."""
        return {label: self._run(self.answer, inputs) for label, inputs in cases.items()}

    def differs(self, function, cases, answers):
        """-> in words, for which of these inputs the function gives something else, or "": for a grader.

        The function may stand for one in another process: it is called, and not looked at. Raises Stopped.
        """
        for label, inputs in cases.items():
            attempt = self._run(function, inputs)
            if isinstance(attempt.error, Stopped):
                raise attempt.error
            if attempt.changed:
                return f"The function changes {attempt.changed} ({label})."
            if not attempt.agrees(answers[label], self.tolerance):
                return f"Not for {label}{self._difference(function, attempt, answers[label])}"
        return ""

    def _judge(self, watch, attempts, answers, cases):
        right = [label for label in cases if attempts[label].agrees(answers[label], self.tolerance)]
        changed = [label for label in cases if attempts[label].changed]
        if changed:
            what = f"{attempts[changed[0]].changed} ({changed[0]})"
            return _say(False, f"Not right yet. The function changes {what}: make a new tensor.")
        if len(right) == len(cases):
            avoided = next((attempt.avoided for attempt in attempts.values() if attempt.avoided), "")
            avoided = avoided or self._problem(watch, attempts, cases)
            if avoided:
                return _say(False, f"The result is right, but not yet the way to it. {avoided}")
            return _say(True, f"Right. Tried with: {'; '.join(cases)}.")
        for message, mistake in self.mistakes.items():
            if self._fits(mistake, attempts, answers, cases):
                return _say(False, f"Not right yet. {message}")
        # No single mistake explains all that is wrong: say for which input, and what there.
        wrong = [label for label in cases if label not in right]
        label, message = self._likely(wrong, attempts, cases)
        if message is None:
            message = self._difference(watch.function, attempts[label], answers[label])
        if not right:
            return _say(False, f"Not right yet, for instance for {label}{message}")
        those = f": {'; '.join(right)}" if len(right) < 3 else f" {len(right)} of {len(cases)} inputs"
        return _say(False, f"Right for{those}. Not for {label}{message}")

    def _avoided(self, watch, inputs):
        """-> in words, what the function has used in place of what it is asked to write, or ""."""
        if code_of(self.answer) in watch.functions:
            return f"It is made by the answer inside the check: write {self.name} yourself."
        if self.piece and (library := ready_made(watch)):
            return f"A function of {library} does the work: write it yourself."
        return next((asked for asked, seen in self.forbidden.items() if seen(watch, *inputs)), "")

    def _problem(self, watch, attempts, cases):
        """-> in words, what is wrong with a right function once a model runs through it, or ""."""
        for label, inputs in cases.items():
            setting = attempts[label].setting
            if setting:
                return f"It changes `{setting}` of what it is given ({label}): leave its input as it is."
            if not self.piece:
                continue
            try:
                with _fresh_masks():  # unwatched: it has come to an end with these inputs
                    found = in_use.problem(self.name, watch.function, inputs, label == next(iter(cases)))
            except Exception as error:
                found = f"In training, {explain_error(error, watch.function)}"
            if found:
                return f"{found} (Tried with: {label}.)"
        return ""

    @contextmanager
    def _within_reach(self, function):
        """In here a piece finds the other pieces and `F`, `nn`, ... by name where its notebook has none."""
        known = getattr(inspect.unwrap(function), "__globals__", {})
        lent = my_swin.names_for(self.name, known) if self.piece else {}
        known |= lent
        try:
            yield
        finally:
            for name in lent:
                known.pop(name, None)

    def _likely(self, wrong, attempts, cases):
        """-> the first input for which one mistake explains what is wrong, and its message, else None."""
        for label in wrong:
            for message, mistake in self.mistakes.items():
                if (
                    isinstance(mistake, Symptom) or _count(attempts[label].found) < 8
                ):  # few may agree by chance
                    continue
                if attempts[label].agrees(self._run(mistake, cases[label]), self.tolerance):
                    return label, f". {message}"
        return wrong[0], None

    def _difference(self, function, attempt, answer):
        if isinstance(attempt.error, Wrong):
            return f": {attempt.error}"
        if attempt.error:
            return f": {explain_error(attempt.error, function)}"
        return f": {explain(attempt.found, answer.found, self.axes, self.tolerance)}"

    def _fits(self, mistake, attempts, answers, cases):
        """Does the attempt give what the mistake gives, wherever it gives something, some of it wrong?"""
        if isinstance(mistake, Symptom):
            return all(a.error is None and mistake.seen(a.found, *a.inputs) for a in attempts.values())
        wrong = False
        for label, attempt in attempts.items():
            if attempt.error:  # what it would have given there is not known
                continue
            if not attempt.agrees(self._run(mistake, cases[label]), self.tolerance):
                return False
            wrong |= not attempt.agrees(answers[label], self.tolerance)
        return wrong

    def _run(self, function, inputs):
        inputs = copy.deepcopy(inputs)
        before = copy.deepcopy(inputs)
        torch.manual_seed(0)
        changed = ""
        with _fresh_masks():
            try:
                found, failed = self.call(function, *inputs), None
            except Exception as error:  # whatever it is, it is the student's, and shown to them
                found, failed = None, error
            if not _masks_are_whole(before):
                changed = "the mask that `to_windows` hands out, which all blocks share"
        if not same(in_use.tensors(inputs), in_use.tensors(before), 0):
            changed = "its input"
        return _Run(
            found, failed, inputs, changed, in_use.changed(in_use.settings(before), in_use.settings(inputs))
        )


@dataclass
class _Run:
    """What a function gave for one case."""

    found: object
    error: Exception | None
    inputs: tuple
    changed: str  # what it should not have changed
    setting: str  # the setting of a layer or recipe that it should not have changed
    avoided: str = ""  # what it was asked to write and has not

    def agrees(self, other, tolerance):
        return not (self.error or other.error) and same(self.found, other.found, tolerance)


@contextmanager
def _fresh_masks():
    """Blocks make their masks anew in here, and after it again: a student's function could change them."""
    cached_mask.cache_clear()
    try:
        yield
    finally:
        cached_mask.cache_clear()


def _masks_are_whole(inputs):
    """Are the masks that the blocks among the inputs hand out for the maps among them what they should be?"""
    blocks = [member for member in inputs if isinstance(member, SwinTransformerBlock)]
    maps = [member for member in inputs if isinstance(member, torch.Tensor) and member.ndim == 4]
    sizes = [(*x.shape[1:3], b.window_size, b.shift_size, x.device) for b in blocks for x in maps]
    return all(cached_mask(*size).equal(shifted_window_mask(*size)) for size in sizes)


def _say(passed, text, stopped=False):
    text = textwrap.fill(text, 105, break_long_words=False, break_on_hyphens=False)
    return Verdict(passed, text, stopped)


def _is_skeleton(error, function):
    """Was it the function itself that raised NotImplementedError?"""
    if type(error) is not NotImplementedError:
        return False
    frames = list(traceback.walk_tb(error.__traceback__))
    return frames[-1][0].f_code is getattr(function, "__code__", None)


def _count(found):
    """How many numbers, texts and so on a result holds."""
    if isinstance(found, dict):
        found = list(found.values())
    if isinstance(found, (list, tuple)):
        return sum(map(_count, found))
    return found.numel() if isinstance(found, torch.Tensor) else 1


# --- comparing ---------------------------------------------------------------------------


def same(found, expected, tolerance):
    """Are they alike, with the same types and shapes? A list is as good as a tuple; nan equals nan."""
    if isinstance(expected, dict):
        return (
            isinstance(found, dict)
            and found.keys() == expected.keys()
            and all(same(found[key], value, tolerance) for key, value in expected.items())
        )
    if isinstance(expected, (list, tuple)):
        return (
            isinstance(found, (list, tuple))
            and len(found) == len(expected)
            and all(same(f, e, tolerance) for f, e in zip(found, expected))
        )
    if isinstance(expected, torch.Tensor):
        return (
            isinstance(found, torch.Tensor)
            and _form(found) == _form(expected)
            and not _differs(found, expected, tolerance).any()
        )
    if isinstance(expected, float):
        return type(found) in (int, float) and math.isclose(
            found, expected, rel_tol=tolerance, abs_tol=tolerance
        )
    return type(found) is type(expected) and found == expected


def _form(tensor):
    return tensor.shape, tensor.dtype, tensor.layout, tensor.device


def _differs(found, expected, tolerance):
    if not expected.is_floating_point():
        return found != expected
    return ~torch.isclose(found, expected, rtol=tolerance, atol=tolerance, equal_nan=True)


def as_tensor(found, shape, axes, dtype=torch.float32):
    """-> found, if it is a tensor of this form. Raises Wrong, with what is wrong, otherwise."""
    expected = torch.empty(shape, dtype=dtype)
    if not isinstance(found, torch.Tensor) or _form(found) != _form(expected):
        raise Wrong(explain(found, expected, axes))
    return found


def plain(found):
    """-> found, but a tensor, array or NumPy scalar of one number is that number; in lists and tuples, too"""
    if isinstance(found, (list, tuple)):
        members = [plain(member) for member in found]
        return tuple(members) if isinstance(found, tuple) else members
    single = isinstance(found, (torch.Tensor, np.ndarray, np.generic)) and math.prod(found.shape) == 1
    return found.item() if single else found


# --- words -------------------------------------------------------------------------------


def explain(found, expected, axes="", tolerance=1e-5):
    """-> in words, the first thing in which `found` differs from `expected`."""
    if found is None:
        return "nothing is returned. Does the function end with `return`?"
    if isinstance(expected, dict) and isinstance(found, dict):
        key = next(key for key, value in expected.items() if not same(found.get(key), value, tolerance))
        return f"{key}: {explain(found.get(key), expected[key], axes, tolerance)}"
    if isinstance(expected, (list, tuple)):
        return _explain_list(found, expected, axes, tolerance)
    if isinstance(expected, torch.Tensor):
        return _explain_tensor(found, expected, axes, tolerance)
    if isinstance(found, torch.Tensor):
        return "you return a tensor, expected a plain Python number (`.item()`)"
    if type(found) is not type(expected) and not (type(found) is int and type(expected) is float):
        return f"you return {_kind(found)}, expected {_kind(expected)}"
    return f"you return {_number(found)}, expected {_number(expected)}"


def _explain_list(found, expected, axes, tolerance):
    if not isinstance(found, (list, tuple)):
        return f"you return {_kind(found)}, expected {len(expected)} things in a list or tuple"
    if len(found) != len(expected):
        return f"you return {len(found)} things, expected {len(expected)}"
    place = next(i for i, (f, e) in enumerate(zip(found, expected)) if not same(f, e, tolerance))
    return f"in place {place} {explain(found[place], expected[place], axes, tolerance)}"


def _explain_tensor(found, expected, axes, tolerance):
    axes = f"{axes} = " if axes else ""
    if not isinstance(found, torch.Tensor):
        return f"you return {_kind(found)}, expected a tensor {axes}{tuple(expected.shape)}"
    if found.shape != expected.shape:
        return f"you return the shape {tuple(found.shape)}, expected {axes}{tuple(expected.shape)}"
    if found.dtype != expected.dtype:
        return f"the numbers are of type {found.dtype}, expected {expected.dtype}"
    if _form(found) != _form(expected):
        return f"you return a tensor of {found.layout} on {found.device}, expected a plain one on the CPU"
    different = _differs(found, expected, tolerance).nonzero()
    place = tuple(different[0].tolist())
    count = f"{len(different)} of {expected.numel()} numbers differ, the first"
    return f"{count} at {axes}{place}: you have {_number(found[place])}, expected {_number(expected[place])}"


def explain_error(error, function):
    """-> in words, where in the student's code it was raised, and what it says."""
    message = (str(error).strip().splitlines() or [""])[0]
    message = re.sub(r"0x[0-9a-f]+", "0x...", message)
    message = f"{type(error).__name__}: {textwrap.shorten(message, 100, placeholder=' ...')}".strip(": ")
    file = getattr(getattr(function, "__code__", None), "co_filename", None)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    if isinstance(error, Stopped):
        return f"it does not end well: {error}"
    if not frames:
        return f"it cannot be called as the skeleton can: {message}"
    line = textwrap.shorten(frames[-1].line, 80, placeholder=" ...")
    return f"your code stops at `{line}` with {message}"


def _kind(value):
    names = {
        int: "a whole number",
        float: "a number",
        bool: "True or False",
        str: "a text",
        dict: "a dictionary",
    }
    names |= {list: "a list", tuple: "a tuple", torch.Tensor: "a tensor", type(None): "nothing"}
    names |= {np.ndarray: "a NumPy array"}
    return names.get(type(value), f"an object of type {type(value).__name__}")


def _number(value):
    value = value.item() if isinstance(value, torch.Tensor) else value
    if isinstance(value, str):
        return repr(value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


# --- inputs and pictures -----------------------------------------------------------------


def numbered(*shape):
    """A tensor of this shape whose numbers are all different: 0, 1, 2, ..."""
    return torch.arange(math.prod(shape), dtype=torch.float32).view(shape)


@cache
def sample_images():
    """(n, 3, 32, 32) float in [0, 1]: pictures of shapes, drawn by the package."""
    return load_shapes10(8, 1)[0].images / 255


def sample_image():
    """(3, 32, 32) float in [0, 1]: a star, not in the middle."""
    return sample_images()[5]
