"""The training curves: drawn with and without a validation split, saved as a picture."""

import pytest
from PIL import Image

from swin_cifar import History
from swin_cifar.plotting import plot_history


def make_history(validation, epochs=3):
    history = History({}, {"epochs": epochs}, "cifar10", 45_000, 5_000 * validation, "CPU", {})
    for epoch in range(1, epochs + 1):
        record = {"epoch": epoch, "train_loss": 2 / epoch, "train_accuracy": 0.2 * epoch, "seconds": 1.0}
        if validation:
            record |= {"validation_loss": 2.1 / epoch, "validation_accuracy": 0.19 * epoch}
        history.epochs.append(record)
    return history


@pytest.mark.parametrize("validation", [True, False])
def test_the_curves_show_what_the_history_holds(validation):
    history = make_history(validation)
    history.results["test"] = {"accuracy": 0.5}
    loss, accuracy, rate = plot_history(history).axes
    labels = [line.get_label() for line in loss.lines]
    assert labels == (["train", "validation"] if validation else ["train"])
    assert loss.lines[0].get_ydata().tolist() == [2, 1, pytest.approx(2 / 3)]
    assert accuracy.lines[0].get_ydata().tolist() == pytest.approx([20, 40, 60])
    assert accuracy.lines[-1].get_ydata() == [50, 50]
    assert max(rate.lines[0].get_ydata()) == 2e-3


def test_the_curves_are_saved_as_a_picture(tmp_path):
    plot_history(make_history(True, epochs=1)).savefig(tmp_path / "curves.png", dpi=50)
    assert Image.open(tmp_path / "curves.png").width == 600


def test_an_empty_history_cannot_be_drawn():
    with pytest.raises(ValueError, match="no epoch"):
        plot_history(make_history(True, epochs=0))
