"""Studies: what is compared with what, and that no run is made twice."""

from dataclasses import replace

import pytest

import study
from study import REFERENCE, STUDIES, Variant, differences, load_study, mean_and_deviation, run_study
from swin_cifar.config import SwinConfig, TrainConfig, train_config
from swin_cifar.data import load_shapes10
from swin_cifar.history import Epoch, History, Metrics, Results


def history(seed, validation, test):
    epochs = [
        Epoch(i, 2.0, 0.3, 1e-3, 1.0, 9.0, 2.0, accuracy) for i, accuracy in ((1, 0.1), (2, validation))
    ]
    results = Results(test=Metrics("", 1, 1.0, test))
    return History(SwinConfig(), TrainConfig(seed=seed), "", 1, 1, "", {}, epochs, results)


@pytest.fixture
def small(monkeypatch):
    """Six thousand drawn pictures in place of CIFAR-10, and a study of two variants."""
    data = load_shapes10(5128, 64)  # one batch to train, 5,000 to validate
    monkeypatch.setattr(study, "load_cifar10", lambda root: data)
    monkeypatch.setitem(STUDIES, "tiny", {REFERENCE: Variant(), "no mirroring": Variant({"flip": False})})


def test_every_variant_is_a_valid_recipe_that_differs_in_what_it_says():
    for which in ("preset", "recipe"):
        for name, variant in STUDIES[which].items():
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


@pytest.mark.slow
def test_runs_are_kept_and_not_made_again(small, tmp_path, monkeypatch):
    run_study("tiny", seeds=(0, 1), folder=tmp_path, epochs=1)
    runs = load_study("tiny", folder=tmp_path)
    assert {variant: [h.recipe.seed for h in found] for variant, found in runs.items()} == {
        REFERENCE: [0, 1],
        "no mirroring": [0, 1],
    }
    expected = replace(train_config("nano", epochs=1, seed=1), flip=False)
    assert runs["no mirroring"][1].recipe == expected
    assert runs[REFERENCE][0].results.test.count == 64
    assert runs[REFERENCE][0].results.parameters == 303_532
    assert runs[REFERENCE][0].results.flops_per_image == 15_632_256
    assert load_study("tiny", "mini", tmp_path) == {}

    monkeypatch.setattr(study, "train_and_test", lambda *args, **kwargs: pytest.fail("trained again"))
    run_study("tiny", seeds=(0, 1), folder=tmp_path, epochs=1)


@pytest.mark.slow
def test_the_command_line_runs_a_study(small, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(study.run_study, "__defaults__", ("nano", (0,), "data", tmp_path))
    study.main(["tiny", "--seeds", "2", "--epochs", "1"])
    assert {path.name for path in (tmp_path / "tiny_nano").iterdir()} == {
        f"{variant}_{seed}.json" for variant in ("as-it-is", "no-mirroring") for seed in (0, 1)
    }
    assert all(h.recipe.epochs == 1 for runs in load_study("tiny", folder=tmp_path).values() for h in runs)
    assert "no mirroring, seed 1: " in capsys.readouterr().out
    with pytest.raises(SystemExit):
        study.main(["receipt"])
    assert "invalid choice: 'receipt'" in capsys.readouterr().err


@pytest.mark.slow
def test_a_history_of_another_recipe_is_not_taken_for_this_one(small, tmp_path):
    run_study("tiny", folder=tmp_path, epochs=1)
    with pytest.raises(ValueError, match="as-it-is_0.json was made with another recipe"):
        run_study("tiny", folder=tmp_path, epochs=2)


def test_changes_of_nanos_recipe_are_not_made_to_another():
    with pytest.raises(ValueError, match="leave out --preset"):
        run_study("recipe", "mini")


def test_an_unknown_study_is_named():
    with pytest.raises(ValueError, match="there are: preset, recipe, ladder"):
        run_study("receipt")
