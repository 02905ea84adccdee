"""The training curves: drawn with and without a validation split, saved as a picture."""

import pytest
from PIL import Image

from swin_cifar import History, Metrics, model_config, train_config
from swin_cifar.curves import plot_history
from swin_cifar.history import Epoch


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
