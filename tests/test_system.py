"""Threads are taken by measured time, never in a short run, and given back; devices by name."""

import pytest
import torch

from swin_cifar import create_model, fit, train_config
from swin_cifar.__main__ import main
from swin_cifar.bench import measure
from swin_cifar.data import load_shapes10
from swin_cifar.system import (
    FastestThreads,
    computes_in_bf16,
    default_device,
    device_name,
    random_state_kept,
)


@pytest.fixture
def four_threads(monkeypatch):
    """Torch on four threads, whatever this machine has, with a number that nobody fixed."""
    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def clock(monkeypatch):
    """A clock that moves when `clock.pass_(seconds)` is called."""

    class Clock:
        now = 0.0

        def pass_(self, seconds):
            self.now += seconds

    clock = Clock()
    monkeypatch.setattr("swin_cifar.system.time.perf_counter", lambda: clock.now)
    return clock


def numbers_of_threads(threads, clock, seconds, steps):
    """Go through the steps, each as long as `seconds` says of its number of threads -> those numbers."""
    seen = []
    for step in steps:
        threads.start(step)
        seen.append(torch.get_num_threads())
        clock.pass_(seconds[seen[-1]])
        threads.stop()
    return seen


ALONE = {4: 1.0, 3: 1.2, 2: 1.7, 1: 3.0}
BESIDE_ONE = {4: 3.0, 3: 1.2, 2: 1.7, 1: 3.0}
CROWDED = {4: 9.0, 3: 7.0, 2: 5.0, 1: 3.0}
COLLAPSED = {4: 700.0, 3: 700.0, 2: 700.0, 1: 3.0}
HARDLY_DIFFERENT = {4: 1.0, 3: 0.95, 2: 1.0, 1: 1.0}


@pytest.mark.parametrize(
    "seconds, trial, best",
    [
        (ALONE, [4, 3, 2, 1, 4, 3, 2, 4, 3, 2], 4),  # one thread is hopeless after its first turn
        (BESIDE_ONE, [4, 3, 2, 1, 3, 2, 3, 2], 3),
        (CROWDED, [4, 3, 2, 1, 2, 1, 2, 1], 1),
        (COLLAPSED, [4, 3, 2, 1], 1),  # each slow step is made once
        (HARDLY_DIFFERENT, [4, 3, 2, 1] * 3, 4),
    ],
)
def test_the_fastest_number_is_taken_and_all_where_it_is_hardly_faster(
    four_threads, clock, seconds, trial, best
):
    threads = FastestThreads(1000)
    seen = numbers_of_threads(threads, clock, seconds, range(100))
    assert seen == [4] * 5 + trial + [best] * (95 - len(trial))
    assert threads.fewer() == (best if best < 4 else None)
    threads.close()
    assert torch.get_num_threads() == 4


def test_company_comes_and_goes(four_threads, clock):
    threads = FastestThreads(1000)
    assert numbers_of_threads(threads, clock, CROWDED, range(405))[-1] == 1
    assert numbers_of_threads(threads, clock, ALONE, range(405, 800))[-1] == 4  # tried again at 405


def test_a_run_that_goes_on_within_a_trial_waits_for_the_next(four_threads, clock):
    """A run resumed at step 8 has no times of steps 5 to 7 to compare."""
    threads = FastestThreads(1000)
    seen = numbers_of_threads(threads, clock, CROWDED, range(8, 405))
    assert set(seen) == {4}


@pytest.mark.parametrize("fixed", ["environment", "off", "one thread", "short run"])
def test_nothing_is_tried_where_the_number_is_fixed(four_threads, clock, monkeypatch, fixed):
    if fixed == "environment":
        monkeypatch.setenv("OMP_NUM_THREADS", "4")
    torch.set_num_threads(1 if fixed == "one thread" else 4)
    threads = FastestThreads(100 if fixed == "short run" else 1000, on=fixed != "off")
    seen = numbers_of_threads(threads, clock, CROWDED, range(150))
    assert seen == [torch.get_num_threads()] * 150


def test_fit_tries_writes_down_what_it_took_and_gives_all_back(four_threads, monkeypatch):
    monkeypatch.setattr(FastestThreads, "SHORT", 0)
    monkeypatch.setattr(FastestThreads, "GAIN", 0.0)
    monkeypatch.setattr(FastestThreads, "HOPELESS", 100.0)
    monkeypatch.setattr("swin_cifar.run.computes_in_bf16", lambda device: False)
    monkeypatch.setattr("swin_cifar.system.min", lambda numbers, key: 2, raising=False)  # were two fastest
    data, _ = load_shapes10(64, 10)
    recipe = train_config("nano", epochs=9, batch_size=32)  # 18 steps: a trial from 5 to 16
    history = fit(create_model("nano"), data, recipe=recipe, progress=False)
    assert [epoch.threads for epoch in history.epochs[-2:]] == [None, 2]  # not one that was only tried
    assert "on 2 threads" in history.epochs[-1].line(9)
    assert torch.get_num_threads() == 4


def test_bf16_is_used_where_it_is_faster_and_the_recipe_allows_it(monkeypatch):
    """Emulated, it would be many times slower: the same run in float32 and with a CPU that has it."""
    data, _ = load_shapes10(64, 10)
    seen = []
    for amp, fast in ((True, True), (True, False), (False, True)):
        monkeypatch.setattr("swin_cifar.run.computes_in_bf16", lambda device, fast=fast: fast)
        model = create_model("nano")
        model.head.register_forward_hook(lambda _, inputs, output: seen.append(output.dtype))
        fit(model, data, recipe=train_config("nano", epochs=1, batch_size=64, amp=amp), progress=False)
    assert seen == [torch.bfloat16, torch.float32, torch.float32]


@pytest.mark.parametrize("times, answer", [((1.0, 0.6), True), ((1.0, 2.5), False)])
def test_bf16_is_a_matter_of_measured_time(clock, monkeypatch, four_threads, times, answer):
    """Products in float32 and bf16 that take so long, and are now and then held up by another program;
    and those in bf16, if there are several threads, by these."""
    products = iter(range(100))

    def product(x, weight):
        waiting = torch.get_num_threads() > 1 and x.dtype == torch.bfloat16
        held_up = 50 if next(products) in (0, 3, 4) else waiting
        clock.pass_(times[x.dtype == torch.bfloat16] + held_up)

    monkeypatch.setattr("swin_cifar.system.F.conv2d", product)
    computes_in_bf16.cache_clear()
    assert computes_in_bf16(torch.device("cpu")) is answer
    assert torch.get_num_threads() == 4
    computes_in_bf16.cache_clear()


def test_no_bf16_on_devices_where_it_was_never_tried():
    assert computes_in_bf16(torch.device("mps")) is False


# --- accelerators, none of which is needed ----------------------------------------------------


@pytest.mark.parametrize("kind", ["cuda", "mps", "xpu", None])
def test_the_device_is_what_torch_finds(monkeypatch, kind):
    """A torch built for one that is not there still names it as its accelerator."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: kind is not None)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device(kind or "cuda"))
    assert default_device() == (kind or "cpu")


@pytest.mark.parametrize(
    ("name", "error", "why"),
    [
        ("mps", NotImplementedError("Could not run 'aten::empty'\n" * 9), "this torch was built without it"),
        ("hpu", ModuleNotFoundError("No module named 'torch.hpu'"), "this torch was built without it"),
        ("xpu", AssertionError("Torch not compiled with XPU enabled"), "Torch not compiled with XPU enabled"),
        ("cuda:7", RuntimeError("invalid device ordinal\nmore"), "invalid device ordinal"),
    ],
)  # fmt: skip
def test_a_device_that_is_not_here_is_said_in_one_line(monkeypatch, capsys, name, error, why):
    def empty(*sizes, device):
        raise error

    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    monkeypatch.setattr(torch, "empty", empty)
    with pytest.raises(SystemExit):
        main(["evaluate", "--device", name])
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.endswith(f"argument --device: there is no {name} here, use cpu: {why}")


def test_devices_are_named_as_they_name_themselves(monkeypatch):
    for kind in ("cuda", "xpu"):
        monkeypatch.setattr(getattr(torch, kind), "get_device_name", lambda device: f"number {device.index}")
        assert device_name(torch.device(kind, 1)) == "number 1"
    monkeypatch.setattr(torch.backends.mps, "get_name", lambda: "Apple M3", raising=False)
    assert device_name(torch.device("mps")) == "Apple M3"
    monkeypatch.delattr(torch.backends.mps, "get_name")  # as in older versions
    assert device_name(torch.device("mps")) == "MPS"


@pytest.mark.parametrize("kind", ["cuda", "mps", "xpu"])
def test_random_states_are_given_back_and_timings_wait(monkeypatch, kind):
    device, state, waited = torch.device(kind, 0), {}, []
    module = torch.get_device_module(kind)
    monkeypatch.setattr(module, "get_rng_state", lambda device: f"of {device}")
    monkeypatch.setattr(module, "set_rng_state", lambda new, device: state.update({device: new}))
    before = torch.get_rng_state()
    with random_state_kept(device):
        torch.rand(3)
    assert state == {device: f"of {device}"} and torch.equal(torch.get_rng_state(), before)
    monkeypatch.setattr(torch.accelerator, "synchronize", waited.append)
    measure({"nothing": lambda: None}, 3, device)
    assert waited == [device] * 6


@pytest.mark.parametrize("kind", ["cuda", "xpu"])
def test_bf16_that_is_only_emulated_is_not_taken(monkeypatch, kind):
    module = torch.get_device_module(kind)
    monkeypatch.setattr(
        module, "is_bf16_supported", lambda including_emulation=True: including_emulation, raising=False
    )
    computes_in_bf16.cache_clear()
    assert computes_in_bf16(torch.device(kind)) is False
    monkeypatch.setattr(module, "is_bf16_supported", lambda including_emulation=True: True)
    computes_in_bf16.cache_clear()
    assert computes_in_bf16(torch.device(kind)) is True
    computes_in_bf16.cache_clear()
