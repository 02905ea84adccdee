"""Studies: what is compared with what, and that no run is made twice."""

from dataclasses import asdict, replace

import pytest

from swin_cifar import studies
from swin_cifar.checkpoint import History
from swin_cifar.config import train_config
from swin_cifar.data import load_shapes10
from swin_cifar.studies import (
    REFERENCE,
    STUDIES,
    Variant,
    differences,
    load_study,
    mean_and_deviation,
    run_study,
)


def history(seed, validation, test):
    epochs = [{"epoch": 1, "validation_accuracy": 0.1}, {"epoch": 2, "validation_accuracy": validation}]
    return History({}, {"seed": seed}, "", 1, 1, "", {}, epochs, {"test": {"accuracy": test}})


@pytest.fixture
def small(monkeypatch):
    """Six thousand drawn pictures in place of CIFAR-10, and a study of two variants."""
    data = load_shapes10(5256, 64)
    monkeypatch.setattr(studies, "load_cifar10", lambda root: data)
    monkeypatch.setitem(STUDIES, "tiny", {REFERENCE: Variant(), "no mirroring": Variant({"flip": False})})


def test_every_variant_is_a_valid_recipe_that_differs_in_what_it_says():
    for study in ("preset", "recipe"):
        for name, variant in STUDIES[study].items():
            assert (train_config("nano", **variant.recipe) == train_config("nano")) == (name == REFERENCE)


def test_equal_seeds_are_compared():
    runs = {REFERENCE: [history(0, 0.5, 0.4), history(1, 0.6, 0.7)],
            "other": [history(1, 0.61, 0.68), history(2, 0.9, 0.9)]}  # fmt: skip
    assert differences(runs)["other"] == pytest.approx([1.0])
    assert differences(runs, "test")["other"] == pytest.approx([-2.0])
    assert REFERENCE not in differences(runs)


def test_mean_and_deviation_of_a_sample():
    assert mean_and_deviation([1.0, 3.0]) == (2.0, pytest.approx(2**0.5))
    assert mean_and_deviation([1.0]) == (1.0, None)


def test_runs_are_kept_and_not_made_again(small, tmp_path, monkeypatch):
    run_study("tiny", seeds=(0, 1), folder=tmp_path, epochs=1)
    runs = load_study("tiny", folder=tmp_path)
    assert {variant: [h.recipe["seed"] for h in found] for variant, found in runs.items()} == {
        REFERENCE: [0, 1],
        "no mirroring": [0, 1],
    }
    expected = replace(train_config("nano", epochs=1, seed=1), flip=False)
    assert runs["no mirroring"][1].recipe == asdict(expected)
    assert runs[REFERENCE][0].results["test"]["count"] == 64
    assert runs[REFERENCE][0].results["parameters"] == 303_532
    assert runs[REFERENCE][0].results["flops_per_image"] == 15_632_256
    assert load_study("tiny", "base", tmp_path) == {}

    monkeypatch.setattr(studies, "fit", lambda *args, **kwargs: pytest.fail("trained again"))
    run_study("tiny", seeds=(0, 1), folder=tmp_path, epochs=1)


def test_a_history_of_another_recipe_is_not_taken_for_this_one(small, tmp_path):
    run_study("tiny", folder=tmp_path, epochs=1)
    with pytest.raises(ValueError, match="as-it-is_0.json was made with another recipe"):
        run_study("tiny", folder=tmp_path, epochs=2)


def test_changes_of_nanos_recipe_are_not_made_to_another():
    with pytest.raises(ValueError, match="leave out --preset"):
        run_study("recipe", "base")


def test_an_unknown_study_is_named():
    with pytest.raises(ValueError, match="there are: preset, recipe, ladder"):
        run_study("receipt")
