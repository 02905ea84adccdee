"""Checkpoints: whole or not at all on the disk, and nothing but data in them."""

import errno
import multiprocessing
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from torchvision.models.swin_transformer import SwinTransformer as TorchvisionSwin

from swin_cifar.checkpoint import CheckpointError, load_checkpoint, save_checkpoint, sha256
from swin_cifar.config import SwinConfig, TrainConfig
from swin_cifar.data import load_shapes10
from swin_cifar.history import Epoch, History, Metrics, Results
from swin_cifar.model import SwinTransformer
from swin_cifar.system import claim_path, release_path

CONFIG = SwinConfig(
    patch_size=4, embed_dim=12, depths=(1, 1), num_heads=(3, 3), drop_path_rate=0.1, num_classes=2
)
DATASET = {"name": "animals", "classes": ("ant", "bee"), "mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6)}
HISTORY = History(
    model=CONFIG,
    recipe=TrainConfig(epochs=2),
    dataset="animals",
    train_size=7,
    validation_size=3,
    device="CPU, 1 threads",
    versions={"torch": "2.6"},
    epochs=[Epoch(1, 2.25, 0.1, 1e-3, 1.5, 30.0)],
    results=Results(seconds=1.5, test=Metrics("animals", 4, 1.25, 0.5)),
)

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="forking and signals are POSIX's")


def model_of(seed):
    torch.manual_seed(seed)
    return SwinTransformer(CONFIG)


def same_weights(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture
def path(tmp_path):
    """A good checkpoint of `model_of(0)`."""
    save_checkpoint(tmp_path / "model.pt", model_of(0), DATASET, HISTORY)
    return tmp_path / "model.pt"


def test_claimed_names_differ_until_they_are_given_back(tmp_path):
    path = tmp_path / "new" / "run.pt"
    first, second = claim_path(path), claim_path(path)
    assert (first, second) == (path, path.with_stem("run-2"))
    save_checkpoint(second, model_of(0), DATASET)  # and the first stopped before it saved
    release_path(first)
    assert claim_path(path) == path
    release_path(path)
    save_checkpoint(path, model_of(0), DATASET)
    assert claim_path(path) == path.with_stem("run-3")


def test_a_name_is_given_back_when_the_process_ends(tmp_path):
    """As when notebook 09 runs from its top to resume another run: nothing is saved under the new name."""
    code = "import sys; from swin_cifar.system import claim_path; print(*map(claim_path, 2 * sys.argv[1:]))"
    command = [sys.executable, "-c", code, str(tmp_path / "run.pt")]
    for _ in range(2):
        names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        assert names == [str(tmp_path / name) for name in ("run.pt", "run-2.pt")]
        assert list(tmp_path.iterdir()) == []


def test_a_name_that_another_run_has_taken_by_then_is_left_to_it(tmp_path):
    """The end of a process gives back what it still holds, not what it once held."""
    code = """
import os, sys
from pathlib import Path
from swin_cifar.system import claim_path, release_path, write_atomically

release_path(claim_path("released.pt"))
write_atomically(claim_path("saved.pt"), b"")
os.unlink("saved.pt")
for name in ("released", "saved"):
    Path(f".{name}.pt.claimed").touch()  # the claim of another process
claim_path("held.pt")
os.chdir("/")
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert {path.name for path in tmp_path.iterdir()} == {".released.pt.claimed", ".saved.pt.claimed"}


def test_of_many_at_once_each_gets_a_name_of_its_own(tmp_path):
    with ThreadPoolExecutor(16) as pool:
        names = list(pool.map(claim_path, [tmp_path / "run.pt"] * 64))
    assert len(set(names)) == 64


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="cannot write .*run.pt: "):
        claim_path(tmp_path / "file" / "run.pt")


def change(path, **changes):
    """Write the checkpoint anew with other content, as only a tool or an attacker would."""
    content = torch.load(path, weights_only=True)
    content.update(changes)
    torch.save({k: v for k, v in content.items() if v is not ...}, path)
    return content


# --- round trip -------------------------------------------------------------------------


def test_everything_comes_back(path):
    checkpoint = load_checkpoint(path)
    assert same_weights(checkpoint.model, model_of(0))
    assert checkpoint.model.config == CONFIG
    assert checkpoint.dataset == DATASET
    assert checkpoint.history == HISTORY
    assert checkpoint.resume_state is None


@pytest.mark.parametrize("temperature", [None, 0.75])
def test_a_temperature_comes_back_and_so_does_none(tmp_path, temperature):
    history = replace(HISTORY, results=replace(HISTORY.results, temperature=temperature))
    save_checkpoint(tmp_path / "model.pt", model_of(0), DATASET, history)
    loaded = load_checkpoint(tmp_path / "model.pt")
    assert loaded.history == history == History.load(tmp_path / "model.json")
    assert loaded.temperature == (temperature or 1)
    assert ("temperature" in (tmp_path / "model.json").read_text()) == (temperature is not None)


@pytest.mark.parametrize("temperature", [0, -1.0, float("nan"), float("inf"), "hot"])
def test_a_temperature_that_makes_no_sense_is_refused(path, temperature):
    content = torch.load(path, weights_only=True)
    content["history"]["results"]["temperature"] = temperature
    torch.save(content, path)
    with pytest.raises(CheckpointError, match="temperature|'str'"):
        load_checkpoint(path)


def test_the_history_lies_beside_it_as_json(path):
    assert sorted(p.name for p in path.parent.iterdir()) == ["model.json", "model.pt"]
    assert History.load(path.with_suffix(".json")) == HISTORY


def test_a_loaded_model_is_in_eval_mode_whatever_it_was_saved_in(tmp_path):
    save_checkpoint(tmp_path / "model.pt", model_of(0).train(), DATASET)
    model = load_checkpoint(tmp_path / "model.pt").model
    assert not any(module.training for module in model.modules())


def test_an_image_set_is_saved_by_its_name_classes_and_statistics(tmp_path):
    data, _ = load_shapes10(10, 10)
    save_checkpoint(tmp_path / "model.pt", SwinTransformer(replace(CONFIG, num_classes=10)), data)
    checkpoint = load_checkpoint(tmp_path / "model.pt", dataset="shapes10")
    expected = {"name": "shapes10", "classes": data.classes, "mean": data.mean, "std": data.std}
    assert checkpoint.dataset == expected
    assert checkpoint.history is None


def test_a_checkpoint_can_be_saved_again_from_what_was_loaded(path, tmp_path):
    first = load_checkpoint(path)
    state = {"step": 3, "weights": model_of(1).state_dict()}
    save_checkpoint(tmp_path / "new" / "again.pt", first.model, first.dataset, first.history, state)
    again = load_checkpoint(tmp_path / "new" / "again.pt")
    assert same_weights(again.model, first.model)
    assert (again.dataset, again.history) == (first.dataset, first.history)
    assert again.resume_state["step"] == 3
    assert torch.equal(again.resume_state["weights"]["head.weight"], model_of(1).head.weight)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_of_half_precision_load_as_float32(path, dtype):
    weights = {name: t.to(dtype) for name, t in model_of(0).state_dict().items()}
    change(path, model=weights)
    model = load_checkpoint(path).model
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == torch.float32 and torch.equal(tensor, weights[name].float())
    assert model(torch.randn(1, 3, 32, 32)).dtype == torch.float32


# --- files that are refused -------------------------------------------------------------


def test_a_missing_file_is_not_found(tmp_path):
    for path in (tmp_path / "none.pt", tmp_path):
        with pytest.raises(FileNotFoundError, match="no checkpoint at"):
            load_checkpoint(path)


def test_a_file_cut_off_anywhere_is_refused(path):
    whole = path.read_bytes()
    lengths = [*range(8), *range(10, len(whole), len(whole) // 40), *range(len(whole) - 30, len(whole))]
    for length in lengths:
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match="model.pt is (damaged or truncated|no checkpoint)"):
            load_checkpoint(path)


@pytest.mark.parametrize("garbage", [b"\0" * 5000, b"\x89PNG" * 99, random.Random(0).randbytes(5000),
                                     b"PK\x03\x04" * 99, pickle.dumps([1, 2], protocol=2)])  # fmt: skip
def test_a_file_of_something_else_is_refused(path, garbage):
    path.write_bytes(garbage)
    with pytest.raises(CheckpointError, match="model.pt is"):
        load_checkpoint(path)


def trap(path):
    """An object that creates a file when it is unpickled."""
    return type("Trap", (), {"__reduce__": lambda self: (open, (str(path), "w"))})()


@pytest.mark.parametrize("inside", [lambda t: t, lambda t: {"format": "swin_cifar 1", "config": t}])
@pytest.mark.parametrize(
    "dump", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content, protocol=2))]
)
def test_code_in_a_file_does_not_run(tmp_path, dump, inside):
    sprung = tmp_path / "sprung"
    dump(inside(trap(sprung)), tmp_path / "trap.pt")
    with pytest.raises(CheckpointError, match="nothing was run"):
        load_checkpoint(tmp_path / "trap.pt")
    assert not sprung.exists()


def test_the_trap_is_a_real_one(tmp_path):
    torch.save(trap(tmp_path / "sprung"), tmp_path / "trap.pt")
    torch.load(tmp_path / "trap.pt", weights_only=False).close()
    assert (tmp_path / "sprung").exists()


def test_weights_of_torchvision_are_sent_to_their_own_loader(tmp_path):
    theirs = TorchvisionSwin([4, 4], 12, [2], [3], [4, 4])
    torch.save(theirs.state_dict(), tmp_path / "swin.pth")
    with pytest.raises(CheckpointError, match="swin.pth .*load_torchvision_weights"):
        load_checkpoint(tmp_path / "swin.pth")


@pytest.mark.parametrize("changes", [
    {"depths": (1, 2)}, {"embed_dim": 24}, {"num_classes": 11}, {"window_size": 7}, {"patch_size": 2},
    {"embed_dim": 13}, {"depths": ()}, {"num_heads": 3}, {"colour": "red"},
])  # fmt: skip
def test_another_architecture_than_that_of_the_weights_is_refused(path, changes):
    change(path, config=torch.load(path)["config"] | changes)
    with pytest.raises(CheckpointError, match="model.pt: the weights do not fit the architecture"):
        load_checkpoint(path)


@pytest.mark.parametrize("changes", [
    {"config": ...}, {"model": ...}, {"dataset": ...}, {"history": ...}, {"training": ...},
    {"config": None}, {"model": [1, 2]}, {"model": {"head.weight": "heavy"}}, {"dataset": "animals"},
    {"history": {"colour": "red"}},
])  # fmt: skip
def test_a_checkpoint_that_lacks_a_part_is_refused(path, changes):
    change(path, **changes)
    with pytest.raises(CheckpointError, match="model.pt"):
        load_checkpoint(path, dataset="animals")


@pytest.mark.parametrize("content", [{"format": "swin_cifar 2"}, {}, [1, 2], torch.zeros(3)])
def test_what_has_not_our_format_is_refused(path, content):
    torch.save(content, path)
    with pytest.raises(CheckpointError, match="model.pt is not a swin_cifar checkpoint"):
        load_checkpoint(path)


def test_a_checkpoint_of_other_data_is_refused(path):
    load_checkpoint(path, dataset="animals")
    with pytest.raises(CheckpointError, match="model.pt was trained on animals, not on cifar10"):
        load_checkpoint(path, dataset="cifar10")


# --- saving when the machine fails ------------------------------------------------------


def test_where_only_the_history_cannot_be_written_that_is_said(tmp_path):
    path = tmp_path / "run.pt"
    path.with_suffix(".json").mkdir()
    with pytest.raises(CheckpointError, match="could not write .*run.json: .*checkpoint itself is saved"):
        save_checkpoint(path, model_of(1), DATASET, HISTORY)
    assert same_weights(load_checkpoint(path).model, model_of(1))


@pytest.mark.parametrize("place, error", [
    ("os.fsync", OSError(errno.ENOSPC, "No space left on device")),
    ("torch.save", RuntimeError("No space left on device\nframe #0: in some file")),
])  # fmt: skip
def test_without_disk_space_the_older_checkpoint_stays(path, monkeypatch, place, error):
    def fail(*args):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(place, fail)
        with pytest.raises(
            CheckpointError, match="could not write .*model.pt: .*No space left.*untouched"
        ) as e:
            save_checkpoint(path, model_of(1), DATASET, replace(HISTORY, train_size=8))
    assert "\n" not in str(e.value)
    assert same_weights(load_checkpoint(path).model, model_of(0))
    assert History.load(path.with_suffix(".json")) == HISTORY
    assert sorted(p.name for p in path.parent.iterdir()) == ["model.json", "model.pt"]


@pytest.mark.parametrize("name", ["model.json", "model", "model.pt.old"])
def test_a_name_that_does_not_end_in_pt_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match=f"ends in .pt, got .*{name}"):
        save_checkpoint(tmp_path / name, model_of(0), DATASET, HISTORY)
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    (tmp_path / "folder.pt").mkdir()
    for path in (tmp_path / "file" / "model.pt", tmp_path / "folder.pt"):
        with pytest.raises(CheckpointError, match="could not write"):
            save_checkpoint(path, model_of(0), DATASET)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder.pt"]


def in_a_child(function, *args):
    """A process with a copy of this one's memory, so that torch is not imported anew."""
    child = multiprocessing.get_context("fork").Process(target=function, args=args, daemon=True)
    child.start()
    return child


def _save_on_a_full_disk(path, model, answer):
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limit = path.stat().st_size // 2
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        save_checkpoint(path, model, DATASET, HISTORY)
        answer.send("saved")
    except BaseException as error:
        answer.send(f"{type(error).__name__}: {error}")


@needs_fork
def test_a_write_that_the_system_cuts_short_leaves_the_older_checkpoint(path):
    receiver, sender = multiprocessing.Pipe(duplex=False)
    child = in_a_child(_save_on_a_full_disk, path, model_of(1), sender)
    assert receiver.poll(60)
    message = receiver.recv()
    child.join()
    assert message.startswith("CheckpointError: could not write") and "untouched" in message
    assert "\n" not in message
    assert same_weights(load_checkpoint(path).model, model_of(0))
    assert sorted(p.name for p in path.parent.iterdir()) == ["model.json", "model.pt"]


def _save_for_ever(path, models):
    while True:
        for model in models:
            save_checkpoint(path, model, DATASET)


@pytest.mark.slow
@needs_fork
def test_a_process_killed_while_saving_leaves_a_whole_checkpoint(path):
    models = [model_of(0), model_of(1)]
    moments, survivors, cut = random.Random(0), set(), 0
    for kill in range(400):
        if kill >= 20 and survivors == {0, 1} and cut:  # all that can happen has happened
            break
        before = path.stat().st_mtime_ns
        child = in_a_child(_save_for_ever, path, models)
        while path.stat().st_mtime_ns == before and child.is_alive():
            time.sleep(0.001)  # until it has saved once
        time.sleep(moments.uniform(0, 0.05))
        child.kill()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        found = [same_weights(load_checkpoint(path).model, model) for model in models]
        assert sum(found) == 1
        survivors.add(found.index(True))
        cut += len(list(path.parent.iterdir())) > 2  # killed with a file half written
    assert survivors == {0, 1} and cut > 0
    save_checkpoint(path, models[0], DATASET)
    assert sorted(p.name for p in path.parent.iterdir()) == ["model.json", "model.pt"]


def test_a_flipped_byte_in_the_weights_is_found(tmp_path):
    path = tmp_path / "model.pt"
    save_checkpoint(path, SwinTransformer(SwinConfig(depths=(1,), num_heads=(3,))), load_shapes10(10, 10)[0])
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(path)


def test_a_published_file_that_was_changed_is_refused(path):
    sums = path.with_name("SHA256SUMS")
    sums.write_text(f"{sha256(path)}  {path.name}\n", encoding="utf-8")
    assert load_checkpoint(path).history == HISTORY
    with pytest.raises(CheckpointError, match="published file, and stays as it is: choose another name"):
        save_checkpoint(path, model_of(1), DATASET)
    save_checkpoint(path.with_name("other.pt"), model_of(1), DATASET)
    path.with_name("other.pt").replace(path)  # a good file, but not the published one
    with pytest.raises(CheckpointError, match="git checkout"):
        load_checkpoint(path)
    sums.write_text(f"{sha256(path)}  another.pt\n", encoding="utf-8")
    load_checkpoint(path)
