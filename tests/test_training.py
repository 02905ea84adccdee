"""Schedule, optimizer, loop, resuming, and what happens when things go wrong."""

import itertools
import math
import re
import sys
import time
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cross_entropy

import swin_cifar.run as run
import swin_cifar.training as training
from oracles import number_weights
from study import flat_model
from swin_cifar import (
    TrainConfig,
    create_model,
    evaluate,
    fit,
    learning_rate,
    load_checkpoint,
    load_shapes10,
    tensorboard,
)
from swin_cifar.checkpoint import CheckpointError
from swin_cifar.data import normalize, training_batch
from swin_cifar.history import History
from swin_cifar.predict import predict_logits
from swin_cifar.run import TrainingDiverged, epoch_order
from swin_cifar.system import compile_or_not, device_name, versions
from swin_cifar.training import Muon, make_optimizer, orthogonalize, train_and_test, training_step

RECIPE = TrainConfig(
    epochs=3,
    batch_size=32,
    optimizer="muon",
    table_lr_scale=10.0,
    mixup_prob=0.3,
    cutmix_prob=0.4,
    ema_decay=0.9,
    warmup_epochs=1,
    amp=False,  # the same on every processor
)


@pytest.fixture(scope="module")
def data():
    return load_shapes10(160, 40)


def tiny(seed=0, drop_path_rate=0.3):
    torch.manual_seed(seed)
    return create_model("nano", embed_dim=16, num_heads=(2, 4), drop_path_rate=drop_path_rate)


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values()))


def test_learning_rate_warms_up_and_follows_half_a_cosine():
    config = TrainConfig(epochs=10, warmup_epochs=2, learning_rate=1.0, min_learning_rate=0.1)
    rates = [learning_rate(step, 100, config) for step in range(100)]
    assert rates[0] == pytest.approx(1 / 21)
    assert rates[:20] == pytest.approx([(step + 1) / 21 for step in range(20)])
    assert rates[20] == max(rates) == 1.0
    assert rates[-1] == pytest.approx(0.1)
    middle = learning_rate(20 + 79 // 2, 100, config)
    assert middle == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi * 39 / 79)) / 2)
    assert rates[20:] == sorted(rates[20:], reverse=True)


def test_weight_decay_spares_norms_biases_and_bias_tables():
    model = create_model("nano")
    decayed, kept = make_optimizer(model, TrainConfig(weight_decay=0.3)).param_groups
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.3, 0.0)
    names = {id(p): name for name, p in model.named_parameters()}
    in_decayed = {names[id(p)] for p in decayed["params"]}
    in_kept = {names[id(p)] for p in kept["params"]}
    matrices = ("proj.weight", "qkv.weight", "fc1.weight", "fc2.weight", "reduction.weight", "head.weight")
    assert in_decayed == {name for name in names.values() if name.endswith(matrices)}
    assert in_kept == set(names.values()) - in_decayed
    assert any(name.endswith("relative_position_bias_table") for name in in_kept)


def settings_by_name(model, recipe):
    """{name of a parameter: settings of its group}"""
    names = {id(p): name for name, p in model.named_parameters()}
    groups = make_optimizer(model, recipe).param_groups
    return {names[id(p)]: group for group in groups for p in group["params"]}


def test_muon_takes_the_matrices_of_the_stages_and_tables_learn_at_their_own_rate():
    model = create_model("nano")
    recipe = TrainConfig(optimizer="muon", matrix_lr_scale=7.0, table_lr_scale=30.0, momentum=0.9)
    settings = settings_by_name(model, recipe)
    assert len(settings) == len(list(model.parameters()))
    matrices = ("attn.qkv.weight", "attn.proj.weight", "fc1.weight", "fc2.weight", "reduction.weight")
    for name, group in settings.items():
        muon, table = name.endswith(matrices), name.endswith("relative_position_bias_table")
        assert group["momentum"] == (0.9 if muon else None), name
        assert group["lr_scale"] == (7.0 if muon else 30.0 if table else 1.0), name


def test_each_group_steps_at_the_rate_of_the_schedule_times_its_scale(data):
    model = tiny()
    recipe = TrainConfig(optimizer="muon", matrix_lr_scale=7.0, table_lr_scale=30.0)
    optimizer = make_optimizer(model, recipe)
    images = normalize(data[0].images[:8], data[0].mean, data[0].std)
    training_step(model, optimizer, images, torch.eye(10)[data[0].labels[:8]], 1e-3, recipe)
    assert sorted({group["lr"] for group in optimizer.param_groups}) == [1e-3, 7e-3, 30e-3]


@pytest.mark.parametrize("shape", [(48, 144), (144, 48), (64, 64), (1, 5)])
def test_orthogonalize_keeps_directions_and_brings_every_singular_value_near_1(shape):
    matrix = torch.randn(shape, dtype=torch.float64)
    U, S, Vh = torch.linalg.svd(matrix, full_matrices=False)
    S = torch.linspace(1, 0.05, len(S), dtype=S.dtype)
    inside = U.T @ orthogonalize(U @ torch.diag(1e-6 * S) @ Vh) @ Vh.T  # diagonal, if the directions are kept
    assert (inside - torch.diag(inside.diag())).abs().max() < 1e-9
    assert 0.65 < inside.diag().min() and inside.diag().max() < 1.2


def test_orthogonalize_of_nothing_is_nothing():
    assert torch.equal(orthogonalize(torch.zeros(3, 4)), torch.zeros(3, 4))


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="PyTorch has Muon from 2.9 on")
@pytest.mark.parametrize("shape", [(48, 144), (144, 48)])
def test_muon_is_torch_s_within_the_rounding_of_bfloat16(shape):
    start, gradients = torch.randn(shape), torch.randn(30, *shape) + torch.randn(shape)
    ours, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    settings = {"lr": 0.02, "weight_decay": 0.3, "momentum": 0.9}
    pairs = (ours, Muon([{"params": [ours], **settings}])), (theirs, torch.optim.Muon([theirs], **settings))
    for gradient in gradients:
        for parameter, optimizer in pairs:
            parameter.grad = gradient.clone()
            optimizer.step()
    moved = (theirs - start).norm()
    assert (ours - theirs).norm() < 0.01 * moved
    # Without Nesterov's momentum, the decay or the factor for tall matrices it is much further off.


def test_muon_without_momentum_is_muon_still(data):
    """Not AdamW at the matrices' larger rate: the step is the orthogonalised gradient itself."""
    weight = torch.nn.Parameter(torch.randn(4, 6))
    start, weight.grad = weight.detach().clone(), torch.randn(4, 6)
    expected = start - 0.1 * orthogonalize(weight.grad)
    Muon([{"params": [weight], "momentum": 0.0, "weight_decay": 0.0}], lr=0.1).step()
    assert torch.allclose(weight, expected, atol=1e-6)


def test_stages_that_were_frozen_learn_again_in_the_next_training(data):
    model = create_model("nano")
    before = [p.detach().clone() for p in model.stages[0].parameters()]
    fit(model, data[0], recipe=replace(RECIPE, epochs=1, ema_decay=0.0, frozen_stages=1), progress=False)
    assert all(map(torch.equal, before, model.stages[0].parameters()))
    fit(model, data[0], recipe=replace(RECIPE, epochs=1, ema_decay=0.0), progress=False)
    assert not any(map(torch.equal, before, model.stages[0].parameters()))


def test_all_but_the_head_may_learn_more_slowly():
    """`body_lr_scale` times the rates of the same recipe without it; the head's as before."""
    model = create_model("nano")
    rates = []
    for scale in (1.0, 0.1):
        groups = make_optimizer(model, replace(RECIPE, body_lr_scale=scale)).param_groups
        rates.append({id(p): group["lr_scale"] for group in groups for p in group["params"]})
    for name, parameter in model.named_parameters():
        expected = 1.0 if name.startswith("head.") else 0.1
        assert rates[1][id(parameter)] == pytest.approx(expected * rates[0][id(parameter)]), name


def test_frozen_weights_stay_as_they_are(data):
    """A trained model whose head alone learns: matrices without gradient are left out."""
    model = tiny()
    model.stages.requires_grad_(False)
    before = {name: p.clone() for name, p in model.named_parameters()}
    fit(model, data[0], recipe=replace(RECIPE, epochs=1, ema_decay=0.0), progress=False)
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert "head.weight" in changed
    assert not any(name.startswith("stages.") for name in changed)


def test_groups_without_momentum_are_adamw_s(data):
    ours, theirs = tiny(), tiny()
    recipe = TrainConfig(max_grad_norm=0)
    pairs = (ours, make_optimizer(ours, recipe)), (theirs, torch.optim.AdamW(theirs.parameters()))
    theirs_groups = [{"params": [], "weight_decay": recipe.weight_decay}, {"params": [], "weight_decay": 0.0}]
    for name, p in theirs.named_parameters():
        theirs_groups[p.ndim < 2 or name.endswith("table")]["params"].append(p)
    pairs = (pairs[0], (theirs, torch.optim.AdamW(theirs_groups, fused=True)))
    images = normalize(data[0].images[:8], data[0].mean, data[0].std)
    for _ in range(3):
        for model, optimizer in pairs:
            torch.manual_seed(1)
            training_step(model, optimizer, images, torch.eye(10)[data[0].labels[:8]], 1e-3, recipe)
    assert same(ours, theirs)


def test_one_batch_is_learnt_by_heart(data):
    train = data[0].subset(slice(0, 32))
    config = TrainConfig(
        epochs=60, batch_size=32, crop_padding=0, flip=False, label_smoothing=0.0, learning_rate=3e-3
    )
    model = tiny(drop_path_rate=0.0)
    history = fit(model, train, recipe=config, progress=False)
    assert evaluate(model, train).accuracy == 1
    assert history.epochs[0].train_loss == pytest.approx(math.log(10), abs=0.5)


def test_evaluate_counts_every_picture_once(data):
    model, (_, test) = tiny(), data
    metrics = evaluate(model, test, batch_size=7)  # the last batch is smaller
    model.eval()
    images = normalize(test.images, test.mean, test.std)
    with torch.no_grad():
        logits = model(images)
    hits = sum(int(row.argmax()) == label for row, label in zip(logits, test.labels.tolist()))
    loss = -logits.log_softmax(1)[torch.arange(40), test.labels].mean().item()
    assert metrics.accuracy == hits / 40
    assert metrics.loss == pytest.approx(loss, rel=1e-5)
    assert (metrics.dataset, metrics.count) == ("shapes10", 40)


def test_evaluation_leaves_the_mode_as_it_was(data):
    model = tiny().train()
    first, second = (predict_logits(model, data[1]) for _ in range(2))
    assert torch.equal(first, second)
    assert model.training


def test_fit_records_every_epoch(data):
    model = tiny()
    history = fit(model, *data, RECIPE, progress=False)
    assert [record.epoch for record in history.epochs] == [1, 2, 3]
    assert (history.dataset, history.train_size) == ("shapes10", 160)
    assert history.recipe.ema_decay == 0.9
    assert history.model.embed_dim == 16
    last = history.epochs[-1]
    assert last.validation_accuracy == history.accuracy("validation") == evaluate(model, data[1]).accuracy
    assert last.learning_rate == pytest.approx(RECIPE.min_learning_rate)
    assert all(record.seconds > 0 and record.images_per_second > 0 for record in history.epochs)


def test_the_averaged_weights_are_the_mean_that_the_decay_says(data):
    config = replace(RECIPE, epochs=1, batch_size=80, warmup_epochs=0)  # two steps
    weights = []
    step = training.training_step

    def spy(forward, *args):
        result = step(forward, *args)
        weights.append([p.detach().clone() for p in model.parameters()])
        return result

    model = tiny()
    start = [p.detach().clone() for p in model.parameters()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "training_step", spy)
        fit(model, data[0], recipe=config, progress=False)
    for p, w0, w1, w2 in zip(model.parameters(), start, *weights):
        first = 2 / 11 * w0 + 9 / 11 * w1
        torch.testing.assert_close(p.detach(), 3 / 12 * first + 9 / 12 * w2)


def test_the_same_start_ends_with_the_same_weights_as_ever():
    """As version 0.1.0 ended, before its rooms were moved: 20 steps with all augmentation and averaging.

    Without DropPath, whose random numbers changed between versions of PyTorch.
    """
    train, validation = load_shapes10(320, 64)
    changes = {"mixup_prob": 0.3, "cutmix_prob": 0.3, "ema_decay": 0.9, "amp": False}
    recipe = TrainConfig(epochs=2, batch_size=32, **changes)  # else the defaults: no preset changes them
    model = number_weights(create_model("nano"))
    last = fit(model, train, validation, recipe, progress=False).epochs[-1]
    weights = torch.cat([p.detach().double().flatten() for p in model.parameters()])
    assert weights.sum().item() == pytest.approx(909.8813, abs=0.02)
    assert weights.abs().sum().item() == pytest.approx(20196.336, abs=0.05)
    assert last.train_loss == pytest.approx(2.32292, abs=1e-3)
    assert last.validation_loss == pytest.approx(2.33306, abs=1e-3)


def test_same_seed_same_weights_other_seed_others(data):
    models = [tiny() for _ in range(3)]
    for model, seed in zip(models, (5, 5, 6)):
        fit(model, data[0], recipe=replace(RECIPE, epochs=1, seed=seed), progress=False)
    assert same(models[0], models[1])
    assert not same(models[0], models[2])


def stop_a_run(data, path, config, stop_after, board=None):
    """Press Ctrl-C in that step of a run that saves to `path`."""
    step, done = training.training_step, []

    def press_ctrl_c(*args):
        done.append(1)
        if len(done) == stop_after:
            run.signal.raise_signal(run.signal.SIGINT)
        return step(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "training_step", press_ctrl_c)
        with pytest.raises(KeyboardInterrupt):
            fit(tiny(), *data, config, checkpoint_path=path, progress=False, tensorboard=board)
    assert len(done) == stop_after  # the step was finished, and none begun after it


@pytest.mark.parametrize("stop_after", [1, 4, 5, 7, 15])  # steps; an epoch has 5, the run 15
def test_resumed_weights_equal_uninterrupted_ones_bit_for_bit(data, stop_after, tmp_path):
    path, whole = tmp_path / "run.pt", tiny()
    expected = fit(whole, *data, RECIPE, progress=False)
    stop_a_run(data, path, RECIPE, stop_after)
    other = tiny(seed=9)
    history = fit(other, *data, RECIPE, checkpoint_path=path, resume=True, progress=False)
    assert same(other, whole)
    assert same(load_checkpoint(path).model, whole)
    for ours, theirs in zip(history.epochs, expected.epochs):
        for name in ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy"):
            assert getattr(ours, name) == pytest.approx(getattr(theirs, name), rel=1e-9)


@pytest.mark.parametrize("stop_after", [3, 7])
def test_results_that_are_read_now_and_then_are_the_same(data, tmp_path, monkeypatch, stop_after):
    """As on a GPU, where a result is read every so many steps, Ctrl-C in a step between."""
    path, (whole, often, rarely) = tmp_path / "run.pt", (tiny() for _ in range(3))
    expected = fit(often, *data, RECIPE, progress=False)
    monkeypatch.setitem(run.READ_EVERY, "cpu", 2)  # and at the end of an epoch, which has 5 steps
    found = fit(whole, *data, RECIPE, progress=False)
    stop_a_run(data, path, RECIPE, stop_after)
    pieced = fit(rarely, *data, RECIPE, checkpoint_path=path, resume=True, progress=False)
    assert same(whole, often) and same(rarely, often)
    for history in (found, pieced):
        for ours, theirs in zip(history.epochs, expected.epochs, strict=True):
            for name in ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy"):
                assert getattr(ours, name) == pytest.approx(getattr(theirs, name), rel=1e-9)


def test_writing_for_tensorboard_changes_no_weight(data, tmp_path, read_board):
    plain, model = tiny(), tiny()
    expected = fit(plain, *data, RECIPE, progress=False)
    before = torch.get_rng_state()
    history = fit(model, *data, RECIPE, progress=False, tensorboard=tmp_path)
    assert same(model, plain) and torch.equal(torch.get_rng_state(), before)
    for name in ("train_loss", "validation_loss", "train_accuracy", "validation_accuracy", "learning_rate"):
        values = [getattr(epoch, name) for epoch in history.epochs]
        assert values == [getattr(epoch, name) for epoch in expected.epochs]
        part, _, kind = name.partition("_")
        points = read_board(tmp_path)[f"{kind}/{part}" if kind in ("loss", "accuracy") else name]
        assert points == [(i, pytest.approx(value, rel=1e-6)) for i, value in enumerate(values, 1)]
    found = read_board(tmp_path)
    norms = {kind: found[f"norm_of_weights/{kind}"] for kind in ("all", "matrices", "bias_tables", "other")}
    assert all([step for step, _ in points] == [1, 2, 3] for points in norms.values())
    everything = torch.cat([p.detach().flatten() for p in model.parameters()])
    assert norms["all"][-1][1] == pytest.approx(everything.double().norm().item(), rel=1e-5)
    assert norms["all"][0][1] != pytest.approx(norms["all"][-1][1], rel=1e-4)
    assert [step for step, _ in found["held_out_pictures"]] == [1, 2, 3]
    assert min(found["held_out_pictures"][0][1]) > 600  # pixels


def test_the_pictures_shown_are_held_out_ones_with_the_model_s_answers(
    data, tmp_path, monkeypatch, read_board
):
    shown, plot = [], tensorboard.plot_answers
    monkeypatch.setattr(tensorboard, "plot_answers", lambda *a: shown.append(a) or plot(*a))
    model = tiny()
    fit(model, *data, replace(RECIPE, epochs=1), progress=False, tensorboard=tmp_path)
    ((pictures, logits),) = shown
    assert torch.equal(pictures.images, data[1].images[:12])
    assert torch.allclose(logits, predict_logits(model, data[1])[:12], atol=1e-4)


@pytest.mark.parametrize("stop_after", [3, 7])
def test_a_resumed_run_goes_on_in_its_tensorboard_with_each_point_once(
    data, tmp_path, stop_after, read_board
):
    path, folder = tmp_path / "run.pt", tmp_path / "board"
    stop_a_run(data, path, RECIPE, stop_after, folder)
    saved = path.read_bytes()
    for _ in range(2):  # the second time as if the machine had stopped before the later epochs were saved
        path.write_bytes(saved)
        time.sleep(1.1)  # TensorBoard reads files in the order of their names, which hold the second
        history = fit(tiny(), *data, RECIPE, path, resume=True, progress=False, tensorboard=folder)
        found = read_board(folder)
        assert found["loss/train"] == [
            (e.epoch, pytest.approx(e.train_loss, rel=1e-6)) for e in history.epochs
        ]
        assert [step for points in found.values() for step, _ in points] == len(found) * [1, 2, 3]
        assert len(found) == 11


def test_a_run_resumed_with_a_new_tensorboard_has_all_its_curves_there(data, tmp_path, read_board):
    stop_a_run(data, tmp_path / "run.pt", RECIPE, 7)
    fit(tiny(), *data, RECIPE, tmp_path / "run.pt", resume=True, progress=False, tensorboard=tmp_path / "b")
    found = read_board(tmp_path / "b")
    assert [step for step, _ in found["loss/validation"]] == [1, 2, 3]
    assert [step for step, _ in found["norm_of_weights/all"]] == [2, 3]


def test_a_tensorboard_that_cannot_be_written_stops_before_training(data, tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    monkeypatch.setattr(training, "training_step", lambda *_: pytest.fail("it trains for nothing"))
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OSError, match="cannot write into the folder .*file/board: ") as error:
        fit(tiny(), *data, RECIPE, progress=False, tensorboard=tmp_path / "file" / "board")
    assert "\n" not in str(error.value)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(RuntimeError, match="install it: python -m pip install tensorboard$"):
        fit(tiny(), *data, RECIPE, progress=False, tensorboard=tmp_path / "board")


def test_a_finished_run_resumes_to_itself(data, tmp_path):
    path, model, other = tmp_path / "run.pt", tiny(), tiny(seed=9)
    fit(model, *data, RECIPE, checkpoint_path=path, progress=False)
    history = fit(other, *data, RECIPE, checkpoint_path=path, resume=True, progress=False)
    assert same(model, other)
    assert len(history.epochs) == 3


def test_a_run_continued_elsewhere_names_both_places(data, tmp_path, monkeypatch):
    path, config = tmp_path / "run.pt", replace(RECIPE, epochs=1)
    stop_a_run(data, path, config, stop_after=2)
    monkeypatch.setattr(run, "device_name", lambda device: "another machine")
    monkeypatch.setattr(run, "versions", lambda: versions() | {"torch": "9.9"})
    history = fit(tiny(), *data, config, checkpoint_path=path, resume=True, progress=False)
    assert history.device == f"{device_name(torch.device('cpu'))}, then another machine"
    assert history.versions == versions() | {"torch": f"{versions()['torch']}, then 9.9"}
    assert History.load(path.with_suffix(".json")) == history
    monkeypatch.setattr(run, "device_name", lambda device: "a third machine")  # it has ended
    assert fit(tiny(), *data, config, checkpoint_path=path, resume=True, progress=False) == history


def test_resuming_another_run_is_refused(data, tmp_path):
    path = tmp_path / "run.pt"
    fit(tiny(), data[0], recipe=replace(RECIPE, epochs=1), checkpoint_path=path, progress=False)
    with pytest.raises(CheckpointError, match="recipe there {'epochs': 1}, here {'epochs': 3}"):
        fit(tiny(), data[0], recipe=RECIPE, checkpoint_path=path, resume=True, progress=False)
    wider = create_model("nano", embed_dim=32, num_heads=(2, 4))
    with pytest.raises(CheckpointError, match="embed_dim"):
        fit(
            wider,
            data[0],
            recipe=replace(RECIPE, epochs=1),
            checkpoint_path=path,
            resume=True,
            progress=False,
        )


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step(data, tmp_path, monkeypatch):
    path = tmp_path / "run.pt"
    monkeypatch.setattr(run, "SAVE_SECONDS", 0)
    batch, count = training_batch, []

    def poisoned(*args):
        images, targets = batch(*args)
        count.append(1)
        return (images * math.nan if len(count) == 8 else images), targets

    monkeypatch.setattr(run, "training_batch", poisoned)
    with pytest.raises(TrainingDiverged, match=r"nan in step 8 \(epoch 2\) at learning rate .*run\.pt"):
        fit(tiny(), data[0], recipe=RECIPE, checkpoint_path=path, progress=False)
    saved = load_checkpoint(path)
    assert len(saved.history.epochs) == 1
    assert all(tensor.isfinite().all() for tensor in saved.model.state_dict().values())


def test_a_save_that_fails_midway_does_not_end_the_run(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run, "SAVE_SECONDS", 0)
    save, calls = run.save_checkpoint, []

    def fails_first(*args):
        calls.append(1)
        if len(calls) == 1:
            raise CheckpointError("no space left on the disk")
        save(*args)

    monkeypatch.setattr(run, "save_checkpoint", fails_first)
    fit(tiny(), data[0], recipe=RECIPE, checkpoint_path=tmp_path / "run.pt", progress=False)
    assert "not saved, training goes on: no space left" in capsys.readouterr().out
    assert load_checkpoint(tmp_path / "run.pt").resume_state is None


def test_the_bar_and_the_line_of_an_epoch_tell_loss_accuracy_rate_and_speed(data, capsys, monkeypatch):
    monkeypatch.setattr(run, "shows_bars", lambda: True)
    fit(tiny(), *data, RECIPE)
    printed = capsys.readouterr().out
    assert re.search(r"5/15 .*loss \d\.\d+, accuracy \d+\.\d%, [\d,]+ images/s, rate \d\.\de-\d\d", printed)
    line = r"epoch 3/3  loss \S+  train \S+%  validation \S+%  rate 1\.0e-05  [\d,]+ images/s  \S+ s\n"
    assert re.search(line, printed)


@pytest.mark.parametrize(
    "seconds, words", [(120, "about 24 minutes to go\n"), (1200, "about 4.0 hours to go\n"), (1, None)]
)
def test_a_run_says_early_how_long_it_will_take(data, capsys, monkeypatch, seconds, words):
    """12 of 15 steps are to go when it knows how long one takes."""
    now, model = [0.0], tiny()
    monkeypatch.setattr(run, "ESTIMATE", (1, 3))
    monkeypatch.setattr(run.time, "perf_counter", lambda: now[0])
    model.register_forward_hook(lambda *_: now.__setitem__(0, now[0] + seconds) if model.training else None)
    fit(model, *data, RECIPE)
    printed = capsys.readouterr().out
    assert printed.count("to go") == (words is not None)
    assert (words or "") in printed.split("epoch 1/3")[0]


def test_a_run_is_saved_within_a_long_epoch(data, tmp_path, monkeypatch):
    """The computer goes off in step 8 of 15; an epoch has 5."""
    monkeypatch.setattr(run, "SAVE_SECONDS", 0)
    path, whole, pieced, count = tmp_path / "run.pt", tiny(), tiny(seed=9), itertools.count(1)
    fit(whole, *data, RECIPE, progress=False)
    step = training.training_step

    def step_or_off(*args):
        if next(count) == 8:
            raise RuntimeError("off")
        return step(*args)

    with monkeypatch.context() as patch:
        patch.setattr(training, "training_step", step_or_off)
        with pytest.raises(RuntimeError, match="off"):
            fit(tiny(), *data, RECIPE, checkpoint_path=path, progress=False)
    assert load_checkpoint(path).resume_state["step"] == 7
    fit(pieced, *data, RECIPE, checkpoint_path=path, resume=True, progress=False)
    assert same(pieced, whole)


def test_a_training_that_cannot_begin_leaves_no_stage_frozen(data, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    model = tiny()
    with pytest.raises(CheckpointError, match="cannot write"):
        fit(model, *data, replace(RECIPE, frozen_stages=1), tmp_path / "file" / "run.pt", progress=False)
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_models_in_other_types_are_tested_too(data, dtype):
    model = tiny().to(dtype)
    history = train_and_test(model, *data, data[1], replace(RECIPE, epochs=1), progress=False)
    assert history.results.test == evaluate(model, data[1]) and history.results.flops_per_image > 1e6


def test_train_and_test_measures_the_final_model_once_and_saves_that(data, tmp_path):
    path, model = tmp_path / "run.pt", tiny()
    recipe = replace(RECIPE, epochs=1)
    history = train_and_test(model, data[0], None, data[1], recipe, path, progress=False)
    assert history.results.test == evaluate(model, data[1])
    assert history.results.parameters == sum(p.numel() for p in model.parameters())
    assert history.results.flops_per_image > 1e6
    assert load_checkpoint(path).history == history == History.load(path.with_suffix(".json"))
    with pytest.raises(ValueError, match="no validation accuracy: it was not measured"):
        history.accuracy("validation")
    with pytest.raises(ValueError, match="train, validation and test accuracy, not 'trial'"):
        history.accuracy("trial")
    assert history.accuracy("train") == history.epochs[-1].train_accuracy
    with pytest.raises(ValueError, match="no train accuracy"):
        replace(history, epochs=[]).accuracy("train")


def test_the_pictures_held_out_fix_the_temperature(data, tmp_path):
    path, model = tmp_path / "run.pt", tiny()
    train, validation = data[0], data[0].subset(slice(0, 60))  # known, so that it has something to say
    recipe = replace(RECIPE, epochs=12, cutmix_prob=0.0, mixup_prob=0.0)
    results = train_and_test(model, train, validation, data[1], recipe, path, progress=False).results
    T = results.temperature
    logits = predict_logits(model, validation).double()
    losses = {t: cross_entropy(logits / t, validation.labels) for t in (0.98 * T, T, 1.02 * T)}
    assert min(losses, key=losses.get) == T != 1
    assert load_checkpoint(path).temperature == T
    assert History.load(path.with_suffix(".json")).results.temperature == T
    for few in (None, validation.subset(slice(0, 20))):
        results = train_and_test(
            tiny(), train, few, data[1], replace(recipe, epochs=1), progress=False
        ).results
        assert results.temperature is None


def test_fewer_pictures_than_a_batch_is_an_error(data):
    with pytest.raises(ValueError, match="160 pictures do not fill one batch of 500"):
        fit(tiny(), data[0], recipe=replace(RECIPE, batch_size=500), progress=False)


def test_each_epoch_and_each_seed_has_an_order_of_its_own():
    orders = {tuple(epoch_order(50, seed, epoch).tolist()) for seed in range(3) for epoch in range(4)}
    assert len(orders) == 12
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert epoch_order(50, 1, 2).equal(epoch_order(50, 1, 2))


def test_a_batch_depends_on_its_generator_alone(data):
    def make(seed):
        generator = torch.Generator().manual_seed(seed)
        return training_batch(data[0], torch.arange(32), RECIPE, generator)

    (a, ta), (b, tb), (c, _) = make(1), make(1), make(2)
    assert torch.equal(a, b)
    assert torch.equal(ta, tb)
    assert not torch.equal(a, c)
    assert a.shape == (32, 3, 32, 32)
    torch.testing.assert_close(ta.sum(1), torch.ones(32))


def test_where_nothing_compiles_training_goes_on(data, monkeypatch, capsys):
    def broken(model):
        raise RuntimeError("no compiler\nsecond line")

    model, images = tiny(), torch.randn(8, 3, 32, 32)
    monkeypatch.setattr(torch, "compile", lambda model: lambda images: broken(model))
    assert compile_or_not(model, images, amp=False) is model
    assert capsys.readouterr().out == "not compiled, training goes on: no compiler\n"
    monkeypatch.setattr(torch, "compile", lambda model: model.forward)
    before = torch.get_rng_state()
    assert compile_or_not(model, images, amp=False) == model.forward
    assert all(p.grad is None for p in model.parameters()) and torch.equal(torch.get_rng_state(), before)


def test_a_model_that_could_not_be_loaded_again_is_not_trained_for_hours(data, tmp_path):
    model = flat_model("nano", position=True)
    with pytest.raises(CheckpointError, match="holds a plain SwinTransformer"):
        fit(model, data[0], recipe=RECIPE, checkpoint_path=tmp_path / "a.pt", progress=False)
    assert not (tmp_path / "a.pt").exists()


def test_weights_are_kept_where_the_last_save_fails(data, tmp_path, monkeypatch):
    def full(*args):
        raise CheckpointError("disk full")

    monkeypatch.setattr(run, "save_checkpoint", full)
    model, other = tiny(), tiny()
    with pytest.raises(CheckpointError, match="disk full"):
        fit(model, data[0], recipe=RECIPE, checkpoint_path=tmp_path / "a.pt", progress=False)
    fit(other, data[0], recipe=RECIPE, progress=False)
    assert same(model, other)
