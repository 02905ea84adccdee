"""Two processes that share every batch end where one process does; one of them writes."""

import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.multiprocessing
from torch import distributed as dist

from swin_cifar import distributed, run
from swin_cifar.__main__ import main
from swin_cifar.checkpoint import load_checkpoint
from swin_cifar.config import model_config, train_config
from swin_cifar.data import load_shapes10
from swin_cifar.history import History
from swin_cifar.model import SwinTransformer
from swin_cifar.training import fit

# 20 steps, with all that mixes pictures of a batch or keeps state between steps.
RECIPE = replace(
    train_config("nano"), epochs=2, batch_size=32, mixup_prob=0.3, cutmix_prob=0.3, ema_decay=0.9
)


class DoubleSwin(SwinTransformer):
    """In float64: AdamW divides by a gradient's size, and so enlarges the rounding of tiny ones."""

    def forward(self, images):
        return super().forward(images.double())


def train_tiny(seed=0):
    """-> what two epochs on 320 drawn pictures leave: history and weights."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    train, test = load_shapes10(320, 64)
    model = DoubleSwin(model_config("nano")).double()
    history = fit(model, train, test, RECIPE, progress=False)
    return history, model.state_dict()


@contextmanager
def one_of_two(rank, port):
    """What torchrun sets, in a process that `spawn` started."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    with distributed.process_group("cpu"):
        yield


def train_as_one_of_two(rank, port, folder):
    with one_of_two(rank, port):
        assert distributed.all_gather(f"from {rank}") == ["from 0", "from 1"]
        torch.save(train_tiny()[1], folder / f"{rank}.pt")


def train_whole_and_in_two_parts(rank, port, folder):
    """Ctrl-C reaches process 1 alone, in step 7 of 20; both stop after it, and go on together."""
    torch.set_num_threads(1)
    train, test = load_shapes10(320, 64)
    run.computes_in_bf16 = lambda device: rank == 0  # so neither does

    def make():
        torch.manual_seed(0)
        return SwinTransformer(model_config("nano", drop_path_rate=0.2))

    def press_ctrl_c(module, inputs):
        calls.append(1)
        if len(calls) == 7:
            signal.raise_signal(signal.SIGINT)

    with one_of_two(rank, port):
        whole, stopped, resumed, calls = make(), make(), make(), []
        fit(whole, train, test, RECIPE, progress=False)
        handle = stopped.register_forward_pre_hook(press_ctrl_c) if rank == 1 else None
        with pytest.raises(KeyboardInterrupt):
            fit(stopped, train, test, RECIPE, folder / "run.pt", progress=False)
        if handle:
            handle.remove()
            assert len(calls) == 7  # no step was begun after it
        dist.barrier()  # until process 0 has saved
        assert load_checkpoint(folder / "run.pt").resume_state["step"] == 7
        history = fit(resumed, train, test, RECIPE, folder / "run.pt", resume=True, progress=False)
        same = [torch.equal(a, b) for a, b in zip(whole.state_dict().values(), resumed.state_dict().values())]
        assert all(same) and len(history.epochs) == 2 and "bf16" not in history.device


@pytest.fixture
def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.mark.slow
def test_two_processes_get_the_weights_of_one(tmp_path, free_port):
    torch.multiprocessing.spawn(train_as_one_of_two, (free_port, tmp_path), nprocs=2)
    _, alone = train_tiny()
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    _, other = train_tiny(seed=1)
    for name, weight in alone.items():
        assert torch.equal(first[name], second[name]), name
        assert (first[name] - weight).abs().max() <= 1e-6, name
    assert any((other[name] - weight).abs().max() > 1e-2 for name, weight in alone.items())


@pytest.mark.slow
def test_two_processes_stop_together_and_go_on_to_the_same_weights(tmp_path, free_port):
    torch.multiprocessing.spawn(train_whole_and_in_two_parts, (free_port, tmp_path), nprocs=2)
    assert len(History.load(tmp_path / "run.json").epochs) == 2


@pytest.mark.slow
def test_torchrun_trains_and_one_process_writes(tmp_path):
    train = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "-m", "swin_cifar", "train"]
    emoji = Path(__file__).parents[1] / "notebooks" / "pictures" / "emoji"  # few pictures: quick
    options = ["--data", str(emoji), "--device", "cpu", "--epochs", "1"]
    run = subprocess.run([*train, *options], cwd=tmp_path, capture_output=True, text=True,
                         env=os.environ | {"OMP_NUM_THREADS": "1"})  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("test accuracy on emoji") == 1
    runs = tmp_path / "checkpoints" / "runs"
    names = {f"nano_emoji.{kind}" for kind in ("pt", "json", "png")}
    assert {path.name for path in runs.iterdir()} == names
    history = History.load(runs / "nano_emoji.json")
    assert re.fullmatch("2 x .*, 1 thread(, bf16)?", history.device)
    assert load_checkpoint(runs / "nano_emoji.pt").history == history
    assert 0.05 < history.epochs[0].train_accuracy < 0.4  # of all pictures, counted once: twice is 0.54


def test_processes_that_found_different_data_do_not_train(monkeypatch, capsys):
    monkeypatch.setattr(distributed, "all_gather", lambda name: [name, "cifar10"])
    monkeypatch.setattr("swin_cifar.prepare.load_data", lambda *args, **options: load_shapes10(10, 10))
    assert main(["train", "--data", "shapes10"]) == 1
    assert "found different data, cifar10 and shapes10: choose with --data" in capsys.readouterr().err


def test_batches_that_cannot_be_shared_equally_are_refused(monkeypatch):
    monkeypatch.setattr(distributed, "world_size", lambda: 3)
    train, _ = load_shapes10(128, 1)
    with pytest.raises(ValueError, match="3 processes cannot share batches of 128"):
        fit(SwinTransformer(model_config("nano")), train, recipe=train_config("nano"))
