"""The machine: device names, versions, counted operations; files that appear whole or not at all."""

import itertools
import os
import platform
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode


def device_name(device: torch.device) -> str:
    """'NVIDIA H200' or 'CPU, 2 threads'."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{device.type.upper()}, {threads} thread{'s' * (threads > 1)}"


def versions() -> dict[str, str]:
    """-> the versions of Python, torch and torchvision."""
    import torchvision  # slow to import, so not before it is needed

    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "torchvision": str(torchvision.__version__),
    }


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
    return sys.stdout.isatty() or type(sys.stdout).__module__.startswith("ipykernel")


def write_atomically(path: str | Path, content: bytes | dict) -> None:
    """Write bytes, or a dict for torch.save, into a new file that then takes the old one's name.

    Raises OSError or, from torch.save, RuntimeError; an older file is then untouched.
    """
    path = Path(path)
    partial = _partial(path)
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


def claim_path(path: str | Path) -> Path:
    """`path`, or with -2, -3, ... in its name: taken by no earlier run, nor by one that starts now.

    The name stays claimed until a file is there or `release_path` gives it back. Raises
    OSError where nothing can be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        numbered = (path.with_stem(f"{path.stem}-{i}") for i in itertools.count(2))
        for candidate in itertools.chain([path], numbered):
            if candidate.exists():
                continue
            with suppress(FileExistsError):  # of several processes at once, one alone makes the file
                _partial(candidate).touch(exist_ok=False)
                if not candidate.exists():
                    return candidate
                release_path(candidate)  # the other run saved between the two looks
    except OSError as error:
        raise OSError(f"cannot write {path}: {error}") from error


def release_path(path: str | Path) -> None:
    """Give back a name that `claim_path` took, if nothing was saved there."""
    _partial(path).unlink(missing_ok=True)


def _partial(path):
    return Path(path).with_name(f".{Path(path).name}.partial")
