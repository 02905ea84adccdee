"""Measure this model beside torchvision's and timm's, the data path, and cost against resolution.

Everything compared is timed in turns in one process, so that a change in the machine's load
meets all alike; figures are medians with quartiles. Training beside other programs, where each
turn is a process of its own, takes minutes and is measured only when it is asked for.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from swin_cifar.config import SwinConfig, model_config, preset_name, train_config
from swin_cifar.data import load_shapes10, training_batch
from swin_cifar.layers import FastLinear
from swin_cifar.model import SwinTransformer, SwinTransformerBlock, create_model
from swin_cifar.system import computes_in_bf16, count_flops, device_name, first_line, versions
from swin_cifar.training import fit
from swin_cifar.variants import GlobalAttention
from swin_cifar.weights import timm_arguments, torchvision_model, torchvision_state_dict

PARTS = ("models", "attention", "data", "resolution")  # and "company", which takes minutes
Report = Callable[[str], object]  # takes one line of text after another
Times = dict[str, float]  # "median", "q1", "q3", in seconds


def run(
    preset: str,
    device: str,
    batch_size: int | None = None,
    repeats: int = 11,
    compiled: bool = True,
    parts: Sequence[str] = PARTS,
) -> dict:
    """-> everything measured, as a dict for JSON."""
    preset, device = preset_name(preset), torch.device(device)
    config = model_config(preset)
    batch_size = batch_size or (512 if device.type == "cuda" else 32)
    result = {"preset": preset, "device": device_name(device), "versions": versions(), "repeats": repeats}
    print(f"{preset} on {result['device']}, torch {torch.__version__}, median [quartiles] of {repeats}")
    measurements = {
        "models": lambda: bench_models(config, device, batch_size, repeats, compiled),
        "attention": lambda: bench_attention(config, device, batch_size, repeats),
        "data": lambda: bench_data(device, repeats),
        "resolution": lambda: bench_resolution(device, repeats),
        "company": lambda: bench_company(device, repeats),
    }
    return result | {part: measurement() for part, measurement in measurements.items() if part in parts}


def measure(functions: dict[str, Callable], repeats: int, device: torch.device) -> dict[str, Times]:
    """{name: function} -> {name: seconds}, the functions taking turns after one call each to warm up."""

    def synchronize():
        if device.type != "cpu":
            torch.accelerator.synchronize(device)

    seconds = {name: [] for name in functions}
    for function in functions.values():
        function()
    for _ in range(repeats):
        for name, function in functions.items():
            synchronize()
            start = time.perf_counter()
            function()
            synchronize()
            seconds[name].append(time.perf_counter() - start)
    return {name: _quartiles(values) for name, values in seconds.items()}


def _quartiles(values):
    q1, median, q3 = statistics.quantiles(values * 2 if len(values) == 1 else values, n=4, method="inclusive")
    return {"median": median, "q1": q1, "q3": q3}


def bench_models(
    config: SwinConfig, device: torch.device, batch_size: int, repeats: int, compiled: bool
) -> dict:
    """Forward, and forward + backward, in images/s; on CUDA under bf16 autocast, as in training."""
    models = {name: model.to(device) for name, model in same_network(config).items()}
    images = torch.randn(batch_size, 3, config.image_size, config.image_size, device=device)
    labels = torch.randint(config.num_classes, (batch_size,), device=device)
    ceiling = arithmetic_ceiling(device, repeats)
    result = {"batch_size": batch_size, "flops_per_image": {}, "flops_per_second": ceiling}
    print(f"\narithmetic ceiling, measured with one large product: {ceiling / 1e12:,.2f} TFLOP/s")
    for kind in ("eager", "compiled") if compiled else ("eager",):
        if kind == "compiled":
            models = {name: torch.compile(model) for name, model in models.items()}
        for mode in ("forward", "forward + backward"):
            backward = mode != "forward"
            functions = {name: one_pass(m, images, labels, backward) for name, m in models.items()}
            if kind == "eager":
                result["flops_per_image"][mode] = count_flops(functions["swin_cifar"]) / batch_size
            floor = result["flops_per_image"][mode] * batch_size / ceiling  # seconds
            try:
                times = result[f"{kind} {mode}"] = measure(functions, repeats, device)
                _print_speeds(f"{kind} {mode}", times, batch_size, floor)
            except Exception as error:  # no compiler on this machine, for one
                print(f"{kind} {mode}: not measured: {first_line(error)}")
    return result


def _print_speeds(mode, times, batch_size, floor):
    print(f"\n{mode}, batches of {batch_size}{'':12}images/s      time, ours = 1   of ceiling")
    for name, t in times.items():
        low, middle, high = (f"{batch_size / t[q]:,.0f}" for q in ("q3", "median", "q1"))
        speed, ratio = f"{middle} [{low} to {high}]", t["median"] / times["swin_cifar"]["median"]
        print(f"  {name:12} {speed:>36} {ratio:12.2f} {floor / t['median']:17.0%}")


def arithmetic_ceiling(device: torch.device, repeats: int, size: int | None = None) -> float:
    """Floating-point operations a second of one large product: bf16 on CUDA, else float32."""
    size = size or (8192 if device.type == "cuda" else 1536)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    layer = FastLinear(size, size).to(device, dtype)
    x = torch.randn(16, size // 16, 1, size, device=device, dtype=dtype)  # as a map: the fast way on CPUs
    with torch.inference_mode():
        seconds = measure({"product": lambda: layer(x)}, repeats, device)["product"]["q1"]
    return 2 * size**3 / seconds


def same_network(config: SwinConfig) -> dict[str, nn.Module]:
    """{library: its model of these sizes}, with timm where it is; ours and torchvision's weights agree."""
    ours, theirs = SwinTransformer(config), torchvision_model(config)
    theirs.load_state_dict(torchvision_state_dict(ours))
    models = {"swin_cifar": ours, "torchvision": theirs}
    try:
        from timm.models.swin_transformer import SwinTransformer as TimmSwin
    except ImportError:
        return models
    return models | {"timm": TimmSwin(**timm_arguments(config))}


def one_pass(model: nn.Module, images: Tensor, labels: Tensor, backward: bool) -> Callable[[], None]:
    """-> a function that answers for the images or, with `backward`, also computes the gradients."""
    in_bf16 = images.device.type != "cpu" and computes_in_bf16(images.device)
    amp = torch.autocast(images.device.type, torch.bfloat16, enabled=in_bf16)

    def forward_only():
        model.eval()
        with torch.inference_mode(), amp:
            model(images)

    def forward_and_backward():
        model.train()
        model.zero_grad()
        with amp:
            logits = model(images)
        F.cross_entropy(logits.float(), labels).backward()

    return forward_and_backward if backward else forward_only


def bench_attention(config: SwinConfig, device: torch.device, batch_size: int, repeats: int) -> dict:
    """The first stage's shifted attention, step by step and in one kernel."""
    block = SwinTransformerBlock(config.embed_dim, config.num_heads[0], config.window_size, shift_size=1)
    attn = block.to(device).attn
    side = -(-config.image_size // config.patch_size)
    windows, mask = block.to_windows(torch.randn(batch_size, side, side, config.embed_dim, device=device))
    implementations = {
        "explicit": lambda: attn.explicit_attention(windows, mask)[0],
        "fused": lambda: attn.fused_attention(windows, mask),
    }

    def forward(attend):
        with torch.inference_mode():
            attend()

    def forward_and_backward(attend):
        attend().sum().backward()

    result = {}
    print("\nthe two implementations of attention     explicit, ms   fused, ms")
    for mode in (forward, forward_and_backward):
        functions = {name: partial(mode, attend) for name, attend in implementations.items()}
        times = result[mode.__name__] = measure(functions, repeats, device)
        explicit, fused = (1000 * t["median"] for t in times.values())
        print(f"  {mode.__name__:20} {explicit:30.2f} {fused:11.2f}")
    return result


def bench_data(
    device: torch.device, repeats: int, report: Report = print, count: int = 2000, batch_size: int = 500
) -> dict:
    """Crop, flip and normalise: this package's batches against DataLoader and PIL, 0 workers."""
    data, _ = load_shapes10(count, 10)  # the time does not depend on what the pictures show
    loader = _pil_loader(data, batch_size)
    data, generator = data.to(device), torch.Generator(device)

    def ours(recipe):
        for indices in torch.randperm(count, device=device).split(batch_size):
            training_batch(data, indices, recipe, generator)

    functions = {
        "crop, flip": partial(ours, train_config("nano")),
        "with mixup, CutMix": partial(ours, train_config("mini")),
        "DataLoader, PIL": lambda: [images.to(device) for images in loader],
    }
    measured = measure(functions, repeats, device)
    report(f"\ndata path, {count} pictures{'':22}images/s     time, PIL = 1")
    for name, t in measured.items():
        ratio = t["median"] / measured["DataLoader, PIL"]["median"]
        report(f"  {name:20} {count / t['median']:25,.0f} {ratio:15.4f}")
    return {"count": count, **measured}


def _pil_loader(data, batch_size):
    """What most CIFAR-10 scripts do: one picture at a time through PIL."""
    from torchvision import transforms as T  # slow to import

    augment = [T.RandomCrop(32, padding=4), T.RandomHorizontalFlip()]
    transform = T.Compose([*augment, T.ToTensor(), T.Normalize(data.mean, data.std)])
    pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in data.images]

    def collate(batch):
        return torch.stack([transform(picture) for picture in batch])

    return torch.utils.data.DataLoader(pictures, batch_size, shuffle=True, collate_fn=collate)


def bench_resolution(
    device: torch.device, repeats: int, report: Report = print, sizes: Sequence[int] = (32, 64, 128, 256)
) -> list[dict]:
    """One picture through one attention layer: in shifted windows, and over all tokens at once."""
    dim, patch_size = 96, 2
    windowed = SwinTransformerBlock(dim, 3, 4, shift_size=2).to(device).eval()
    everywhere = GlobalAttention(dim, 3).to(device).eval()
    rows = []
    report("\none attention layer, one picture     tokens   windows, ms    global, ms      ratio")
    for size in sizes:
        side = size // patch_size
        x = torch.randn(1, side, side, dim, device=device)
        with torch.inference_mode():
            layers = {"windowed": partial(windowed.window_attention, x), "global": partial(everywhere, x)}
            t = measure(layers, repeats, device)
        rows.append({"pixels": size, "tokens": side**2, **t})
        w, g = (1000 * t[name]["median"] for name in layers)
        report(f"  {size:3} x {size:3} pixels {side**2:24,} {w:13.2f} {g:13.2f} {g / w:10.1f}")
    return rows


# --- training while other programs run --------------------------------------------------

WAYS = {  # the environment of a fresh process, for its OpenMP threads
    "threads as training chooses": {},
    "all threads, waiting ones spin": {"OMP_NUM_THREADS": "all"},  # for some milliseconds, then they sleep
    "all threads, waiting ones sleep": {"OMP_NUM_THREADS": "all", "OMP_WAIT_POLICY": "PASSIVE"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
# A program that never rests, and ends when what started it closes the pipe or is no more.
BUSY = """import os, sys, threading
threading.Thread(target=lambda: os._exit(len(sys.stdin.read()))).start()
while True: pass"""


def bench_company(
    device: torch.device, repeats: int, busy: Sequence[int] = (0, 1, 2), count: int = 2048
) -> dict[str, dict[str, Times]]:
    """Training `nano` beside so many busy processes -> {way: {"beside n": images/s}}; CPU only, else {}."""
    if device.type != "cpu":
        print(f"\ntraining beside busy processes: only measured on a CPU, not on {device.type}")
        return {}
    speeds = {way: {f"beside {n}": [] for n in busy} for way in WAYS}
    for n, way in [(n, way) for n in busy for way in WAYS] * repeats:
        with busy_processes(n):
            speeds[way][f"beside {n}"].append(_speed_of_a_process(WAYS[way], count))
    result = {way: {n: _quartiles(values) for n, values in row.items()} for way, row in speeds.items()}
    print("\ntraining nano, images/s, beside so many busy processes" + "".join(f"{n:>8}" for n in busy))
    for way, row in result.items():
        print(f"  {way:52}" + "".join(f"{speed['median']:8,.0f}" for speed in row.values()))
    return result


@contextmanager
def busy_processes(count: int) -> Iterator[list[subprocess.Popen]]:
    """So many processes that take all the time they get; however this is left, they end."""
    command, options = [sys.executable, "-c", BUSY], {"stdin": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with ExitStack() as stack:  # which closes the pipes and waits
        yield [stack.enter_context(subprocess.Popen(command, **options)) for _ in range(count)]


def _speed_of_a_process(way, count):
    """-> `training_speed` in a fresh process, in images/s."""
    code = "from swin_cifar import bench, system\nsystem.FastestThreads.SHORT = 0  # try at once\n"
    code += f"print(bench.training_speed({count}))"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    way = {name: str(torch.get_num_threads()) if value == "all" else value for name, value in way.items()}
    options = {"env": inherited | way, "cwd": Path(__file__).parents[1], "text": True}
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, **options)
    if child.returncode:
        raise RuntimeError(f"a process that trains failed: {child.stderr.strip().splitlines()[-1:]}")
    return float(child.stdout)


def training_speed(count: int) -> float:
    """The second of two epochs of `nano` on `count` pictures, as `fit` runs it on the CPU -> images/s."""
    data, _ = load_shapes10(count, 10)
    history = fit(create_model("nano"), data, recipe=train_config("nano", epochs=2), progress=False)
    return history.epochs[-1].images_per_second
