"""The command line: what it writes, what it prints, its exit codes, and runs that are interrupted."""

import contextlib
import io
import itertools
import json
import math
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import types
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image

from oracles import enlarge_weights
from swin_cifar import __version__, bench, data, training
from swin_cifar.__main__ import main
from swin_cifar.calibration import calibration_error
from swin_cifar.checkpoint import Checkpoint, CheckpointError, load_checkpoint, save_checkpoint, sha256
from swin_cifar.config import MODELS, RECIPES
from swin_cifar.data import load_folder, load_shapes10
from swin_cifar.history import History
from swin_cifar.model import SwinTransformer, create_model
from swin_cifar.options import parser
from swin_cifar.predict import predict, predict_logits
from swin_cifar.prepare import data_of, new_run
from swin_cifar.system import shows_bars
from swin_cifar.training import evaluate

ROOT = Path(__file__).parents[1]
RUN = Path("checkpoints/runs/nano_shapes10.pt")
SHORT = ("--epochs", "1", "--batch-size", "64", "--validation-size", "32")


@pytest.fixture(scope="module")
def pictures():
    return load_shapes10(256, 64)


@pytest.fixture(scope="module", autouse=True)
def small(pictures):
    """Few pictures, and a tiny `nano` whose recipe draws everything that can be drawn."""

    def load(name="auto", root="data", download=True, notice=None, size=None):
        if name not in ("auto", "shapes10"):
            return data.load_data(name, root, download, size=size)
        if name == "auto":
            notice("CIFAR-10 is not in data and could not be downloaded: no network")
        return pictures

    model = replace(MODELS["nano"], embed_dim=12, depths=(1, 1), num_heads=(3, 3), drop_path_rate=0.2)
    recipe = replace(RECIPES["nano"], mixup_prob=0.3, cutmix_prob=0.3, ema_decay=0.9)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("swin_cifar.prepare.load_data", load)
        patch.setitem(MODELS, "nano", model)
        patch.setitem(RECIPES, "nano", recipe)
        yield


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def train(*options):
    return main(["train", "--preset", "nano", "--device", "cpu", *map(str, options)])


def files(folder="."):
    return {p: p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def finished_run(small, tmp_path_factory):
    """-> the folder of a short run called run.pt, and what it printed."""
    folder = tmp_path_factory.mktemp("finished")
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert train(*SHORT, "--data", "shapes10", "--out", folder / "run.pt") == 0
    return folder, out.getvalue()


@pytest.fixture
def run(finished_run):
    """The path of a finished run's checkpoint, free to be changed."""
    for path in finished_run[0].iterdir():
        shutil.copy(path, ".")
    return "run.pt"


@pytest.fixture
def untrained(pictures):
    """The path of a checkpoint that holds a model without its training."""
    save_checkpoint("plain.pt", SwinTransformer(MODELS["nano"]), pictures[0])
    return "plain.pt"


def the_error(capsys):
    """The one line on stderr."""
    error = capsys.readouterr().err
    assert error.startswith("swin_cifar: error: ") and error.count("\n") == 1 and error.endswith("\n")
    return error


def as_json(history):
    return json.dumps(history.to_dict())


def measured(text):
    name, percent, count = re.search(r"test accuracy on (\w+): ([\d.]+)% of (\d+) pictures", text).groups()
    return name, float(percent), int(count)


# --- train ------------------------------------------------------------------------------


def test_train_writes_checkpoint_history_and_curves(finished_run):
    folder, printed = finished_run
    assert sorted(p.name for p in folder.iterdir()) == ["run.json", "run.png", "run.pt"]
    history = History.load(folder / "run.json")
    assert as_json(load_checkpoint(folder / "run.pt", dataset="shapes10").history) == as_json(history)
    assert (history.train_size, len(history.epochs)) == (224, 1)
    assert history.results.test.count == 64
    assert Image.open(folder / "run.png").size > (600, 200)
    expected = ("shapes10", round(100 * history.accuracy("test"), 2), 64)
    assert measured(printed) == expected
    assert "224 shapes10 pictures" in printed and "32 held out" in printed
    assert "NOT CIFAR-10" not in printed  # it was asked for


def test_a_run_that_starts_beside_another_takes_another_name(monkeypatch):
    def fit_beside_a_second_run(*args, **kwargs):
        monkeypatch.setattr("swin_cifar.__main__.train_and_test", training.train_and_test)
        assert train(*SHORT) == 0  # from start to end, before the first has saved anything
        return training.train_and_test(*args, **kwargs)

    monkeypatch.setattr("swin_cifar.__main__.train_and_test", fit_beside_a_second_run)
    assert train(*SHORT) == 0
    assert {path.name for path in files() if path.suffix == ".pt"} == {RUN.name, "nano_shapes10-2.pt"}


def test_only_the_first_of_several_processes_takes_a_name(monkeypatch):
    monkeypatch.setattr("swin_cifar.__main__.claim_path", lambda path: pytest.fail("a name for nothing"))
    monkeypatch.setattr("swin_cifar.distributed.rank", lambda: 1)
    assert train(*SHORT) == 0
    assert not files()


def test_only_the_first_of_several_processes_writes_for_tensorboard(monkeypatch):
    pytest.importorskip("tensorboard")
    monkeypatch.setattr("swin_cifar.distributed.rank", lambda: 1)
    assert train(*SHORT, "--tensorboard", "board") == 0
    assert not files()


def test_a_run_that_fails_gives_its_name_back(capsys):
    assert train(*SHORT, "--set", "learning_rate=1e30") == 1
    assert "the loss became" in the_error(capsys)
    assert not files()


def test_a_second_run_takes_another_name_and_leaves_the_first(capsys):
    assert train(*SHORT) == 0
    first = files()
    assert set(first) == {RUN, RUN.with_suffix(".json"), RUN.with_suffix(".png")}
    assert train(*SHORT) == 0
    second = RUN.with_stem("nano_shapes10-2")
    assert set(files()) - set(first) == {second, second.with_suffix(".json"), second.with_suffix(".png")}
    assert first.items() <= files().items()
    assert not list(RUN.parent.glob(".*"))  # no claim is left
    warning = [line for line in capsys.readouterr().out.splitlines() if "NOT CIFAR-10" in line]
    assert len(warning) == 2 and "shapes10" in warning[0]  # one line for each run
    assert "could not be downloaded: no network" in warning[0]


def test_where_cifar10_is_nothing_else_is_said(pictures, capsys, monkeypatch):
    named = tuple(replace(part, name="cifar10") for part in pictures)
    monkeypatch.setattr("swin_cifar.prepare.load_data", lambda *args, **options: named)
    assert train(*SHORT) == 0
    printed = capsys.readouterr().out
    assert "NOT CIFAR-10" not in printed and "224 cifar10 pictures" in printed


def test_cifar10_that_cannot_be_had_is_one_line(capsys, monkeypatch):
    def download(kind, root):
        raise OSError("no network")

    monkeypatch.setattr(data, "download_cifar", download)
    assert train("--data", "cifar10") == 1
    assert "CIFAR-10 is not in data" in the_error(capsys)
    assert not files()


def test_a_given_name_that_exists_is_refused(run, capsys):
    before = files()
    assert train(*SHORT, "--out", run) == 2
    assert "run.pt exists" in the_error(capsys)
    assert files() == before


@pytest.mark.parametrize("name", ["run.json", "run.png"])
def test_a_name_that_history_or_curves_would_overwrite_is_refused(name, capsys):
    assert train(*SHORT, "--out", name) == 2
    assert name in the_error(capsys)
    assert not files()


def test_a_place_that_cannot_be_written_is_found_before_training(capsys, monkeypatch):
    def step(*args, **kwargs):
        raise AssertionError("it trains for nothing")

    Path("file").write_text("not a folder", encoding="utf-8")
    monkeypatch.setattr(training, "training_step", step)
    assert train(*SHORT, "--out", "file/run.pt") == 1
    assert "file/run.pt" in the_error(capsys)


def test_an_unknown_preset_is_refused_with_a_suggestion(capsys):
    for command in (["train"], ["bench"]):
        assert main([*command, "--preset", "nanno", "--device", "cpu"]) == 2
        assert "did you mean 'nano'?" in the_error(capsys)
    assert not files()


@pytest.mark.parametrize("options", [("--epochs", 0), ("--batch-size", 0), ("--learning-rate", -1),
                                     ("--validation-size", -1), ("--validation-size", 256)])  # fmt: skip
def test_numbers_that_make_no_sense_are_refused(options, capsys):
    assert train(*options) == 2
    the_error(capsys)
    assert not files()


def test_set_changes_any_field_of_the_recipe():
    assert train(*SHORT, "--set", "label_smoothing=0.2", "--set", "flip=false") == 0
    recipe = load_checkpoint(RUN).history.recipe
    assert (recipe.label_smoothing, recipe.flip, recipe.epochs) == (0.2, False, 1)


@pytest.mark.parametrize("setting", ["label_smooth=0.2", "label_smoothing", "label_smoothing=", "flip=maybe",
                                     'weight_decay="heavy"', "label_smoothing=2"])  # fmt: skip
def test_a_setting_that_makes_no_sense_is_refused(setting, capsys):
    assert train(*SHORT, "--set", setting) == 2
    the_error(capsys)
    assert not files()


def test_more_in_a_batch_than_there_are_pictures_is_refused(capsys):
    assert train(*SHORT, "--batch-size", 225) != 0
    assert "225" in the_error(capsys)


# --- curves -----------------------------------------------------------------------------


def test_train_writes_for_tensorboard_into_a_folder_of_the_run_s_name(capsys, read_board):
    for name in ("nano_shapes10", "nano_shapes10-2"):
        assert train(*SHORT, "--tensorboard", "board") == 0
        history = History.load(RUN.with_stem(name).with_suffix(".json"))
        (point,) = read_board(f"board/{name}")["accuracy/validation"]
        assert point == (1, pytest.approx(history.accuracy("validation"), rel=1e-6))
    assert {path.name for path in Path("board").iterdir()} == {"nano_shapes10", "nano_shapes10-2"}


def test_the_curves_of_a_saved_history(run, finished_run, capsys, read_board):
    drawn = Image.open("run.png").copy()
    for source in ("run.json", "run.pt"):
        Path("run.png").unlink()
        assert main(["curves", source]) == 0
        assert capsys.readouterr().out == "curves in run.png\n"
        assert Image.open("run.png").tobytes() == drawn.tobytes()
    assert main(["curves", "run.pt", "--tensorboard", "board"]) == 0
    assert "tensorboard --logdir board" in capsys.readouterr().out
    epoch = History.load("run.json").epochs[0]
    assert read_board("board/run")["loss/train"] == [(1, pytest.approx(epoch.train_loss, rel=1e-6))]
    before = files()
    assert main(["curves", "run.json", "--tensorboard", "board"]) == 2
    assert "run holds the curves of an earlier run: choose another, or delete it" in the_error(capsys)
    assert files() == before


def test_what_has_no_curves_is_one_line(untrained, capsys):
    Path("text.json").write_text("hello")
    for source, says in ((untrained, "plain.pt holds no epoch"), ("text.json", "text.json holds no history"),
                         ("missing.json", "missing.json"), ("missing.pt", "no checkpoint at")):  # fmt: skip
        assert main(["curves", source]) > 0
        assert says in the_error(capsys)
    assert not list(Path().glob("*.png"))


def test_a_missing_tensorboard_is_one_line_before_anything_is_read(run, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    monkeypatch.setattr("swin_cifar.prepare.load_data", lambda *_, **__: pytest.fail("read for nothing"))
    before = files()
    for command in (["train"], ["train", "--resume", run], ["curves", run]):
        assert main([*command, "--tensorboard", "board"]) == 1
        assert "install it: python -m pip install tensorboard" in the_error(capsys)
    assert files() == before


def test_a_tensorboard_that_cannot_be_written_is_one_line_before_training(capsys, monkeypatch):
    pytest.importorskip("tensorboard")
    monkeypatch.setattr(training, "training_step", lambda *_: pytest.fail("it trains for nothing"))
    Path("file").write_text("not a folder")
    before = files()
    assert train(*SHORT, "--tensorboard", "file") == 1
    assert "cannot write into the folder file" in the_error(capsys)
    assert files() == before


def test_the_home_folder_may_be_written_as_a_tilde(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    assert train(*SHORT, "--out=~/run.pt") == 0
    home = tmp_path / "home"
    assert {path.name for path in home.glob("run*")} == {"run.pt", "run.json", "run.png"}
    assert train(*SHORT, "--out=~/run.pt") == 2
    assert "exists already" in the_error(capsys)
    assert not Path("~").exists()


def test_without_a_preset_the_device_decides(monkeypatch):
    """A GPU that is there and not asked for is no reason to train the large model."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    model, *_ = new_run(parser("").parse_args(["train", "--device", "cpu"]))
    assert model.config == MODELS["nano"]


def test_what_was_frozen_learns_again_unless_it_is_asked_for_again():
    assert train(*SHORT, "--freeze", "1", "--out", "frozen.pt") == 0
    assert main(["train", "--device", "cpu", "--from", "frozen.pt", *SHORT, "--out", "free.pt"]) == 0
    assert [load_checkpoint(f"{name}.pt").history.recipe.frozen_stages for name in ("frozen", "free")] == [
        1,
        0,
    ]


def test_the_same_classes_in_another_order_are_named(pictures):
    dataset = {"name": "shapes10", "classes": pictures[0].classes[::-1]}
    checkpoint = Checkpoint(create_model("nano"), dataset, None, None)
    with pytest.raises(ValueError, match="run.pt knows the classes of shapes10 in another order, .*, "):
        data_of(checkpoint, None, "data", "run.pt")


def test_a_run_of_no_epoch_leaves_no_curves_in_the_way(press_ctrl_c):
    pytest.importorskip("tensorboard")
    press_ctrl_c(1, times=2)
    assert train(*SHORT, "--tensorboard", "board") == 1
    press_ctrl_c()
    assert train(*SHORT, "--tensorboard", "board") == 0


# --- interrupted runs -------------------------------------------------------------------


@pytest.fixture
def press_ctrl_c(monkeypatch):
    """-> a function: from now on Ctrl-C is pressed in the steps of these numbers, counted from 1."""
    step = training.training_step

    def press(*numbers, times=1):
        count = itertools.count(1)

        def stepping(*args, **kwargs):
            if next(count) in numbers:
                for _ in range(times):
                    signal.raise_signal(signal.SIGINT)
            return step(*args, **kwargs)

        monkeypatch.setattr(training, "training_step", stepping)

    return press


def test_an_interrupted_run_goes_on_to_the_very_same_weights(press_ctrl_c, capsys):
    """By the command that is printed."""
    options = ("--epochs", "3", *SHORT[2:], "--data-root", "other data")  # 3 steps an epoch
    assert train(*options, "--out", "whole.pt") == 0
    handler = signal.getsignal(signal.SIGINT)
    press_ctrl_c(2)
    assert train(*options) == 1
    # From there at the end of the first epoch, then in the middle of the second.
    for saved_step, steps_from_there in ((2, 1), (3, 2)):
        assert load_checkpoint(RUN).resume_state["step"] == saved_step
        printed = capsys.readouterr()
        command = shlex.split(printed.out.split("from what is saved: ")[1].splitlines()[0])
        assert command[:3] == ["python", "-m", "swin_cifar"] and command[-2:] == ["--data-root", "other data"]
        assert "interrupted" in printed.err and "Traceback" not in printed.err
        assert signal.getsignal(signal.SIGINT) == handler
        press_ctrl_c(steps_from_there)
        assert main(command[3:]) == 1
    press_ctrl_c()
    assert main(command[3:]) == 0

    whole, pieced = load_checkpoint("whole.pt"), load_checkpoint(RUN)
    ours, theirs = pieced.model.state_dict(), whole.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert pieced.history.results.test == whole.history.results.test
    timing = {"seconds", "images_per_second"}
    ours, theirs = (
        [{k: v for k, v in asdict(epoch).items() if k not in timing} for epoch in c.history.epochs]
        for c in (pieced, whole)
    )
    assert len(ours) == 3 and ours == theirs
    assert pieced.resume_state is None
    assert as_json(History.load(RUN.with_suffix(".json"))) == as_json(pieced.history)
    assert RUN.with_suffix(".png").exists()


def test_an_interrupted_run_holds_a_model_that_can_be_used(press_ctrl_c, capsys):
    press_ctrl_c(2)
    assert train(*SHORT) == 1
    assert load_checkpoint(RUN).resume_state["step"] == 2
    assert main(["evaluate", "--device", "cpu"]) == 0
    assert "test accuracy on shapes10" in capsys.readouterr().out


def test_a_second_ctrl_c_does_not_claim_that_the_run_was_saved(press_ctrl_c, capsys):
    press_ctrl_c(2, times=2)
    assert train(*SHORT) == 1
    assert not RUN.exists()
    printed = capsys.readouterr()
    assert "saved" not in printed.out and "--resume" not in printed.out
    assert "interrupted" in printed.err


def test_resuming_a_finished_run_says_so_and_writes_nothing(run, finished_run, capsys, monkeypatch):
    before = files()
    monkeypatch.setattr("swin_cifar.prepare.load_data", lambda *args: pytest.fail("loaded for nothing"))
    assert main(["train", "--resume", run, "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert "run.pt has finished already" in printed and measured(printed) == measured(finished_run[1])
    assert files() == before


def test_a_run_that_ended_before_it_was_tested_is_tested(run, finished_run, capsys):
    content = torch.load(run, weights_only=True)
    del content["history"]["results"]["test"]
    torch.save(content, run)
    assert main(["train", "--resume", run, "--device", "cpu"]) == 0
    assert measured(capsys.readouterr().out) == measured(finished_run[1])
    assert load_checkpoint(run).history.results.test.count == 64


def test_a_published_file_is_never_written_over(untrained, pictures, capsys):
    shutil.copy(untrained, "published.pt")
    Path("SHA256SUMS").write_text(f"{sha256('published.pt')}  published.pt\n", encoding="utf-8")
    before = files()
    with pytest.raises(CheckpointError, match="published file, and stays as it is"):
        save_checkpoint("published.pt", SwinTransformer(MODELS["nano"]), pictures[0])
    Path("published.pt").rename("elsewhere.pt")
    assert train(*SHORT, "--out", "published.pt") == 1
    assert "published file" in the_error(capsys)
    Path("elsewhere.pt").rename("published.pt")
    assert files() == before


def test_finished_runs_are_taken_before_newer_unfinished_ones(run, press_ctrl_c, capsys):
    RUN.parent.mkdir(parents=True)
    for name in ("run.pt", "run.json"):
        shutil.move(name, RUN.parent / name)
    press_ctrl_c(2)
    assert train(*SHORT) == 1
    capsys.readouterr()
    assert main(["evaluate", "--device", "cpu"]) == 0
    assert "run.pt, trained on shapes10" in capsys.readouterr().out


def test_where_there_is_nothing_else_the_model_that_ships_is_taken(tmp_path, monkeypatch, untrained, capsys):
    shipped = tmp_path / "elsewhere"
    shipped.mkdir()
    shutil.move(untrained, shipped / "shipped.pt")
    monkeypatch.setattr("swin_cifar.__main__.SHIPPED", shipped)
    assert main(["evaluate", "--device", "cpu"]) == 0
    assert "shipped.pt, trained on shapes10" in capsys.readouterr().out


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_names_in_any_script_stop_nothing(untrained, encoding):
    Image.new("RGB", (9, 9)).save("a.gif")
    command = [sys.executable, "-m", "swin_cifar", "predict", "猫.png", "a.gif", "http://127.0.0.1:1/猫.png"]
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [*command, "--checkpoint", untrained], capture_output=True, text=True, env=environment
    )
    assert run.returncode == 1
    assert "a.gif: " in run.stdout and "Traceback" not in run.stderr
    lines = run.stderr.splitlines()
    assert (
        len(lines) == 2 and r"there is no file \u732b.png" in lines[0] and "could not be fetched" in lines[1]
    )


def test_where_no_terminal_is_there_is_a_line_for_each_epoch_and_no_bar(finished_run, press_ctrl_c, capsys):
    assert "steps/s" not in finished_run[1] and "\r" not in finished_run[1]
    assert re.search(r"^epoch 1/1  loss ", finished_run[1], re.MULTILINE)


@pytest.mark.parametrize(("module", "shown"), [("ipykernel.iostream", True), ("_io", False)])
def test_a_notebook_shows_the_bar_and_a_file_does_not(module, shown, monkeypatch):
    stream = type("Stream", (io.StringIO,), {"__module__": module})()
    monkeypatch.setattr(sys, "stdout", stream)
    assert shows_bars() == shown


def test_the_version_is_printed(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0 and capsys.readouterr().out == f"swin_cifar {__version__}\n"


def test_the_old_name_of_a_preset_is_one_line(capsys):
    assert train("--preset", "base", *SHORT, "--batch-size", "225") == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first == "swin_cifar: the preset 'base' is called 'mini' now"
    assert second.startswith("swin_cifar: error: ")


@pytest.mark.parametrize("options", [("--epochs", "2"), ("--set", "flip=false"), ("--out", "other.pt"),
                                     ("--preset", "nano", "--batch-size", "8")])  # fmt: skip
def test_resume_takes_no_other_recipe(run, capsys, options):
    before = files()
    assert main(["train", "--resume", run, "--device", "cpu", *options]) == 2
    error = the_error(capsys)
    assert all(option in error for option in options if option.startswith("--"))
    assert files() == before


def test_resume_takes_no_other_data(run, capsys):
    assert main(["train", "--resume", run, "--device", "cpu", "--data", "cifar10"]) == 2
    assert "--data" in the_error(capsys)


def test_resume_needs_a_run(untrained, capsys):
    assert main(["train", "--resume", untrained, "--device", "cpu"]) == 2
    assert "no run to continue" in the_error(capsys)
    assert main(["train", "--resume", "missing.pt", "--device", "cpu"]) == 1
    assert "no checkpoint at missing.pt" in the_error(capsys)


def test_a_run_that_could_not_be_saved_again_is_not_resumed(press_ctrl_c, capsys):
    press_ctrl_c(2)
    assert train(*SHORT, "--out", "run.pt") == 1
    Path("run.pt").rename("run.bin")
    press_ctrl_c(1)
    capsys.readouterr()
    assert main(["train", "--resume", "run.bin", "--device", "cpu"]) == 2
    assert "run.bin" in the_error(capsys)


# --- evaluate and predict ---------------------------------------------------------------


def test_evaluate_prints_the_accuracy_that_training_printed(run, finished_run, capsys):
    assert main(["evaluate", run, "--device", "cpu"]) == 0
    assert measured(capsys.readouterr().out) == measured(finished_run[1])


def test_evaluate_and_predict_use_the_temperature(run, pictures, capsys):
    """And say which; a checkpoint without one is at 1."""
    Image.new("RGB", (9, 9), "red").save("red.png")
    shares = []
    for temperature in (None, 0.25):
        content = torch.load(run, weights_only=True)
        content["history"]["results"] |= {"temperature": temperature} if temperature else {}
        torch.save(content, run)
        T = temperature or 1.0
        assert main(["evaluate", run, "--device", "cpu"]) == 0
        model, test = load_checkpoint(run).model, pictures[1]
        logits = predict_logits(model, test)
        errors = [calibration_error((logits / t).softmax(1), test.labels) for t in (1, T)]
        assert errors[0] != errors[1] or not temperature
        printed = capsys.readouterr().out
        assert f"expected calibration error in 15 bins: {errors[0]:.2%}" in printed
        ending = f", with the temperature 0.25 {errors[1]:.2%}\n"
        assert printed.endswith(ending if temperature else "; no temperature was fitted\n")
        assert main(["predict", "red.png", "--json", "--checkpoint", run, "--device", "cpu"]) == 0
        answer = json.loads(capsys.readouterr().out)
        assert answer["temperature"] == T
        shares.append(dict(answer["classes"]))
    before, after = shares
    assert list(before) == list(after)
    first, second = list(before)[:2]
    assert after[first] / after[second] == pytest.approx((before[first] / before[second]) ** 4, rel=1e-3)


def test_evaluate_refuses_other_data(run, capsys):
    assert main(["evaluate", run, "--device", "cpu", "--data", "cifar10"]) == 1
    assert "trained on shapes10, not on cifar10" in the_error(capsys)


def test_predict_names_the_good_pictures_and_the_bad_ones(untrained, pictures, capsys):
    Image.new("RGB", (50, 30), "red").save("good.png")
    Path("bad.png").write_text("not a picture", encoding="utf-8")
    command = ["predict", "bad.png", "n" * 300, "http://127.0.0.1:x/", "good.png", "missing.png"]
    assert main([*command, "--checkpoint", untrained, "--device", "cpu"]) == 1
    out, err = capsys.readouterr()
    answer = next(line for line in out.splitlines() if line.startswith("good.png: "))
    assert answer.split()[1] in pictures[0].classes
    assert len(re.findall(r"\d+\.\d%", answer)) == 3
    assert "trained on shapes10" in out
    for bad in ("bad.png", "n" * 300, "http://127.0.0.1:x/", "missing.png"):
        assert len([line for line in err.splitlines() if bad in line]) == 1
    assert "Traceback" not in err


def test_predict_of_good_pictures_alone_succeeds(untrained, capsys):
    Image.new("L", (9, 9)).save("good.png")
    assert main(["predict", "good.png", "--checkpoint", untrained, "--device", "cpu"]) == 0
    assert not capsys.readouterr().err


def test_predict_takes_folders_and_standard_input_and_says_as_many_as_asked_for(
    untrained, pictures, capsys, monkeypatch
):
    Path("some/below").mkdir(parents=True)
    for name, colour in (("some/a.png", "red"), ("some/below/b.jpg", "green"), ("some/notes.txt", "")):
        Image.new("RGB", (9, 9), colour).save(name) if colour else Path(name).write_text("hello")
    Path("none").mkdir()
    given = io.BytesIO(Path("some/a.png").read_bytes())
    monkeypatch.setattr("sys.stdin", types.SimpleNamespace(buffer=given))
    command = ["predict", "some", "none", "-", "--checkpoint", untrained, "--device", "cpu"]
    assert main([*command, "--top", "2", "--json"]) == 1
    out, err = capsys.readouterr()
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["picture"] for line in lines] == [
        str(Path("some/a.png")),
        str(Path("some/below/b.jpg")),
        "-",
    ]
    assert lines[0]["classes"] == lines[2]["classes"] != lines[1]["classes"]
    for line in lines:
        (_, first), (_, second) = line["classes"]
        assert first >= second
    assert "there are no pictures in none" in err and err.count("\n") == 1
    with pytest.raises(SystemExit):
        main([*command, "--top", "0"])
    assert "a whole number of at least 1, not 0" in capsys.readouterr().err


def test_many_pictures_are_answered_in_batches_as_one_by_one(untrained, capsys, monkeypatch):
    for i in range(5):
        Image.new("RGB", (9, 9), (50 * i, 9, 9)).save(f"{i}.png")
    command = ["predict", *(f"{i}.png" for i in range(5)), "--checkpoint", untrained, "--device", "cpu"]
    assert main(command) == 0
    at_once = capsys.readouterr().out
    monkeypatch.setattr("swin_cifar.__main__.PREDICT_BATCH", 2)
    assert main(command) == 0
    assert capsys.readouterr().out == at_once


# --- a folder of one's own pictures -----------------------------------------------------


@pytest.fixture
def pets():
    """A folder of two classes, twelve pictures each: dark and light ones."""
    for label, name in enumerate(("dark", "light")):
        Path("pets", name).mkdir(parents=True)
        for i in range(12):
            Image.new("RGB", (20, 30), (100 * label + i, 120 * label, 9 * i)).save(f"pets/{name}/{i}.png")
    return "pets"


def test_a_folder_is_trained_on_evaluated_interrupted_and_continued(pets, press_ctrl_c, capsys):
    assert train("--data", pets, "--epochs", "2", "--size", "24") == 0
    out = capsys.readouterr().out
    path = Path("checkpoints/runs/nano_pets.pt")
    saved = load_checkpoint(path)
    assert saved.dataset["name"] == "pets" and tuple(saved.dataset["classes"]) == ("dark", "light")
    assert saved.model.config.image_size == 24 and saved.model.config.num_classes == 2
    history = saved.history
    assert (history.train_size, history.validation_size, history.recipe.batch_size) == (18, 2, 8)
    assert history.results.test.count == 4

    assert main(["evaluate", str(path), "--data", pets, "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert measured(printed) == measured(out)
    assert (
        "measured on 4 pictures, the fifth of pets held out to test: the model was trained on this folder\n"
        in printed
    )
    assert main(["evaluate", str(path), "--device", "cpu"]) == 2
    assert "was trained on a folder named pets: say where it is, with --data FOLDER" in the_error(capsys)
    assert main(["predict", "pets/dark/0.png", "--checkpoint", str(path), "--device", "cpu"]) == 0
    assert "dark" in capsys.readouterr().out

    press_ctrl_c(1)
    assert train("--data", pets, "--epochs", "2", "--out", "half.pt") == 1
    assert main(["train", "--resume", "half.pt", "--data", pets, "--device", "cpu"]) == 0
    assert len(load_checkpoint("half.pt").history.epochs) == 2


@pytest.fixture
def pets_model(pets, tmp_path):
    """The path of a model of the pets, as if trained on them; its answers differ from picture to picture."""
    data, _ = load_folder(pets, size=16)
    model = SwinTransformer(replace(MODELS["nano"], image_size=16, num_classes=2))
    enlarge_weights(model)
    save_checkpoint("pets.pt", model, data)
    return "pets.pt"


def evaluated(model, folder, capsys):
    """-> what `evaluate` says it measured; how many pictures they are, how many of them right, the loss"""
    assert main(["evaluate", model, "--data", str(folder), "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    _, percent, count = measured(out)
    said, which = re.search(r"^measured on (\d+) pictures, (.*)$", out, re.MULTILINE).groups()
    assert int(said) == count
    loss = float(re.search(r"pictures, loss ([\d.]+)$", out, re.MULTILINE)[1])
    return which, (count, round(percent * count / 100), loss)


def one_by_one(model, folder):
    """-> the same numbers, from what `predict` says of each picture for the class that its folder names"""
    checkpoint = load_checkpoint(model)
    answers = [(path.parent.name, predict(checkpoint, path)) for path in sorted(Path(folder).rglob("*.png"))]
    losses = [-math.log(dict(answer)[name]) for name, answer in answers]
    right = sum(answer[0][0] == name for name, answer in answers)
    return len(answers), right, pytest.approx(sum(losses) / len(losses), abs=1e-3)


def test_a_folder_that_the_model_was_not_trained_on_is_measured_whole(pets_model, pets, capsys):
    shutil.copytree(pets, "others")
    for i in range(9):
        Image.new("RGB", (20, 30), (9 * i, 120, 100)).save(f"others/light/{20 + i}.png")
        Path(f"others/dark/{i}.png").unlink()
    which, found = evaluated(pets_model, "others/", capsys)
    assert which == "all of others/: the model was not trained on this folder"
    assert found == one_by_one(pets_model, "others") and found[0] == 24
    shutil.rmtree("others/dark")  # one class of two; and too few to be split
    for path in sorted(Path("others/light").iterdir())[1:]:
        path.unlink()
    which, found = evaluated(pets_model, "others", capsys)
    assert which == "all of others: the model was not trained on this folder"
    assert found == one_by_one(pets_model, "others") and found[0] == 1


def test_labels_and_mean_of_a_folder_are_the_model_s(pets_model, pets, capsys):
    """Whose classes need not be in the order of the alphabet, as a folder's are."""
    content = torch.load(pets_model, weights_only=True)
    shutil.copytree(pets, "others")
    content["dataset"] |= {"classes": ("light", "dark"), "mean": (0.1, 0.9, 0.2), "name": "shades"}
    torch.save(content, "turned.pt")
    which, found = evaluated("turned.pt", "others", capsys)
    assert found == one_by_one("turned.pt", "others") and found[0] == 24
    assert which == "all of others: the model was not trained on this folder"


def test_of_the_folder_trained_on_the_fifth_is_measured_under_any_name(pets_model, pets, capsys):
    test = evaluate(load_checkpoint(pets_model).model, load_folder(pets, size=16)[1])
    expected = (4, round(4 * test.accuracy), pytest.approx(test.loss, abs=1e-3))
    for name in (pets, shutil.copytree(pets, "renamed")):
        words = f"the fifth of {name} held out to test: the model was trained on this folder"
        assert evaluated(pets_model, name, capsys) == (words, expected)
    for i in range(30, 36):  # it has grown since: what was trained on is still in it
        Image.new("RGB", (20, 30), (9 * i % 256, 7, 7)).save(f"pets/dark/{i}.png")
    which, found = evaluated(pets_model, pets, capsys)
    words = "the fifth of pets held out to test: the model was trained on a folder of this name"
    assert which == words and found[0] == 6
    shutil.rmtree("pets/light")
    assert main(["evaluate", pets_model, "--data", pets, "--device", "cpu"]) == 1
    assert "the class 'light' has 0 picture" in the_error(capsys)


def test_the_pictures_to_train_are_called_so(pets, capsys):
    for name in ("dark", "light"):
        for part in ("train", "test"):
            Path("parted", part, name).mkdir(parents=True)
        for path in Path(pets, name).iterdir():
            shutil.move(path, Path("parted", "test" if path.stem in "34" else "train", name, path.name))
    data, _ = load_folder("parted", size=16)
    save_checkpoint("a.pt", SwinTransformer(replace(MODELS["nano"], image_size=16, num_classes=2)), data)
    for part, count, words in (
        ("parted", 4, "those to test"),
        ("parted/train", 20, "all of parted/train: the model was trained on these"),
        ("parted/test", 4, "all of parted/test: the model was not trained on this folder"),
    ):
        which, found = evaluated("a.pt", part, capsys)
        assert (which, found[0]) == (words, count)


def test_of_a_folder_each_class_is_held_out_to_validate(pets, monkeypatch):
    for name in ("grey", "red"):
        Path(pets, name).mkdir()
        for i in range(6):
            colour = (20 * i + 90, 0, 0) if name == "red" else (20 * i + 90,) * 3
            Image.new("RGB", (20, 30), colour).save(f"{pets}/{name}/{i}.png")
    seen = []
    monkeypatch.setattr(
        "swin_cifar.__main__.train_and_test", lambda *args, **_: seen.extend(args[1:3]) or 1 / 0
    )
    with pytest.raises(ZeroDivisionError):
        train("--data", pets, "--validation-size", "4")
    others, validation = seen
    assert validation.labels.bincount().tolist() == [1, 1, 1, 1] and len(others) == 26


def test_a_run_begins_with_other_weights_and_names_its_parent(pets, run, capsys):
    parent = load_checkpoint(run).model
    assert train("--data", pets, "--epochs", "1", "--from", run, "--freeze", "1") == 2
    assert "--from takes the architecture from the file: leave out --preset" in the_error(capsys)
    command = ["train", "--device", "cpu", "--data", pets, "--epochs", "1", "--from", run]
    assert main([*command, "--freeze", "1"]) == 0
    out = capsys.readouterr().out
    assert "weights of run.pt (swin_cifar):" in out and re.search(r"new +2 +head.weight, head.bias", out)
    saved = load_checkpoint("checkpoints/runs/run_pets.pt")
    assert saved.history.parent == "run.pt" and saved.history.recipe.frozen_stages == 1
    assert saved.history.recipe.body_lr_scale < 1
    for name, weight in saved.model.named_parameters():
        before = parent.get_parameter(name)
        kept = weight.shape == before.shape and torch.equal(weight, before)
        assert kept == name.startswith(("patch_embed.", "stages.0.")), name


def test_a_finished_run_goes_on_as_a_new_one_with_its_head(run, capsys):
    command = ["train", "--device", "cpu", "--data", "shapes10", *SHORT]
    tiny = ("--set", "learning_rate=1e-9", "--set", "min_learning_rate=0", "--set", "optimizer=adamw")
    assert main([*command, "--from", run, *tiny]) == 0
    assert "new" not in capsys.readouterr().out
    saved, parent = load_checkpoint("checkpoints/runs/run_shapes10.pt"), load_checkpoint(run)
    assert torch.allclose(saved.model.head.weight, parent.model.head.weight, atol=1e-6)
    assert saved.history.parent == "run.pt" and len(saved.history.epochs) == 1
    assert saved.history.recipe.optimizer == "adamw"
    assert saved.history.recipe.ema_decay == parent.history.recipe.ema_decay


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--from", "nothing.pt"), "no file of weights at nothing.pt"),
        (("--from", "text.pt"), "text.pt is damaged or no file of weights"),
        (("--from", "run.pt", "--freeze", "7"), "cannot freeze 7 stages of a model that has 2"),
        (("--freeze", "-1"), "frozen_stages must not be negative"),
    ],
)
def test_what_cannot_be_begun_with_is_one_line_and_leaves_nothing(run, capsys, options, says):
    Path("text.pt").write_text("hello")
    before = files()
    assert main(["train", "--device", "cpu", "--data", "shapes10", *SHORT, *options]) > 0
    assert says in the_error(capsys) and files() == before


def test_another_window_and_another_patch(run, pictures, capsys):
    command = ["train", "--device", "cpu", "--data", "shapes10", *SHORT, "--from", run]
    assert main([*command, "--window-size", "2", "--patch-size", "2", "--out", "other.pt"]) == 0
    config = load_checkpoint("other.pt").model.config
    assert (config.window_size, config.patch_size) == (2, 2)
    assert re.search(r"resized +\d+ +.*proj.weight", capsys.readouterr().out)


def test_resume_names_its_options_as_they_are_typed(run, capsys):
    options = ("--freeze", "1", "--from", "other.pt", "--window-size", "2")
    assert main(["train", "--resume", run, "--device", "cpu", *options]) == 2
    error = the_error(capsys)
    assert all(name in error for name in ("--freeze", "--from", "--window-size"))


@pytest.mark.parametrize("command", ["train", "evaluate run.pt"])
def test_an_unknown_data_set_is_one_line_that_names_those_there_are(command, run, capsys):
    before = files()
    assert main([*command.split(), "--data", "mnist", "--device", "cpu"]) == 2
    assert "unknown data set 'mnist'; there are: auto, cifar10, cifar100, fashion-mnist" in the_error(capsys)
    assert files() == before


def test_a_folder_of_other_classes_is_not_taken_for_the_one_trained_on(pets, run, capsys):
    assert main(["evaluate", run, "--data", pets, "--device", "cpu"]) == 2
    assert "run.pt knows other classes than pets; not in both: " in the_error(capsys)


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_models_take_pictures_in_colour_and_the_other_way_round(channels, pictures, capsys):
    data = pictures[0].with_channels(channels)
    model = SwinTransformer(replace(MODELS["nano"], in_channels=channels))
    save_checkpoint("model.pt", model, data)
    Image.new("L", (9, 9), 99).save("grey.png")
    Image.new("RGB", (9, 9), "red").save("red.png")
    assert main(["predict", "grey.png", "red.png", "--checkpoint", "model.pt", "--device", "cpu"]) == 0
    assert main(["evaluate", "model.pt", "--data", "shapes10", "--device", "cpu"]) == 0


def test_the_newest_checkpoint_is_taken(run, pictures, capsys):
    Image.new("L", (9, 9)).save("good.png")
    shutil.copy(run, "run-copy.pt")
    RUN.parent.mkdir(parents=True)
    shutil.move(run, RUN)
    assert main(["predict", "good.png", "--device", "cpu"]) == 0
    assert str(RUN) in capsys.readouterr().out
    shutil.move("run-copy.pt", "checkpoints/newer.pt")
    assert main(["predict", "good.png", "--device", "cpu"]) == 0
    assert "checkpoints/newer.pt" in capsys.readouterr().out.replace("\\", "/")


def test_who_has_trained_nothing_gets_the_best_model_that_ships(pictures, capsys):
    """From any folder, and in the project's own, whatever the files' times."""
    folder = Path(__file__).parents[1] / "checkpoints"
    accuracies = {
        path: History.load(path.with_suffix(".json")).accuracy("test") for path in folder.glob("*.pt")
    }
    best = max(accuracies, key=accuracies.get)
    Image.new("L", (9, 9)).save("good.png")
    for here in ("", "checkpoints"):
        if here:
            shutil.copytree(folder, here, ignore=shutil.ignore_patterns("runs"))
            for path in accuracies:
                os.utime(Path(here, path.name), (1, 1 if path == best else 2))
        assert main(["predict", "good.png", "--device", "cpu"]) == 0
        found = capsys.readouterr().out
        assert best.name in found and not any(path.name in found for path in accuracies if path != best)
    assert len(accuracies) > 1


@pytest.mark.parametrize("command", [["evaluate"], ["predict", "picture.png"]])
def test_without_any_checkpoint_it_says_to_train(command, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("swin_cifar.__main__.SHIPPED", tmp_path)
    assert main([*command, "--device", "cpu"]) == 1
    assert "python -m swin_cifar train" in the_error(capsys)


@pytest.mark.parametrize("content", [b"", b"garbage" * 99])
def test_a_damaged_checkpoint_is_one_line(content, capsys):
    Path("damaged.pt").write_bytes(content)
    assert main(["evaluate", "damaged.pt", "--device", "cpu"]) == 1
    assert "damaged.pt" in the_error(capsys)


def test_a_traceback_is_shown_only_for_debugging(capsys):
    assert main(["evaluate", "missing.pt", "--device", "cpu"]) == 1
    assert "Traceback" not in capsys.readouterr().err
    assert main(["evaluate", "missing.pt", "--device", "cpu", "--debug"]) == 1
    error = capsys.readouterr().err
    assert "Traceback" in error and "swin_cifar: error: no checkpoint at missing.pt" in error


# --- the options themselves -------------------------------------------------------------


@pytest.mark.parametrize("command", [[], ["train"], ["curves"], ["evaluate"], ["predict"], ["bench"]])
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([*command, "--help"])
    assert stopped.value.code == 0
    assert "usage: python -m swin_cifar" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["", "fly", "train --epochs many", "train --device toaster", "predict",
                                     "bench --parts wheels"])  # fmt: skip
def test_options_that_do_not_exist_are_refused(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(command.split())
    assert stopped.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


# --- bench ------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(bench, "bench_data", partial(bench.bench_data, count=20, batch_size=10))
    monkeypatch.setattr(bench, "bench_resolution", partial(bench.bench_resolution, sizes=(8, 16)))


@pytest.mark.parametrize("repeats", [1, 3])
def test_bench_writes_what_it_measured(quick, capsys, repeats):
    options = ["--parts", "resolution", "data", "--repeats", str(repeats), "--out", "new/bench.json"]
    assert main(["bench", "--device", "cpu", *options]) == 0
    result = json.loads(Path("new/bench.json").read_text(encoding="utf-8"))
    assert "models" not in result and result["repeats"] == repeats
    assert [row["tokens"] for row in result["resolution"]] == [16, 64]
    rows = [result["data"]["crop, flip"], *(row["windowed"] for row in result["resolution"])]
    assert all(0 < row["q1"] <= row["median"] <= row["q3"] for row in rows)
    printed = capsys.readouterr().out
    assert "DataLoader, PIL" in printed and "16 x  16 pixels" in printed


def test_bench_refuses_to_measure_nothing(quick, capsys):
    assert main(["bench", "--device", "cpu", "--parts", "resolution", "--repeats", "0"]) == 2
    assert "repeats" in the_error(capsys)


def test_each_line_is_in_a_log_at_once(tmp_path, monkeypatch):
    """Whoever follows the log of a long training sees every epoch when it ends."""
    path = tmp_path / "log"
    with open(path, "w", encoding="utf-8") as log:
        monkeypatch.setattr(sys, "stdout", log)
        assert main(["evaluate", str(tmp_path / "missing.pt")]) == 1
        print("epoch 1/3")
        assert path.read_text(encoding="utf-8").endswith("epoch 1/3\n")
