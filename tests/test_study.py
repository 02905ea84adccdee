"""Studies: what is compared with what, and that no run is made twice."""

import math
import signal
from dataclasses import replace
from functools import partial
from unittest.mock import Mock

import pytest
import torch

import study
import swin_cifar.training
from study import (
    REFERENCE,
    RUNGS,
    STUDIES,
    Variant,
    differences,
    load_study,
    mean_and_deviation,
    run_study,
)
from swin_cifar.checkpoint import load_checkpoint
from swin_cifar.config import SwinConfig, TrainConfig, train_config
from swin_cifar.data import load_shapes10
from swin_cifar.history import Epoch, History, Metrics, Results
from swin_cifar.model import create_model


def history(seed, validation, test):
    epochs = [
        Epoch(i, 2.0, 0.3, 1e-3, 1.0, 9.0, 2.0, accuracy) for i, accuracy in ((1, 0.1), (2, validation))
    ]
    results = Results(test=Metrics("", 1, 1.0, test))
    return History(SwinConfig(), TrainConfig(seed=seed), "", 1, 1, "", {}, epochs, results)


@pytest.fixture
def small(monkeypatch):
    """A few drawn pictures in place of CIFAR-10, and a study of two variants."""
    data = load_shapes10(192, 64)  # one batch to train
    monkeypatch.setattr(study, "HELD_OUT", 64)
    monkeypatch.setattr(study, "load_cifar10", lambda root: data)
    monkeypatch.setitem(STUDIES, "tiny", {REFERENCE: Variant(), "no mirroring": Variant({"flip": False})})


def test_every_variant_of_the_recipe_is_valid_and_changes_one_thing():
    variants = {name: (train_config("nano", **v.recipe), v.build) for name, v in STUDIES["recipe"].items()}
    reference, build = variants.pop(REFERENCE)
    assert len(set(variants.values())) == len(variants)
    for name, (recipe, other) in variants.items():
        changed = [f for f, value in vars(recipe).items() if value != getattr(reference, f)]
        allowed = {"AdamW, tables learn no faster": 2, "continuous bias": 1}  # its small network is no table
        assert len(changed) + (other != build) == 1 + (name in allowed), name


@pytest.mark.parametrize(
    "name, variant", [v for v in STUDIES["recipe"].items() if v[1].build != create_model]
)
def test_models_of_the_recipe_study_start_otherwise_and_learn(name, variant):
    """Each start or part is what its name says: other logits than the preset's, gradients everywhere."""
    images = torch.randn(2, 3, 32, 32)
    torch.manual_seed(0)
    usual = create_model("nano")(images)
    torch.manual_seed(0)
    model = variant.build("nano")
    logits = model(images)
    assert not torch.allclose(logits, usual, atol=1e-4)
    logits.square().sum().backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None]
    assert not silent


def test_the_mimetic_start_is_near_what_it_imitates():
    """Queries and keys of a token agree, values are taken back: both far beyond what chance gives."""
    layer = study.mimetic_start("nano").stages[0].blocks[0].attn
    C, d = layer.qkv.in_features, layer.qkv.in_features // layer.num_heads
    query, key, value = layer.qkv.weight.detach().chunk(3)
    for head in torch.arange(C).split(d):
        assert (query[head].T @ key[head]).trace() / C > 0.2
    assert abs((layer.proj.weight @ value).trace() / C + 0.4) < 0.05


def test_the_continuous_bias_is_swin_v2_s():
    """For every offset a bias in (0, 16), coordinates that grow as a logarithm to log2(9)/3."""
    table = study.ContinuousBias(4, 3)
    assert table().shape == (49, 3)
    assert 0 < table().min() and table().max() < 16
    assert table.offsets[24].tolist() == [0, 0]
    assert table.offsets[48].tolist() == pytest.approx([math.log2(9) / 3] * 2)


def recipe_of(study, variant):
    return train_config("nano", **STUDIES[study][variant].recipe)


def changed(recipe, usual):
    return {f for f, value in vars(recipe).items() if value != getattr(usual, f)}


@pytest.mark.parametrize("idea", RUNGS)
def test_each_rung_of_the_ladder_tries_rates_of_its_own(idea):
    """The same model, and the ladder's recipe but for its length; a table's rate where there is a table."""
    tried = [name for name in STUDIES["rates"] if name.startswith(f"{idea}, ")]
    usual = recipe_of("rates", f"{idea}, {REFERENCE}")
    assert changed(usual, train_config("nano", **RUNGS[idea].recipe)) == {"epochs"}
    assert len({recipe_of("rates", name) for name in tried}) == len(tried) >= 4
    assert {STUDIES["rates"][name].build for name in tried} == {STUDIES["ladder"][idea].build}
    rates = set().union(*(changed(recipe_of("rates", name), usual) for name in tried))
    parameters = RUNGS[idea].build("nano").named_parameters()
    has_table = any(p.requires_grad and name.endswith("table") for name, p in parameters)
    assert rates == {"matrix_lr_scale"} | ({"table_lr_scale"} if has_table else set())


@pytest.mark.parametrize("idea", RUNGS)
def test_a_rung_trains_with_the_best_rates_that_it_tried(idea):
    """The code does what the histories that ship have shown, by validation."""
    runs = {name: found for name, found in load_study("rates").items() if name.startswith(f"{idea}, ")}
    assert len(runs) >= 2
    best = max(runs, key=lambda name: runs[name][0].accuracy("validation"))
    assert recipe_of("ladder", idea) == replace(recipe_of("rates", best), epochs=12)


def test_in_the_ladder_of_one_rate_all_learn_alike_and_then_the_tables_alone_learn_faster():
    recipes = {recipe_of("ladder-one-rate", idea) for idea in RUNGS if idea != "augmentation"}
    (usual,) = recipes
    assert (usual.optimizer, usual.table_lr_scale, usual.flip) == ("adamw", 1, False)
    assert changed(recipe_of("ladder-one-rate", "augmentation"), usual) == {"crop_padding", "flip"}
    for name, variant in STUDIES["embedding-or-bias"].items():
        rate = float(name.split()[-1])
        assert recipe_of("embedding-or-bias", name) == replace(usual, table_lr_scale=rate)
        assert variant.build == RUNGS["relative position bias" if name.startswith("bias") else "shift"].build


@pytest.mark.parametrize(
    "name", ["recipe", "rates", "ladder", "ladder-one-rate", "embedding-or-bias", "long"]
)
def test_histories_that_ship_are_of_the_study_s_recipes(name):
    """So that a run that is added later is comparable with them."""
    for variant, histories in load_study(name).items():
        for history in histories:
            assert history.recipe == replace(recipe_of(name, variant), seed=history.recipe.seed), variant


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
    run_study("tiny", seeds=(0, 1), folder=tmp_path, runs=tmp_path / "runs", epochs=1)
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
    run_study("tiny", seeds=(0, 1), folder=tmp_path, runs=tmp_path / "runs", epochs=1)


@pytest.mark.slow
def test_an_interrupted_run_goes_on_to_the_same_weights(small, tmp_path, monkeypatch, capsys):
    """Ctrl-C in the second run; then the study again, beside one that was not interrupted."""
    folder, whole = ({"folder": tmp_path / name, "runs": tmp_path / name / "runs"} for name in "ab")
    run_study("tiny", epochs=3, **whole)
    steps, training_step = [], swin_cifar.training.training_step

    def step_or_interrupt(*args):
        steps.append(args)
        if len(steps) == 5:
            signal.raise_signal(signal.SIGINT)
        return training_step(*args)

    monkeypatch.setattr("swin_cifar.training.training_step", step_or_interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_study("tiny", epochs=3, **folder)
    assert list(load_study("tiny", folder=folder["folder"])) == [REFERENCE]
    run_study("tiny", epochs=3, **folder)
    assert len(steps) == 6  # 3 of each variant: none twice
    assert "no mirroring, seed 0: goes on from " in capsys.readouterr().out
    models = (
        load_checkpoint(part["runs"] / "tiny_nano" / "no-mirroring_0.pt").model for part in (whole, folder)
    )
    for ours, theirs in zip(*(model.parameters() for model in models)):
        assert torch.equal(ours, theirs)


@pytest.mark.slow
def test_without_its_history_a_finished_run_is_made_anew(small, tmp_path):
    """Its checkpoint is still there, and may be one of older code."""
    for run in range(2):
        run_study("tiny", folder=tmp_path / str(run), runs=tmp_path / "runs", epochs=1)
    seconds = [load_study("tiny", folder=tmp_path / run)[REFERENCE][0].results.seconds for run in "01"]
    assert seconds[0] != seconds[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "build, plain",
    [
        (create_model, True),
        (STUDIES["fine"][REFERENCE].build, True),
        (study.continuous_bias, False),
        (study.with_position, False),
        (study.flat_model, True),
        (partial(study.flat_model, shift=False), False),
    ],
)
def test_only_models_that_a_checkpoint_can_hold_are_saved(small, tmp_path, monkeypatch, build, plain):
    """Of a plain Swin the weights say everything; not of one without shift, or with an embedding."""
    built = []
    variant = Variant(build=lambda preset: built.append(build(preset)) or built[0])
    monkeypatch.setitem(STUDIES, "tiny", {REFERENCE: variant})
    run_study("tiny", folder=tmp_path, runs=tmp_path / "runs", epochs=1)
    saved = tmp_path / "runs" / "tiny_nano" / "as-it-is_0.pt"
    assert saved.exists() == plain
    if plain:
        images = torch.randn(2, 3, 32, 32)
        torch.testing.assert_close(load_checkpoint(saved).model(images), built[0].eval()(images))


@pytest.mark.slow
def test_the_command_line_runs_a_study(small, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(study.run_study, "__defaults__", ("nano", (0,), "data", tmp_path, tmp_path / "runs"))
    study.main(["tiny", "--seeds", "2", "--epochs", "1"])
    assert {path.name for path in (tmp_path / "tiny_nano").iterdir()} == {
        f"{variant}_{seed}.json" for variant in ("as-it-is", "no-mirroring") for seed in (0, 1)
    }
    assert all(h.recipe.epochs == 1 for runs in load_study("tiny", folder=tmp_path).values() for h in runs)
    assert "no mirroring, seed 1: " in capsys.readouterr().out
    for command, says in (
        (["receipt"], "invalid choice: 'receipt'"),
        (["tiny", "--seeds", "0"], "at least 1"),
    ):
        with pytest.raises(SystemExit):
            study.main(command)
        assert says in capsys.readouterr().err
    for error, says in (
        (ValueError("no such"), "error: no such\n"),
        (KeyboardInterrupt(), "goes on from what"),
    ):
        monkeypatch.setattr(study, "run_study", Mock(side_effect=error))
        with pytest.raises(SystemExit) as exit:
            study.main(["tiny"])
        assert exit.value.code == 1 and says in capsys.readouterr().err


@pytest.mark.slow
def test_a_history_of_another_recipe_is_not_taken_for_this_one(small, tmp_path):
    run_study("tiny", folder=tmp_path, runs=tmp_path / "runs", epochs=1)
    with pytest.raises(ValueError, match="as-it-is_0.json was made with another recipe"):
        run_study("tiny", folder=tmp_path, runs=tmp_path / "runs", epochs=2)


@pytest.mark.parametrize("name", ["recipe", "rates", "ladder"])
def test_changes_of_nanos_recipe_are_not_made_to_another(name, monkeypatch):
    monkeypatch.setattr(study, "load_cifar10", lambda root: pytest.fail("would train"))
    with pytest.raises(ValueError, match="leave out --preset"):
        run_study(name, "mini")


def test_an_unknown_study_is_named():
    with pytest.raises(ValueError, match="'receipt'; there are: preset, .*, rates, ladder, .*"):
        run_study("receipt")
