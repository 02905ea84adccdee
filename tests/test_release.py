"""What is published: its tables say what the histories say, its files what the runs were."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import release
from swin_cifar import create_model, evaluate, load_checkpoint, load_data, load_shapes10, save_checkpoint
from swin_cifar.checkpoint import read_sums, sha256
from swin_cifar.config import SwinConfig, TrainConfig, model_config, train_config
from swin_cifar.history import Epoch, History, Metrics, Results
from swin_cifar.training import train_and_test

ROOT = Path(__file__).parents[1]
SHIPPED = sorted((ROOT / "checkpoints").glob("*.pt"))


def test_the_pages_hold_the_tables_that_the_histories_give():
    for path, text in release.pages().items():
        assert path.read_text(encoding="utf-8") == text, (
            f"run: python checkpoints/release.py ({path} is out of date)"
        )


def test_a_page_without_the_place_of_a_table_is_refused():
    assert (
        release._filled("a <!-- x -->\nold\n<!-- end --> b", {"x": "new"})
        == "a <!-- x -->\nnew\n<!-- end --> b"
    )
    with pytest.raises(ValueError, match="0 places"):
        release._filled("a", {"x": "new"})


def test_every_shipped_file_has_its_sum_and_history():
    sums = read_sums(ROOT / "checkpoints" / "SHA256SUMS")
    assert sums == {path.name: sha256(path) for path in SHIPPED}
    for path in SHIPPED:
        checkpoint = load_checkpoint(path)
        assert checkpoint.history == History.load(path.with_suffix(".json"))
        assert len(checkpoint.history.epochs) == checkpoint.history.recipe.epochs
        assert checkpoint.history.dataset == "cifar10"
        assert path.stat().st_size < 16_000_000


@pytest.mark.slow
@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_model_has_the_accuracy_of_its_card(path):
    _, test = load_data(root=ROOT / "data", download=False)
    if test.name != "cifar10":
        pytest.skip("needs CIFAR-10")
    checkpoint = load_checkpoint(path)
    assert abs(evaluate(checkpoint.model, test).accuracy - checkpoint.history.accuracy("test")) < 0.001


def test_a_run_that_was_paused_takes_no_longer():
    """One epoch of three took an hour, beside which the computer slept."""
    epochs = [Epoch(1, 2.0, 0.3, 1e-3, seconds, 9.0, 2.0, 0.5) for seconds in (60.0, 3600.0, 600.0)]
    results = Results(test=Metrics("", 1, 1.0, 0.5), seconds=4260.0)
    run = History(model_config("nano"), train_config("nano"), "", 1, 1, "", {}, epochs, results)
    assert release._row("", "nano", [run, run])[4] == "30 min"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A short run of `nano`, and an empty folder in place of checkpoints/."""
    torch.manual_seed(0)
    train, test = load_shapes10(600, 500)
    monkeypatch.setattr(release, "load_data", lambda name, root: (train, test))
    monkeypatch.setattr(release, "FOLDER", tmp_path)
    path, recipe = tmp_path / "runs" / "nano_shapes10-2.pt", train_config("nano", epochs=1, cutmix_prob=0.25)
    train_and_test(create_model("nano"), train, test, test, recipe, path, progress=False)
    return path


def test_a_run_that_was_not_tested_is_not_published(run):
    checkpoint = load_checkpoint(run)
    checkpoint.history.results.test = None
    save_checkpoint(run, checkpoint.model, checkpoint.dataset, checkpoint.history)
    with pytest.raises(ValueError, match="was not measured on test pictures"):
        release.publish(run)


def test_a_run_is_published_in_half_precision_with_all_that_belongs_to_it(run):
    release.publish(run)
    names = {path.name for path in run.parents[1].iterdir()} - {"runs"}
    assert names == {"SHA256SUMS", "nano_shapes10.json", "nano_shapes10.png", "nano_shapes10.pt"}
    before, after = load_checkpoint(run), load_checkpoint(run.parents[1] / "nano_shapes10.pt")
    assert before.history == after.history
    for a, b in zip(before.model.parameters(), after.model.parameters()):
        assert torch.equal(a.half().float(), b)
    card = release.card(run.parents[1] / "nano_shapes10.pt")
    assert "303,532" in card and "--set epochs=1 --set cutmix_prob=0.25`" in card
    assert f"{before.history.accuracy('test'):.2%}" in card


def test_a_run_whose_accuracy_is_not_the_recorded_one_is_not_published(run):
    content = torch.load(run, weights_only=True)
    content["history"]["results"]["test"]["accuracy"] += 0.01
    torch.save(content, run)
    with pytest.raises(ValueError, match="half precision"):
        release.publish(run)
    assert not (run.parents[1] / "nano_shapes10.pt").exists()


def test_a_run_of_several_seeds_has_mean_and_deviation():
    histories = [
        History(SwinConfig(), TrainConfig(), "", 1, 1, "CPU, 1 thread", {},
                [Epoch(1, 2.0, 0.3, 1e-3, 700, 9.0, 2.0, a)], Results(700, Metrics("", 9, 1.0, a)))
        for a in (0.5, 0.51)
    ]  # fmt: skip
    row = release._row("name", "nano", histories)
    assert row[:2] == ["name", f"`{release.command('nano', TrainConfig())}`"]
    assert row[3:] == ["1", "12 min", "CPU, 1 thread", "2", "50.50 ± 0.71%", "**50.50 ± 0.71%**"]
    other = release._row("name", "nano", histories, "fine")
    assert other[1] == "`python checkpoints/study.py fine`"  # this shape is not the preset's
    assert release._row("name", "mini", [replace(h, model=model_config("mini")) for h in histories], "x")[
        1
    ].startswith("`python -m swin_cifar train --preset mini")
