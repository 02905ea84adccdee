"""The training curves: drawn with and without a validation split, saved as a picture."""

import math
import sys
from dataclasses import replace

import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from swin_cifar import History, Metrics, load_shapes10, model_config, train_config
from swin_cifar.curves import plot_history
from swin_cifar.history import Epoch
from swin_cifar.tensorboard import RIGHT, Board, plot_answers, summary_writer, weight_norms


def make_history(validation, epochs=3):
    recipe = train_config("nano", epochs=max(epochs, 1))
    history = History(model_config("nano"), recipe, "cifar10", 45_000, 5_000 * validation, "CPU", {})
    for number in range(1, epochs + 1):
        epoch = Epoch(number, 2 / number, 0.2 * number, 1e-3, 1.0, 45_000 + number)
        if validation:
            epoch.validation_loss, epoch.validation_accuracy = 2.1 / number, 0.19 * number
        history.epochs.append(epoch)
    return history


@pytest.mark.parametrize("validation", [True, False])
def test_the_curves_show_what_the_history_holds(validation):
    history = make_history(validation)
    history.results.test = Metrics("cifar10", 10_000, 1.5, 0.5)
    loss, accuracy, rate, speed = plot_history(history).axes
    labels = [line.get_label() for line in loss.lines]
    assert labels == (["train", "validation"] if validation else ["train"])
    assert loss.lines[0].get_ydata().tolist() == [2, 1, pytest.approx(2 / 3)]
    assert accuracy.lines[0].get_ydata().tolist() == pytest.approx([20, 40, 60])
    if validation:
        assert loss.lines[1].get_ydata().tolist() == pytest.approx([2.1, 1.05, 0.7])
        assert accuracy.lines[1].get_ydata().tolist() == pytest.approx([19, 38, 57])
    assert accuracy.lines[-1].get_ydata() == [50, 50]
    assert max(rate.lines[0].get_ydata()) == history.recipe.learning_rate
    assert speed.lines[0].get_ydata().tolist() == [45_001, 45_002, 45_003]


def test_a_run_that_was_not_tested_has_no_line_for_it():
    accuracy = plot_history(make_history(True)).axes[1]
    assert [line.get_label() for line in accuracy.lines] == ["train", "validation"]


def test_the_curves_are_saved_as_a_picture(tmp_path):
    plot_history(make_history(True, epochs=1)).savefig(tmp_path / "curves.png", dpi=50)
    assert Image.open(tmp_path / "curves.png").width == 600


def test_an_empty_history_cannot_be_drawn():
    with pytest.raises(ValueError, match="no epoch"):
        plot_history(make_history(True, epochs=0))


# --- for TensorBoard --------------------------------------------------------------------


@pytest.mark.parametrize("validation", [True, False])
def test_tensorboard_reads_what_the_history_holds(validation, tmp_path, read_board):
    history = make_history(validation)
    Board(tmp_path / "a" / "run", history.epochs).close()
    found = read_board(tmp_path / "a" / "run")
    parts = ("train", "validation") if validation else ("train",)
    expected = {f"{n}/{p}": [(e.epoch, getattr(e, f"{p}_{n}")) for e in history.epochs]
                for n in ("loss", "accuracy") for p in parts}  # fmt: skip
    for name in ("learning_rate", "images_per_second"):
        expected[name] = [(e.epoch, getattr(e, name)) for e in history.epochs]
    assert found.keys() == expected.keys()
    for name, points in expected.items():
        assert found[name] == [(step, pytest.approx(value, rel=1e-6)) for step, value in points], name


def test_a_folder_with_another_run_is_left_alone(tmp_path, read_board):
    Board(tmp_path, make_history(True).epochs).close()
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match=f"{tmp_path} holds the curves of an earlier run: choose another"):
        Board(tmp_path, make_history(True).epochs)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_without_a_folder_nothing_is_written_and_nothing_imported(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    board = Board(None, make_history(True).epochs)
    board.write(make_history(True).epochs[0], None, None, None)
    board.close()
    assert not list(tmp_path.iterdir())


def test_the_norms_are_of_all_weights_of_a_kind(model):
    squares = {"matrices": 0.0, "bias_tables": 0.0, "other": 0.0}
    for module in model.modules():
        for name, weight in module.named_parameters(recurse=False):
            norm_or_bias = isinstance(module, torch.nn.LayerNorm) or name == "bias"
            kind = "other" if norm_or_bias else "matrices" if name == "weight" else "bias_tables"
            squares[kind] += sum(value * value for value in weight.flatten().tolist())
    squares["all"] = sum(squares.values())
    norms = weight_norms(model)
    assert norms == {kind: pytest.approx(square**0.5, rel=1e-4) for kind, square in squares.items()}
    assert min(norms.values()) > 1 and len({round(norm) for norm in norms.values()}) == 4


def test_pictures_say_answer_probability_and_truth():
    few = load_shapes10(10, 10)[0].subset(slice(0, 3))
    few = replace(few, classes=("$disc", "a class with a long name", *few.classes[2:]))
    logits = torch.zeros(3, 10)
    logits[[0, 1, 2], [0, 4, 1]] = torch.tensor([2.0, 3.0, 4.0])
    axes = plot_answers(few, logits).axes
    shares = [100 * math.exp(z) / (math.exp(z) + 9) for z in (2, 3, 4)]
    names = [name if len(name) < 15 else "a class with …" for name in few.classes]
    said = [(names[k], shares[i], names[few.labels[i]]) for i, k in enumerate((0, 4, 1))]
    assert [ax.get_title() for ax in axes[:3]] == [f"{a} {p:.0f}%\ntruth: {b}" for a, p, b in said]
    right = [few.labels[i] == k for i, k in enumerate((0, 4, 1))]
    assert [ax.title.get_color() == RIGHT for ax in axes[:3]] == right and True in right and False in right
    for ax, image in zip(axes, few.images):
        assert (ax.images[0].get_array().transpose(2, 0, 1) == image.numpy()).all()
        assert not ax.axison and ax.title.get_fontsize() >= 12
    assert not any(ax.images or ax.axison for ax in axes[3:])


def test_titles_fit_over_their_pictures():
    few = load_shapes10(20, 10)[0].subset(slice(0, 12))
    figure = plot_answers(replace(few, classes=("chrysanthemum, white",) * 10), torch.zeros(12, 10))
    FigureCanvasAgg(figure).draw()  # lays out
    boxes = [ax.title.get_window_extent() for ax in figure.axes]
    assert all(left.x1 < right.x0 for left, right in zip(boxes, boxes[1:]) if left.y0 == right.y0)
    assert boxes[0].x0 > 0 and boxes[-1].x1 < figure.bbox.x1


def test_a_disk_that_is_full_does_not_end_the_training(tmp_path, model, read_board, capsys, monkeypatch):
    board, epochs = Board(tmp_path), make_history(False).epochs
    board.write(epochs[0], model, None, None)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(summary_writer(), "flush", full)
    for epoch in epochs[1:]:
        board.write(epoch, model, None, None)
    board.close()
    assert (
        capsys.readouterr().out.count("TensorBoard gets no more, training goes on: [Errno 28] No space") == 1
    )
    assert read_board(tmp_path)["loss/train"][0] == (1, 2)
