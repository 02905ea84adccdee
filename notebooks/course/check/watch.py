"""Watch a student's function while it runs: what it uses, and that it comes to an end."""

import contextlib
import inspect
import math
import signal
import sys
import threading
import time
from collections import Counter
from functools import cache, partial
from pathlib import Path

import torch
from torch.utils._python_dispatch import TorchDispatchMode

SECONDS = 10  # for one input; the right functions need a few hundredths
BYTES = 2**31  # of all tensors that are made for one input
LETTERS = 4000  # that a function may print in one check


class Stopped(Exception):
    """In words, why a function was not let run to its end."""


class _Stop(BaseException):
    """Inside the function: `except Exception` does not catch it."""


class Watch:
    """Calls a function and keeps what it does: the operators of PyTorch, Python's functions, repeated lines.

    It stops what runs too long, makes too many tensors or calls `sys.exit()`, with Stopped, and cuts
    what is printed. That is for mistakes, not for malice: what is not stopped are `os._exit()`, output
    past Python (`os.write`), large lists, a single step too large for the memory, a bare `except:`
    around an endless loop where there is no alarm (Windows, other threads), and whoever switches the
    watch off. Grading strangers' code needs a process of its own.
    """

    def __init__(self, function):
        self.function = function
        self.notebook = getattr(function, "__globals__", None)  # what the student's own code is known by
        self.left = LETTERS
        self.begin()

    def begin(self):
        """Forget what was seen so far."""
        self.operators = {}  # name: [numbers in each result]
        self.functions = set()  # code of the Python functions that were called
        self.lines = Counter()  # how often each line of the notebook was reached
        self.bytes = 0

    def __call__(self, *inputs):
        _load_what_watching_needs()
        try:
            with self._alarm(), self._trace(), _Operators(self), self._cut():
                return self.function(*inputs)
        except _Stop as stop:
            raise Stopped(str(stop)) from None
        except SystemExit:
            raise Stopped("The function ends Python (`exit`): end it with `return`.") from None
        except (Exception, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise Stopped(f"The function raises {type(error).__name__}, which is not an error.") from None

    def repeats(self):
        """How often the line was reached that was reached most often."""
        return max(self.lines.values(), default=0)

    def results(self, *names):
        """The numbers in each result of these operators."""
        return [count for name in names for count in self.operators.get(name, [])]

    @contextlib.contextmanager
    def _alarm(self):
        self.end = time.monotonic() + SECONDS
        main = threading.current_thread() is threading.main_thread()
        if not (main and hasattr(signal, "setitimer")):  # then the trace looks at the clock
            yield
            return
        before = signal.signal(signal.SIGALRM, self._rings)
        signal.setitimer(signal.ITIMER_REAL, SECONDS, 1)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before or signal.SIG_DFL)

    def _rings(self, _, frame):
        """Stop the student's code, but not what puts everything back in its place after it."""
        while frame and frame.f_code is not Watch.__call__.__code__:
            if frame.f_globals is self.notebook:
                self._too_long()
            frame = frame.f_back

    def _too_long(self):
        self.end += 1  # a second stop on the way out of the first would leave that one half handled
        raise _Stop(f"It was stopped after {SECONDS} seconds. Is there a loop that never ends?")

    @contextlib.contextmanager
    def _trace(self):
        def line(frame, event, argument):
            if event == "line":
                self.lines[frame.f_code, frame.f_lineno] += 1
                if time.monotonic() > self.end:
                    self._too_long()
            return line

        def call(frame, event, argument):
            self.functions.add(frame.f_code)
            return line if frame.f_globals is self.notebook else None

        before = sys.gettrace()
        sys.settrace(call)
        try:
            yield
        finally:
            sys.settrace(before)

    @contextlib.contextmanager
    def _cut(self):
        with contextlib.redirect_stdout(_Cut(self)), contextlib.redirect_stderr(sys.stdout):
            yield


def _too_large():
    raise _Stop(f"It was stopped: it makes tensors of more than {BYTES // 2**30} GB. Are they this large?")


@cache
def _load_what_watching_needs():
    """PyTorch imports much at the first watched operator; stopped halfway, that stays broken."""
    with _Operators(Watch(None)):
        torch.zeros(2, 3).sum().item()


class _Operators(TorchDispatchMode):
    def __init__(self, watch):
        super().__init__()
        self.watch = watch

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        kwargs, watch = kwargs or {}, self.watch
        name = operator.overloadpacket.__name__
        size = args[0] if name in _MAKERS and args else args[1] if name.startswith("new_") else ()
        if isinstance(size, (list, tuple)) and math.prod(size) > BYTES // 4:  # before it fills the memory
            _too_large()
        found = operator(*args, **kwargs)
        tensors = found if isinstance(found, (list, tuple)) else [found]
        for tensor in tensors:
            if isinstance(tensor, torch.Tensor):
                watch.operators.setdefault(name, []).append(tensor.numel())
                if not (operator.is_view or name.endswith("_")):
                    watch.bytes += tensor.numel() * tensor.element_size()
        if watch.bytes > BYTES:
            _too_large()
        return found


_MAKERS = {"empty", "zeros", "ones", "full", "rand", "randn"}


class _Cut:
    """A stream that passes on what is printed until it is too much."""

    def __init__(self, watch):
        self.watch, self.stream = watch, sys.stdout

    def write(self, text):
        watch = self.watch
        if watch.left > 0:
            self.stream.write(text[: watch.left])
            if len(text) >= watch.left:
                self.stream.write("\n[What the function prints after this is left out.]\n")
            watch.left -= len(text)
        return len(text)

    def __getattr__(self, name):  # flush, isatty, ...
        return getattr(self.stream, name)


# --- what an exercise can forbid ---------------------------------------------------------


def code_of(function):
    """The code of a Python function, below what wraps it; None if there is none."""
    while isinstance(function, partial):
        function = function.func
    return getattr(inspect.unwrap(function), "__code__", None)


def uses(*names):
    """One of these operators of PyTorch, by the names that ATen gives them?"""
    return lambda watch, *inputs: any(name in watch.operators for name in names)


def calls(*functions):
    """One of these functions written in Python?"""
    codes = {code_of(function) for function in functions}
    return lambda watch, *inputs: not codes.isdisjoint(watch.functions)


LIBRARIES = {"torchvision", "timm", "transformers"}  # with a Swin of their own


def ready_made(watch):
    """-> the library whose function was called in place of the student's own, or ""."""
    files = [Path(code.co_filename) for code in watch.functions]
    for name in LIBRARIES:
        file = getattr(sys.modules.get(name), "__file__", None)  # where it lies, if it is loaded
        if file and any(Path(file).parent in used.parents for used in files):
            return name
    return ""


def loops(watch, *inputs):
    """A line that is reached again and again? Not one that goes through the few axes of a tensor."""
    return watch.repeats() > 8
