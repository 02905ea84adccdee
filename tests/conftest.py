"""Shared by all tests: settings of hypothesis, a seed."""

import importlib.util
import json
import shutil
import subprocess
from pathlib import Path

import hypothesis
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from oracles import CONFIG, enlarge_weights
from swin_cifar.model import SwinTransformer

torch.set_num_threads(1)  # most tensors here are too small for two
hypothesis.settings.register_profile("suite", max_examples=25, deadline=None, derandomize=True)
hypothesis.settings.load_profile("suite")


def pytest_collection_modifyitems(items):
    for item in items:
        if {"browser", "in_browser", "graded"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def pieces(tmp_path_factory, monkeypatch):
    """What checks keep in tests reaches neither the repository nor the notebooks that run after them."""
    monkeypatch.setenv("SWIN_CIFAR_PIECES", str(tmp_path_factory.getbasetemp() / "pieces"))


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture
def model():
    """Two stages of two blocks, with large weights, in training mode."""
    return enlarge_weights(SwinTransformer(CONFIG)).train()


@pytest.fixture
def large_tensors():
    """-> context manager(limit) -> a list of the operations that give a tensor of more numbers than that."""

    class Watch(TorchDispatchMode):
        def __init__(self, limit):
            super().__init__()
            self.limit, self.seen = limit, []

        def __enter__(self):
            super().__enter__()
            return self.seen

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor) and out.numel() > self.limit:
                self.seen.append((function, tuple(out.shape)))
            return out

    return Watch


@pytest.fixture(scope="session")
def read_board():
    """-> function(folder) -> {name: [(step, value), ...]} as TensorBoard reads it; of pictures: their size"""
    module = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")

    def read(folder):
        events = module.EventAccumulator(str(folder), {"scalars": 0, "images": 0}).Reload()
        tags = events.Tags()
        found = {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in tags["scalars"]}
        found |= {tag: [(e.step, (e.width, e.height)) for e in events.Images(tag)] for tag in tags["images"]}
        return found

    return read


@pytest.fixture(scope="session")
def in_browser():
    """-> function(script in this folder, arguments): run it on Chrome or Chromium -> the JSON it printed"""
    spec = importlib.util.spec_from_file_location(
        "slides_build", Path(__file__).parents[1] / "slides" / "build.py"
    )
    slides = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(slides)
    missing = [name for name in ("npm", "node") if not shutil.which(name)]
    if missing or not slides.find_browser():
        pytest.skip(f"pages are seen by a browser; missing: {', '.join(missing) or 'Chrome or Chromium'}")
    try:
        slides.fetch_packages()
    except SystemExit as error:
        pytest.skip(str(error))

    def run(script, *arguments):
        path = Path(__file__).with_name(script)
        command = ["node", path, slides.HERE / "node_modules", slides.find_browser(), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run
