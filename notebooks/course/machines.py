"""What the time of a step is made of, and the machines on which notebook 13 measured it (`machines.json`).

A step has four parts. Overhead: Python and the start of each operator, measured by a step with the same
calls and almost nothing to compute. Arithmetic and bytes: counted operator by operator, each at the limit
that holds it up. Rest: what these three do not explain.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torch.profiler import profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from swin_cifar.system import device_name, write_atomically

FILE = Path(__file__).with_name("machines.json")
PARTS = ("overhead", "arithmetic", "bytes", "rest")

# --- counting ----------------------------------------------------------------------------


@dataclass
class Work:
    """What a function asks PyTorch to do, forwards and backwards: counted, not timed."""

    calls: int = 0  # of operators
    each: list[tuple[int, int]] = field(default_factory=list)  # operations and bytes of each that has any

    @property
    def operations(self) -> int:
        """Of products alone; a multiply-add counts as two."""
        return sum(operations for operations, _ in self.each)

    @property
    def bytes(self) -> int:
        """Read and written, every tensor once in each operator that has to do with it."""
        return sum(moved for _, moved in self.each)

    def least(self, operations_per_second: float, bytes_per_second: float) -> dict[str, float]:
        """-> seconds at the limits of a machine: {"arithmetic", "bytes"}, each operator at the slower one."""
        seconds = {"arithmetic": 0.0, "bytes": 0.0}
        for operations, moved in self.each:
            compute, move = operations / operations_per_second, moved / bytes_per_second
            seconds["arithmetic" if compute > move else "bytes"] += max(compute, move)
        return seconds


def count_work(function: Callable[[], object]) -> Work:
    """Call it once and count."""
    with _Counter() as counter:
        function()
    return counter.work


class _Counter(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.work = Work()

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        found = operator(*args, **kwargs)
        formula = flop_registry.get(operator.overloadpacket)
        operations = formula(*args, **kwargs, out_val=found) if formula else 0
        moved = _bytes_moved(operator, (args, kwargs), found)
        self.work.calls += 1
        if operations or moved:
            self.work.each.append((operations, moved))
        return found


def _bytes_moved(operator, inputs, outputs):
    read, written = _tensors([*inputs[0], *inputs[1].values()]), _tensors([outputs])
    memory = {t.untyped_storage().data_ptr() for t in read}
    views = all(t.untyped_storage().data_ptr() in memory for t in written)
    if operator.overloadpacket.__name__.startswith("empty") or views and not operator._schema.is_mutable:
        return 0
    return sum(min(t.numel() * t.element_size(), t.untyped_storage().nbytes()) for t in (*read, *written))


def _tensors(members):
    lists = [each if isinstance(each, (list, tuple)) else [each] for each in members]
    return [t for each in lists for t in each if isinstance(t, Tensor)]


def parts_of(seconds: float, empty_seconds: float, least: Mapping[str, float]) -> dict[str, float]:
    """-> the seconds of each of PARTS; the rest is below 0 where the others explain too much."""
    rest = seconds - empty_seconds - sum(least.values())
    return {"overhead": empty_seconds, **least, "rest": rest}


def explain_change(before: Mapping[str, float], after: Mapping[str, float]) -> tuple[str, float]:
    """Two dicts of parts -> the part that fell most, and its share of all the seconds that were saved."""
    saved = {part: before[part] - after[part] for part in PARTS}
    cause = max(saved, key=saved.get)
    return cause, saved[cause] / sum(saved.values()) if sum(saved.values()) else 0.0


def split_step(seconds: Mapping[int, float], share: float = 0.1) -> tuple[float, float, int]:
    """{batch: seconds of a step}, two sizes -> overhead, seconds of a picture, and a batch.

    The straight line through both, overhead + batch * seconds of a picture. The batch is the smallest
    whose overhead is at most `share` of its step.
    """
    (small, first), (large, second) = sorted(seconds.items())
    each = (second - first) / (large - small)
    overhead = first - small * each
    return overhead, each, math.ceil(overhead * (1 - share) / (share * each))


# --- a timeline --------------------------------------------------------------------------

PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "convolution", "conv2d", "conv2d_forward", "gemm")
NOTHING = ("empty", "as_strided", "resize_", "set_", "detach", "alias", "view", "lift_fresh")


def timeline(
    function: Callable[[], object], device: torch.device, repeats: int = 3
) -> list[tuple[float, float, str]]:
    """Call it under a profiler -> [(start, end, kind)] in seconds: of several calls the shortest.

    The kind is "product" or "other"; what lies between is Python and the start of operators. The profiler
    takes notes of each operator, which makes the gaps longer: look at the shape.
    """
    function()
    return min((_bars(function, device) for _ in range(repeats)), key=lambda bars: bars[-1][1])


def _bars(function, device):
    with profile() as record:
        function()
    seen = record.events()
    events = [e for e in seen if e.device_type.name.lower() == device.type] or seen  # it may not see a GPU
    bars = []
    for event in sorted(events, key=lambda e: (e.time_range.start, -e.time_range.end)):
        kind = _kind_of(event)
        if kind and (not bars or event.time_range.start >= bars[-1][1]):  # else inside the one before
            bars.append((event.time_range.start, event.time_range.end, kind))
    return [((start - bars[0][0]) / 1e6, (end - bars[0][0]) / 1e6, kind) for start, end, kind in bars]


def _kind_of(event):
    name = event.name.removeprefix("aten::").removeprefix("mkldnn_").removeprefix("thnn_").lower()
    if name in PRODUCTS or "gemm" in name:
        return "product"
    within = event.name.startswith("aten::") and event.cpu_children
    return None if within or name.startswith(NOTHING) else "other"


# --- rows --------------------------------------------------------------------------------

REPEATS = 5  # of a measurement that is worth a row


def make_row(
    device: torch.device,
    repeats: int,
    limits: tuple[float, float],
    speeds: Mapping[str, float],
    parts: Mapping[str, Mapping[str, float]],
    noise: float,
) -> dict:
    """-> a row for JSON.

    `limits`: operations and bytes per second. `speeds`: pictures per second of each form. `parts`: of each
    form, its seconds by part. `noise`: how far the same form, measured twice, was apart, as a share.
    """
    shares = {
        name: {part: _digits(seconds[part] / sum(seconds.values()), 2) for part in PARTS}
        for name, seconds in parts.items()
    }
    about = {"device": device_name(device).split(", ")[0], "threads": torch.get_num_threads()}
    if device.type == "cpu":
        about["device"] += f" ({torch.backends.cpu.get_cpu_capability()})"
    about |= {"dtype": "float32", "torch": torch.__version__.split("+")[0], "repeats": repeats}
    about |= {"operations_per_second": _digits(limits[0]), "bytes_per_second": _digits(limits[1])}
    about |= {"noise": _digits(noise, 2)}
    return about | {"speeds": {name: _digits(s) for name, s in speeds.items()}, "shares": shares}


def _digits(value, count=3):
    """Rounded to so many digits: more a measurement does not have."""
    return value and round(value, count - 1 - math.floor(math.log10(abs(value))))


def load_rows(file: Path = FILE) -> list[dict]:
    """-> the saved rows, [] where there is no file yet."""
    return json.loads(file.read_text(encoding="utf-8"))["machines"] if file.exists() else []


def add_row(row: dict, file: Path = FILE) -> None:
    """Save a row, in place of an older one of the same device, threads, dtype and version of PyTorch.

    Raises ValueError for one of fewer than REPEATS repeats.
    """
    if row["repeats"] < REPEATS:
        raise ValueError(f"{row['repeats']} repeats are too few for a row: it takes {REPEATS}")

    def key(row):
        return [row[name] for name in ("device", "threads", "dtype", "torch")]

    rows = [other for other in load_rows(file) if key(other) != key(row)]
    text = json.dumps({"machines": [*rows, row]}, indent=1)
    write_atomically(file, f"{text}\n".encode())


def print_rows(rows: Sequence[dict]) -> None:
    """For each machine its limits, its pictures per second with each form, and of what a step is made."""
    if not rows:
        print("no machine is saved yet")
    for row in rows:
        threads = f"{row['threads']} thread{'s' * (row['threads'] > 1)}"
        limits = f"{row['operations_per_second'] / 1e9:,.0f} billion operations/s, "
        limits += f"{row['bytes_per_second'] / 1e9:,.0f} billion bytes/s"
        print(f"{row['device']}, {threads}, {row['dtype']}, torch {row['torch']}: {limits}")
        speeds = ", ".join(f"{name} {speed:,.4g}" for name, speed in row["speeds"].items())
        print(f"  pictures/s: {speeds}; twice the same: {row['noise']:.0%} apart")
        for name, shares in row["shares"].items():
            print(f"  {name:8}" + "".join(f"{part:>12} {share:4.0%}" for part, share in shares.items()))
