"""What is compared is the same network; turns are taken; the figures are medians."""

import json
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from swin_cifar import bench
from swin_cifar.bench import arithmetic_ceiling, measure, one_pass, same_network
from swin_cifar.config import model_config
from swin_cifar.system import count_flops

CPU = torch.device("cpu")


def test_ours_and_torchvisions_are_the_same_network():
    models = same_network(model_config("nano"))
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        ours, theirs = (models[name].eval()(images) for name in ("swin_cifar", "torchvision"))
    assert (ours - theirs).abs().max() <= 1e-5
    counts = {name: sum(p.numel() for p in model.parameters()) for name, model in models.items()}
    assert set(counts.values()) == {303_532}, counts


def test_functions_take_turns_and_medians_are_taken():
    calls = []
    times = measure({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 3, CPU)
    assert calls == ["a", "b"] * 4  # once to warm up
    assert all(t["q1"] <= t["median"] <= t["q3"] for t in times.values())


def test_a_pause_is_measured_in_seconds(monkeypatch):
    clock = iter([0.0, 0.5, 10.0, 10.25, 20.0, 21.0])  # three pauses: of 0.5, 0.25 and 1 s
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    assert measure({"pause": lambda: None}, 3, CPU) == {"pause": {"median": 0.5, "q1": 0.375, "q3": 0.75}}


def test_operations_are_counted_as_two_per_multiply_add():
    model, images = same_network(model_config("nano"))["swin_cifar"], torch.randn(2, 3, 32, 32)
    labels = torch.tensor([1, 2])
    forward, both = (count_flops(one_pass(model, images, labels, backward)) for backward in (False, True))
    qkv_proj_mlp = 2 * 64 * 12 * 48**2 + 2 * 16 * 12 * 96**2  # multiply-adds of both stages' linear maps
    attention = 2 * 2 * 64 * 16 * 48 + 2 * 2 * 16 * 16 * 96
    other = 64 * 48 * 48 + 16 * 192 * 96 + 960  # patch embedding, merging, head
    assert forward == 2 * 2 * (qkv_proj_mlp + attention + other)
    assert 2.9 * forward < both < 3 * forward  # no gradient is needed for the pictures


def test_the_ceiling_is_the_operations_of_a_product_over_its_time(monkeypatch):
    calls = []

    def measure_two_seconds(functions, repeats, device):
        with FlopCounterMode(display=False) as counter:
            functions["product"]()
        calls.append(counter.get_total_flops())
        return {"product": {"median": 3.0, "q1": 2.0, "q3": 4.0}}

    monkeypatch.setattr(bench, "measure", measure_two_seconds)
    assert arithmetic_ceiling(CPU, 3, size=256) == 2 * 256**3 / 2
    assert calls == [2 * 256**3]


@pytest.mark.slow
def test_everything_is_measured_and_reported(capsys):
    result = bench.run("nano", "cpu", batch_size=2, repeats=2, compiled=False)
    assert [part for part in bench.PARTS if part in result] == list(bench.PARTS)
    libraries = set(same_network(model_config("nano")))
    for mode in ("eager forward", "eager forward + backward"):
        assert set(result["models"][mode]) == libraries
    assert set(result["attention"]["forward_and_backward"]) == {"explicit", "fused"}
    assert result["models"]["flops_per_image"]["forward"] == 15_632_256
    text = capsys.readouterr().out
    assert all(words in text for words in ("of ceiling", "implementations of attention", "time, PIL = 1"))
    assert all(name in text for name in libraries)
    json.dumps(result)


def test_where_nothing_compiles_the_rest_is_measured(monkeypatch, capsys):
    def broken(images):
        raise RuntimeError("no compiler\nsecond line")

    monkeypatch.setattr(torch, "compile", lambda model: broken)
    monkeypatch.setattr(bench, "one_pass", lambda model, images, labels, backward: lambda: model(images))
    result = bench.bench_models(model_config("nano"), CPU, 2, 1, True)
    assert "compiled forward: not measured: no compiler\n" in capsys.readouterr().out
    assert "eager forward" in result and "compiled forward" not in result


# --- training beside other programs -----------------------------------------------------


@pytest.mark.slow
def test_training_beside_busy_processes_is_measured_when_asked_for(monkeypatch, capsys):
    ways = dict(list(bench.WAYS.items())[:2])  # each is a process that trains: seconds
    monkeypatch.setattr(bench, "WAYS", ways)
    monkeypatch.setattr(bench, "bench_company", partial(bench.bench_company, busy=(0, 1), count=128))
    result = bench.run("nano", "cpu", repeats=1, parts=["company"])
    assert set(result["company"]) == set(ways) and "models" not in result
    for row in result["company"].values():
        assert list(row) == ["beside 0", "beside 1"]
        assert all(0 < speed["q1"] <= speed["median"] <= speed["q3"] for speed in row.values())
    lines = capsys.readouterr().out.splitlines()[-3:]
    assert lines[0].split()[-2:] == ["0", "1"]
    assert [line.split("  ")[1] for line in lines[1:]] == list(ways)
    json.dumps(result)


def test_ways_to_wait_take_turns_in_fresh_processes(monkeypatch, capsys):
    turns = []

    def speed(environment, count):
        turns.append((environment, count))
        return float(len(turns))

    monkeypatch.setattr(bench, "_speed_of_a_process", speed)
    result = bench.bench_company(CPU, 3, busy=[0], count=7)
    assert turns == [(environment, 7) for environment in bench.WAYS.values()] * 3
    assert [row["beside 0"]["median"] for row in result.values()] == [5, 6, 7, 8]  # turns 1, 5, 9 and so on
    assert "5       6" not in capsys.readouterr().out  # a row for each way


def test_a_process_gets_what_its_way_asks_for_and_nothing_inherited(monkeypatch):
    def run(command, env, **options):
        seen.append((env.get("OMP_NUM_THREADS"), env.get("OMP_WAIT_POLICY"), "PATH" in env))
        return subprocess.CompletedProcess(command, 0, stdout="12.5\n")

    seen, all_threads = [], str(torch.get_num_threads())
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert [bench._speed_of_a_process(way, 128) for way in bench.WAYS.values()] == [12.5] * 4
    assert seen == [
        (None, None, True),
        (all_threads, None, True),
        (all_threads, "PASSIVE", True),
        ("1", None, True),
    ]


def test_company_is_for_processors(capsys):
    assert bench.bench_company(torch.device("cuda"), 1) == {}
    assert "only measured on a CPU, not on cuda" in capsys.readouterr().out


def test_busy_processes_end_on_ctrl_c():
    with pytest.raises(KeyboardInterrupt), bench.busy_processes(2) as processes:
        assert [process.poll() for process in processes] == [None, None]
        raise KeyboardInterrupt
    assert None not in [process.wait(timeout=30) for process in processes]


def test_busy_processes_end_with_what_started_them():
    code = "import os\nfrom swin_cifar import bench\nwith bench.busy_processes(2) as them:\n"
    code += "    print(len(them), flush=True)\n    os._exit(3)  # nothing is cleaned up"
    options = {"cwd": Path(bench.__file__).parents[1], "stdout": subprocess.PIPE, "text": True}
    run = subprocess.run([sys.executable, "-c", code], timeout=60, **options)  # until all have closed stdout
    assert (run.returncode, run.stdout) == (3, "2\n")
