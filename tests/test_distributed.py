"""Two processes that share every batch end where one process does; one of them writes."""

import os
import socket
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
import torch.multiprocessing

from swin_cifar import distributed
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


def train_as_one_of_two(rank, port, folder):
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    with distributed.process_group("cpu"):
        assert distributed.all_gather(f"from {rank}") == ["from 0", "from 1"]
        torch.save(train_tiny()[1], folder / f"{rank}.pt")


@pytest.fixture
def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_two_processes_get_the_weights_of_one(tmp_path, free_port):
    torch.multiprocessing.spawn(train_as_one_of_two, (free_port, tmp_path), nprocs=2)
    _, alone = train_tiny()
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    _, other = train_tiny(seed=1)
    for name, weight in alone.items():
        assert torch.equal(first[name], second[name]), name
        assert (first[name] - weight).abs().max() <= 1e-6, name
    assert any((other[name] - weight).abs().max() > 1e-2 for name, weight in alone.items())


def test_torchrun_trains_and_one_process_writes(tmp_path):
    train = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "-m", "swin_cifar", "train"]
    options = ["--data", "shapes10", "--device", "cpu", "--epochs", "1", "--validation-size", "49500"]
    run = subprocess.run([*train, *options], cwd=tmp_path, capture_output=True, text=True,
                         env=os.environ | {"OMP_NUM_THREADS": "1"})  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("test accuracy on shapes10") == 1
    runs = tmp_path / "checkpoints" / "runs"
    names = {f"nano_shapes10.{kind}" for kind in ("pt", "json", "png")}
    assert {path.name for path in runs.iterdir()} == names
    history = History.load(runs / "nano_shapes10.json")
    assert history.device == "2 x CPU, 1 thread"
    assert load_checkpoint(runs / "nano_shapes10.pt").history == history
    assert 0.05 < history.epochs[0].train_accuracy < 0.2  # of all pictures, counted once


def test_processes_that_found_different_data_do_not_train(monkeypatch, capsys):
    monkeypatch.setattr(distributed, "all_gather", lambda name: [name, "cifar10"])
    assert main(["train", "--data", "shapes10"]) == 1
    assert "found different data, cifar10 and shapes10: choose with --data" in capsys.readouterr().err


def test_batches_that_cannot_be_shared_equally_are_refused(monkeypatch):
    monkeypatch.setattr(distributed, "world_size", lambda: 3)
    train, _ = load_shapes10(128, 1)
    with pytest.raises(ValueError, match="3 processes cannot share batches of 128"):
        fit(SwinTransformer(model_config("nano")), train, recipe=train_config("nano"))
