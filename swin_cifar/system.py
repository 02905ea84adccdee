"""The machine: devices, threads, memory, versions, compiler, counted operations; files written whole."""

import atexit
import itertools
import math
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


def default_device() -> str:
    """-> "cuda", "mps", "xpu", ...: the accelerator that torch finds here; "cpu" without one."""
    return torch.accelerator.current_accelerator().type if torch.accelerator.is_available() else "cpu"


def present_device(name: str) -> str:
    """The name of a device -> the same. Raises ValueError, in one line, for what is not here."""
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError, ImportError) as error:
        of_torch = isinstance(error, (NotImplementedError, ImportError))  # a page on kernels or modules
        why = "this torch was built without it" if of_torch else first_line(error)
        raise ValueError(f"there is no {name} here, use {default_device()}: {why}") from None
    return name


def device_name(device: torch.device) -> str:
    """'NVIDIA H200', 'Apple M3' or 'AMD EPYC, 2 threads'."""
    if device.type != "cpu":  # Apple's names itself elsewhere, and in newer versions of PyTorch alone
        of_mps = getattr(torch.backends.mps, "get_name", lambda: None)
        of_others = getattr(getattr(torch, device.type, None), "get_device_name", lambda device: None)
        return (of_mps() if device.type == "mps" else of_others(device)) or device.type.upper()
    threads = torch.get_num_threads()
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()  # newer versions of PyTorch
    return f"{capabilities.get('cpu_name') or 'CPU'}, {threads} thread{'s' * (threads > 1)}"


def random_state_kept(device: torch.device) -> AbstractContextManager:
    """After it, random numbers on the CPU and on `device` go on as if nothing had been drawn in it."""
    if device.type == "cpu":
        return torch.random.fork_rng([])
    return torch.random.fork_rng([device], device_type=device.type)


class FastestThreads:
    """How many threads a training on the CPU takes: as many as are fastest beside what else runs.

    All threads are as slow as the one whose core another program takes, and while they wait for it
    they take time from it: a step may take a hundred times as long. So now and then some steps are
    tried in turns on all, on fewer and on one, and fewer are kept where they are clearly faster.
    Short runs try nothing: steps on different numbers of threads differ in rounding. Nor is anything
    tried where `OMP_NUM_THREADS` fixes the number, or without `on`.
    """

    FIRST, EVERY, TURNS = 5, 400, 3  # step of the first trial, steps from one to the next, turns in each
    SHORT = 200  # steps of a run that is too short
    GAIN = 1.1  # times as fast as on all threads, or they stay all
    HOPELESS = 2.0  # times the fastest's time: not tried again in the same trial

    def __init__(self, total_steps: int, on: bool = True) -> None:
        self.all = torch.get_num_threads()
        numbers = {self.all, self.all - 1, (self.all + 1) // 2, 1} - {0}
        self.numbers = sorted(numbers, reverse=True)
        fixed = self.all == 1 or "OMP_NUM_THREADS" in os.environ
        self.on = on and total_steps > self.SHORT and not fixed
        self.chosen = self.all
        self.queue: list[int] = []  # the numbers to try in this turn of a trial
        self.seconds, self.turns, self.clock = {}, 0, 0.0

    def start(self, step: int) -> None:
        """Before a step, counted from 0."""
        if self.on and step >= self.FIRST and (step - self.FIRST) % self.EVERY == 0:
            self.queue, self.turns = self.numbers.copy(), 0
            self.seconds = dict.fromkeys(self.numbers, 0.0)
        if self.queue:
            torch.set_num_threads(self.queue[0])
            self.clock = time.perf_counter()

    def stop(self) -> None:
        """After that step; after the last one of a trial the number is chosen."""
        if not self.queue:
            return
        self.seconds[self.queue.pop(0)] += time.perf_counter() - self.clock
        torch.set_num_threads(self.chosen)  # until the next step, for whatever comes between
        if self.queue:
            return
        self.turns += 1
        fastest = min(self.seconds, key=self.seconds.get)
        limit = self.HOPELESS * self.seconds[fastest]
        self.seconds = {number: s for number, s in self.seconds.items() if s <= limit}
        if self.turns < self.TURNS and len(self.seconds) > 1:
            self.queue = list(self.seconds)
        else:
            on_all = self.seconds.get(self.all, math.inf)
            self.chosen = fastest if on_all > self.GAIN * self.seconds[fastest] else self.all
            torch.set_num_threads(self.chosen)

    def fewer(self) -> int | None:
        """-> the number chosen, None where it is all of them."""
        return self.chosen if self.chosen < self.all else None

    def close(self) -> None:
        """All threads again."""
        torch.set_num_threads(self.all)


@cache
def computes_in_bf16(device: torch.device) -> bool:
    """Whether the device multiplies in bf16, and not only emulates it, which is slower than float32.

    Of a CPU it is measured, once in a process; emulated, it takes 1.5 times float32's time or more. CUDA and
    XPU know it of themselves. MPS does not, and none of the three has been tried: float32 on MPS.
    """
    if device.type in ("cuda", "xpu"):
        supported = getattr(torch.get_device_module(device), "is_bf16_supported", lambda **_: False)
        return supported(including_emulation=False)
    if device.type != "cpu":
        return False
    seconds = {torch.float32: [], torch.bfloat16: []}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # waiting for each other, two can take as long in either type
    for dtype in [*seconds] * 5:  # in turns, so that company slows both alike
        x, weight = torch.ones(1, 128, 32, 32, dtype=dtype), torch.ones(128, 128, 1, 1, dtype=dtype)
        start = time.perf_counter()
        F.conv2d(x, weight)  # a linear layer, through oneDNN in both
        seconds[dtype].append(time.perf_counter() - start)
    torch.set_num_threads(threads)
    return min(seconds[torch.bfloat16]) < min(seconds[torch.float32])


def memory() -> int | None:
    """-> the bytes of the machine's memory, None where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # Windows
        return None


def versions() -> dict[str, str]:
    """-> the versions of Python, torch and torchvision."""
    import torchvision  # slow to import, so not before it is needed

    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "torchvision": str(torchvision.__version__),
    }


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside DataParallel, DistributedDataParallel and torch.compile."""
    while True:
        if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            model = model.module
        elif "_orig_mod" in model._modules:
            model = model._orig_mod
        else:
            return model


def compile_or_not(model: nn.Module, images: Tensor, amp: bool) -> nn.Module:
    """The compiled model, or the model itself where it cannot be compiled (no compiler, an old GPU)."""
    compiled = torch.compile(model)
    autocast = torch.autocast(images.device.type, torch.bfloat16, enabled=amp)
    try:
        with random_state_kept(images.device), autocast:
            compiled(images).float().sum().backward()
    except Exception as error:  # whatever is missing, training goes on without it
        print(f"not compiled, training goes on: {first_line(error)}", flush=True)
        compiled = model
    model.zero_grad()
    return compiled


def count_flops(function: Callable[[], object]) -> int:
    """Floating-point operations of one call, a multiply-add counted as two."""
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


def first_line(error: BaseException) -> str:
    """The first line of what an exception says; its type where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def shows_bars() -> bool:
    """Whether what is printed can be written over: on a terminal and in a notebook, not in a file."""
    if sys.stdout is None:  # of all processes that train together, one prints
        return False
    return sys.stdout.isatty() or type(sys.stdout).__module__.startswith("ipykernel")


def check_folder(path: Path) -> None:
    """Make a folder where there is none. Raises OSError where no file can be written in it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()
    except OSError as error:
        raise OSError(f"cannot write into the folder {path}: {error}") from error


def write_atomically(path: str | Path, content: bytes | dict) -> None:
    """Write bytes, or a dict for torch.save, into a new file that then takes the old one's name.

    Raises OSError or, from torch.save, RuntimeError; an older file is then untouched.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with open(partial, "wb") as file:
            if isinstance(content, bytes):
                file.write(content)
            else:
                torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    if path.absolute() in _claimed:  # the file itself keeps the name now
        release_path(path)


def claim_path(path: str | Path) -> Path:
    """`path`, or with -2, -3, ... in its name: taken by no earlier run, nor by one that starts now.

    The name stays claimed until a file is there, `release_path` gives it back or this process ends.
    Raises OSError where nothing can be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        numbered = (path.with_stem(f"{path.stem}-{i}") for i in itertools.count(2))
        for candidate in itertools.chain([path], numbered):
            if candidate.exists():
                continue
            with suppress(FileExistsError):  # of several processes at once, one alone makes the file
                _claim(candidate).touch(exist_ok=False)
                if not candidate.exists():
                    _claimed.add(candidate.absolute())
                    return candidate
                release_path(candidate)  # the other run saved between the two looks
    except OSError as error:
        raise OSError(f"cannot write {path}: {error}") from error


def release_path(path: str | Path) -> None:
    """Give back a name that `claim_path` took, if nothing was saved there."""
    _claimed.discard(Path(path).absolute())
    _claim(path).unlink(missing_ok=True)


_claimed: set[Path] = set()  # by this process, and neither saved nor given back


@atexit.register
def _release_all():
    """At the end of a process: nothing more will be saved there."""
    for path in list(_claimed):
        with suppress(OSError):
            release_path(path)


def _claim(path):
    return Path(path).with_name(f".{Path(path).name}.claimed")
