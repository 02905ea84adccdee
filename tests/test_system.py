"""Threads are taken by measured time, never in a short run, and given back."""

import pytest
import torch

from swin_cifar import create_model, fit, train_config
from swin_cifar.data import load_shapes10
from swin_cifar.system import FastestThreads, computes_in_bf16


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
    assert [epoch.threads for epoch in history.epochs[-2:]] == [2, 2]
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
def test_bf16_is_a_matter_of_measured_time(clock, monkeypatch, times, answer):
    """Products in float32 and bf16 that take so long, and are now and then held up by another program."""
    products = iter(range(100))

    def product(x, weight):
        held_up = 50 if next(products) in (0, 3, 4) else 0
        clock.pass_(times[x.dtype == torch.bfloat16] + held_up)

    monkeypatch.setattr("swin_cifar.system.F.conv2d", product)
    computes_in_bf16.cache_clear()
    assert computes_in_bf16(torch.device("cpu")) is answer
    computes_in_bf16.cache_clear()


def test_no_bf16_on_devices_where_it_was_never_tried():
    assert computes_in_bf16(torch.device("mps")) is False
