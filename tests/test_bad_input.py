"""What users bring: each bad input is one clear error that says what to do, and nothing is lost.

And what only looks bad, and must work.
"""

import copy
import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from swin_cifar import (
    CheckpointError,
    DataError,
    ImageSet,
    SwinConfig,
    SwinTransformer,
    TrainConfig,
    create_model,
    evaluate,
    fit,
    load_checkpoint,
    load_cifar10,
    load_data,
    load_official_weights,
    load_shapes10,
    load_torchvision_weights,
    model_config,
    official_state_dict,
    save_checkpoint,
    torchvision_state_dict,
    train_config,
)
from swin_cifar.checkpoint import read_sums, sha256
from swin_cifar.history import Metrics

CLASSES = tuple("abcdefghij")
IMAGES = torch.zeros(8, 3, 32, 32, dtype=torch.uint8)
LABELS = torch.arange(8)
TINY = {"embed_dim": 16, "num_heads": (2, 4), "depths": (1, 1)}
ONE_EPOCH = {"epochs": 1, "batch_size": 32, "warmup_epochs": 0}


def image_set(images=IMAGES, labels=LABELS, classes=CLASSES, mean=(0.5,) * 3, std=(0.2,) * 3):
    return ImageSet("mine", classes, mean, std, images, labels)


def tiny(**overrides):
    torch.manual_seed(0)
    return create_model("nano", **TINY, **overrides)


@pytest.fixture(scope="module")
def pictures():
    return load_shapes10(64, 16)


@pytest.fixture(scope="module")
def saved(tmp_path_factory, pictures):
    """-> the bytes of a good checkpoint."""
    path = tmp_path_factory.mktemp("good") / "good.pt"
    save_checkpoint(path, tiny(), pictures[0])
    return path.read_bytes()


# --- data: (what is brought, the error, words it must hold) -----------------------------

BAD_DATA = {
    "floats in [0, 1]": (lambda: image_set(IMAGES.float() / 255), TypeError, "torch.uint8.*torch.float32"),
    "int32": (lambda: image_set(IMAGES.int()), TypeError, "torch.uint8.*torch.int32"),
    "channels last": (lambda: image_set(IMAGES.permute(0, 2, 3, 1)), ValueError, "n, C, h, w.*32, 32, 3"),
    "one picture": (lambda: image_set(IMAGES[0]), ValueError, r"\(n, C, h, w\)"),
    "NumPy pictures": (lambda: image_set(IMAGES.numpy()), TypeError, "torch.uint8 tensor.*uint8"),
    "a list of pictures": (lambda: image_set([IMAGES[0]]), TypeError, "torch.uint8 tensor.*list"),
    "NumPy labels": (lambda: image_set(labels=LABELS.numpy()), TypeError, "torch.int64 tensor"),
    "labels as a list": (lambda: image_set(labels=[0] * 8), TypeError, "torch.int64 tensor.*list"),
    "labels of bytes": (lambda: image_set(labels=LABELS.byte()), TypeError, "torch.int64.*torch.uint8"),
    "labels as floats": (lambda: image_set(labels=LABELS.float()), TypeError, "torch.int64"),
    "labels from 1": (lambda: image_set(labels=LABELS + 3), ValueError, "labels 3 to 10 do not fit"),
    "a label below 0": (lambda: image_set(labels=LABELS - 1), ValueError, "labels -1 to 6"),
    "too few labels": (lambda: image_set(labels=LABELS[:7]), ValueError, "8 pictures have labels"),
    "one-hot labels": (lambda: image_set(labels=torch.eye(8).long()), ValueError, "8 pictures have labels"),
    "two means for three channels": (lambda: image_set(mean=(0.5, 0.5)), ValueError, "2 means"),
    "one std for three channels": (lambda: image_set(std=(0.2,)), ValueError, "1 stds"),
    "a std of 0": (lambda: image_set(std=(0.2, 0.0, 0.2)), ValueError, "stds positive"),
    "a mean that is no number": (lambda: image_set(mean=(0.5, math.nan, 0.5)), ValueError, "be finite"),
    "grey pictures, colour means": (lambda: image_set(IMAGES[:, :1]), ValueError, "3 means.*8, 1, 32, 32"),
    "more held out than there are": (lambda: image_set().split(9), ValueError, "cannot hold 9"),
    "a data set nobody knows": (lambda: load_data("cifar11"), ValueError, "cifar10, .*shapes10"),
}  # fmt: skip

BAD_RECIPES = {
    "no epochs": ({"epochs": 0}, "epochs must be at least 1"),
    "half an epoch": ({"epochs": 1.5}, "epochs must be a whole number"),
    "epochs as text": ({"epochs": "15"}, "epochs must be a whole number"),
    "epochs as truth": ({"epochs": True}, "epochs must be a whole number"),
    "an empty batch": ({"batch_size": np.int64(0)}, "batch_size must be at least 1"),
    "a rate that is no number": ({"learning_rate": math.nan}, "learning_rate must be a finite number"),
    "an endless rate": ({"learning_rate": math.inf}, "learning_rate must be a finite number"),
    "no rate": ({"learning_rate": None}, "learning_rate must be a finite number"),
    "a rate below the lowest": ({"learning_rate": 1e-9}, "more than min_learning_rate"),
    "weight decay below 0": ({"weight_decay": -0.1}, "weight_decay must not be negative"),
    "decay without end": ({"weight_decay": math.inf}, "weight_decay must be a finite number"),
    "smoothing of 1": ({"label_smoothing": 1.0}, "label_smoothing must lie in"),
    "NaN smoothing": ({"label_smoothing": np.float32("nan")}, "label_smoothing must be a finite number"),
    "averaging of 1": ({"ema_decay": 1}, "ema_decay must lie in"),
    "half a pixel": ({"crop_padding": 0.5}, "crop_padding must be a whole number"),
    "flip as a number": ({"flip": 1}, "flip must be true or false"),
    "more than all mixed": ({"mixup_prob": 0.6, "cutmix_prob": 0.6}, "more than 1"),
    "a seed below 0": ({"seed": -1}, "seed must lie in"),
    "a field nobody knows": ({"epoch": 3}, "did you mean 'epochs'"),
}

BAD_MODELS = {
    "no classes": ({"num_classes": 0}, "num_classes must be"),
    "classes as text": ({"num_classes": "10"}, "num_classes must be a whole number"),
    "half a channel": ({"embed_dim": 16.5}, "embed_dim must be a whole number"),
    "heads that do not divide": ({"num_heads": (3, 4)}, "3 does not divide"),
    "no stage": ({"depths": (), "num_heads": ()}, "one entry per stage"),
    "half a block": ({"depths": (1, 1.5)}, "at least 1"),
    "a ratio that is no number": ({"mlp_ratio": math.nan}, "mlp_ratio must be a finite number"),
    "all branches dropped": ({"drop_path_rate": 1}, "drop_path_rate must lie in"),
}

BAD_TRAINING = {
    "100 classes, a model of 10": (
        lambda p: fit(tiny(num_classes=9), p[0], progress=False, recipe=TrainConfig(**ONE_EPOCH)),
        ValueError,
        "a model of 9 classes cannot learn 10",
    ),
    "fewer pictures than a batch": (
        lambda p: fit(tiny(), p[0], progress=False),
        ValueError,
        "64 pictures do not fill one batch of 128",
    ),
    "to resume nothing": (
        lambda p: fit(tiny(), p[0], recipe=TrainConfig(**ONE_EPOCH), resume=True),
        ValueError,
        "resume needs `checkpoint_path`",
    ),
    "to measure on nothing": (
        lambda p: evaluate(tiny(), p[1].subset(slice(0))),
        ValueError,
        "no pictures of",
    ),
    "colour for a grey model": (lambda p: evaluate(tiny(in_channels=1), p[1]), ValueError, r"\(B, 1, h, w\)"),
}

BAD_WEIGHTS = {
    "a file name": (lambda m: load_torchvision_weights(m, "x.pth"), TypeError, "torch.load"),
    "a list": (lambda m: load_official_weights(m, []), TypeError, "expected a state dict, got list"),
    "nothing": (lambda m: load_torchvision_weights(m, {}), ValueError, "missing: head.bias"),
    "official for torchvision's": (
        lambda m: load_torchvision_weights(m, official_state_dict(m)["model"]),
        ValueError,
        "not expected: layers.0",
    ),
    "into a model without memory": (
        lambda m: load_torchvision_weights(copy.deepcopy(m).to("meta"), torchvision_state_dict(m)),
        ValueError,
        "device meta",
    ),
}

BAD_FILES = {
    "empty": (b"", "damaged"),
    "text": (b"not a checkpoint, by far", "no checkpoint|damaged"),
    "a pointer of Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(99), "no checkpoint|damaged"),
}


@pytest.mark.parametrize("name", BAD_DATA)
def test_bad_data_is_named(name):
    bring, error, words = BAD_DATA[name]
    with pytest.raises(error, match=words):
        bring()


@pytest.mark.parametrize("name", BAD_RECIPES)
def test_bad_recipes_are_named(name):
    changes, words = BAD_RECIPES[name]
    with pytest.raises(ValueError, match=words):
        train_config("nano", **changes)


@pytest.mark.parametrize("name", BAD_MODELS)
def test_bad_models_are_named(name):
    changes, words = BAD_MODELS[name]
    with pytest.raises(ValueError, match=words):
        model_config("nano", **{**TINY, **changes})


@pytest.mark.parametrize("name", BAD_TRAINING)
def test_what_cannot_be_trained_is_named(name, pictures):
    bring, error, words = BAD_TRAINING[name]
    with pytest.raises(error, match=words):
        bring(pictures)


@pytest.mark.parametrize("name", BAD_WEIGHTS)
def test_bad_weights_are_named_and_change_nothing(name):
    model = tiny()
    before = copy.deepcopy(model.state_dict())
    bring, error, words = BAD_WEIGHTS[name]
    with pytest.raises(error, match=words):
        bring(model)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_are_named_and_stay(name, tmp_path):
    content, words = BAD_FILES[name]
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=words):
        load_checkpoint(path)
    assert path.read_bytes() == content


def test_there_are_many():
    tables = BAD_DATA, BAD_RECIPES, BAD_MODELS, BAD_TRAINING, BAD_WEIGHTS, BAD_FILES
    assert sum(map(len, tables)) >= 60


# --- checkpoints: what saves, loads -----------------------------------------------------


def test_a_program_of_torchscript_is_called_so(tmp_path):
    torch.jit.script(nn.Linear(2, 2)).save(str(tmp_path / "script.pt"))
    with pytest.raises(CheckpointError, match="script.pt is a TorchScript program"):
        load_checkpoint(tmp_path / "script.pt")


def test_a_device_that_is_not_there_is_not_blamed_on_the_weights(saved, tmp_path, monkeypatch):
    def no_driver(self, device):
        raise RuntimeError("Found no NVIDIA driver on your system.\nsecond line")

    (tmp_path / "good.pt").write_bytes(saved)
    monkeypatch.setattr(SwinTransformer, "to", no_driver)
    with pytest.raises(CheckpointError, match="^cannot move the model of .*good.pt to cuda: Found no NVIDIA"):
        load_checkpoint(tmp_path / "good.pt", "cuda")


@pytest.mark.parametrize("mark", [" ", "*"])
def test_sums_are_read_as_the_tool_writes_them(saved, tmp_path, mark):
    path = tmp_path / "good.pt"
    path.write_bytes(saved)
    sums = tmp_path / "SHA256SUMS"
    sums.write_text(f"# published\n\n{sha256(path)} {mark}good.pt\r\n", encoding="utf-8")
    load_checkpoint(path)
    sums.write_text(f"{'0' * 64} {mark}good.pt\n", encoding="utf-8")
    with pytest.raises(CheckpointError, match="not the file that was published"):
        load_checkpoint(path)
    sums.write_text("good.pt is good\n", encoding="utf-8")
    with pytest.raises(CheckpointError, match="SHA256SUMS has a line that is not a SHA-256"):
        load_checkpoint(path)
    assert read_sums(tmp_path / "none") == {}


def same_logits(a, b):
    images = torch.linspace(-2, 2, 2 * 3 * 32 * 32).view(2, 3, 32, 32)
    with torch.no_grad():
        return torch.equal(a.eval()(images), b.eval()(images))


def swapped_head(model):
    model.head = nn.Linear(model.head.in_features, 4)
    return model


@pytest.mark.parametrize(
    ("wrap", "classes"),
    [(lambda m: m, 10), (swapped_head, 4), (partial(torch.compile, backend="eager"), 10)],
    ids=["as it is", "another head", "compiled"],
)
def test_what_saves_loads_with_the_same_logits(wrap, classes, tmp_path):
    model = wrap(tiny())
    data = image_set(labels=LABELS % classes, classes=np.array(CLASSES[:classes]), mean=np.full(3, 0.5))
    save_checkpoint(tmp_path / "model.pt", model, data)
    found = load_checkpoint(tmp_path / "model.pt")
    assert found.model.config.num_classes == classes == len(found.dataset["classes"])
    assert same_logits(found.model, getattr(model, "_orig_mod", model))


@given(
    st.fixed_dictionaries({
        "patch_size": st.integers(1, 4), "embed_dim": st.sampled_from([4, 8]),
        "window_size": st.integers(1, 5), "depths": st.sampled_from([(1,), (1, 2)]),
        "num_classes": st.integers(1, 4),
        "mlp_ratio": st.sampled_from([1, 2.0, np.float32(2)]),
    }),
    st.sampled_from([str, np.str_]), st.sampled_from([float, np.float32, np.float64]),
)  # fmt: skip
def test_whatever_is_saved_can_be_loaded(tmp_path_factory, sizes, text, number):
    path = tmp_path_factory.mktemp("any") / "model.pt"
    sizes["num_heads"] = (2,) * len(sizes["depths"])
    model = SwinTransformer(SwinConfig(**sizes))
    classes = tuple(text(name) for name in CLASSES[: sizes["num_classes"]])
    dataset = {"name": text("mine"), "classes": classes, "mean": [number(0.5)] * 3, "std": [number(0.25)] * 3}
    save_checkpoint(path, model, dataset)
    found = load_checkpoint(path)
    assert same_logits(found.model, model) and found.dataset["mean"] == (0.5,) * 3


def test_a_run_of_numpy_numbers_and_another_head_trains_saves_and_goes_on(pictures, tmp_path):
    train = replace(pictures[0], mean=np.array(pictures[0].mean), std=np.array(pictures[0].std))
    train = replace(train, labels=train.labels % 4, classes=np.array(CLASSES[:4]))
    recipe = TrainConfig(epochs=np.int64(1), batch_size=np.int32(32), learning_rate=np.float64(1e-3))
    model = swapped_head(tiny())
    fit(model, train, recipe=recipe, checkpoint_path=tmp_path / "run.pt", progress=False)
    found = load_checkpoint(tmp_path / "run.pt")
    assert same_logits(found.model, model) and found.history.recipe == recipe
    again = fit(found.model, train, recipe=recipe, checkpoint_path=tmp_path / "run.pt", resume=True)
    assert again == found.history


def test_names_that_do_not_fit_the_model_are_refused_before_training(pictures, tmp_path):
    few = replace(pictures[0], classes=pictures[0].classes[:10])
    model = tiny(num_classes=12)
    with pytest.raises(ValueError, match="a model of 12 classes cannot learn 10"):
        fit(model, few, recipe=TrainConfig(**ONE_EPOCH), checkpoint_path=tmp_path / "run.pt", progress=False)
    with pytest.raises(CheckpointError, match="a model of 12 classes has 10 class names"):
        save_checkpoint(tmp_path / "run.pt", model, few)
    assert not list(tmp_path.iterdir())


# --- what only looks bad ----------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_pictures_take_the_kind_of_the_models_numbers(dtype, pictures):
    model = tiny().to(dtype)
    fit(model, pictures[0], recipe=TrainConfig(**ONE_EPOCH), progress=False)
    assert evaluate(model, pictures[1]).count == 16
    assert next(model.parameters()).dtype == dtype


def test_an_empty_batch_has_an_empty_answer():
    model = tiny()
    logits = model(torch.randn(0, 3, 32, 32))
    logits.sum().backward()
    assert logits.shape == (0, 10)
    assert [tuple(m.shape) for m in model.stage_maps(torch.randn(0, 3, 9, 5))] == [
        (0, 3, 2, 16),
        (0, 2, 1, 32),
    ]


@pytest.mark.parametrize("wrap", [
    lambda weights: {"model": weights},
    lambda weights: {"epoch": 3, "state_dict": weights},
    lambda weights: {"model_ema": {f"module.{name}": t for name, t in weights.items()}, "model": {}},
    lambda weights: {f"_orig_mod.module.{name}": t for name, t in weights.items()},
])  # fmt: skip
@pytest.mark.parametrize(
    ("export", "load"),
    [(torchvision_state_dict, load_torchvision_weights),
     (lambda model: official_state_dict(model)["model"], load_official_weights)],
)  # fmt: skip
def test_what_scripts_put_around_weights_is_taken_off_and_said(wrap, export, load, capsys):
    model, other = tiny(), create_model("nano", **TINY)
    load(other, wrap(export(model)))
    assert same_logits(model, other)
    assert "taking " in capsys.readouterr().out


def test_a_model_made_on_meta_works_once_it_has_weights():
    model = tiny()
    with torch.device("meta"):
        empty = create_model("nano", **TINY)
    empty = empty.to_empty(device="cpu")
    for module in empty.modules():
        if hasattr(module, "relative_position_index"):
            module.relative_position_index.fill_(-7)  # what memory happens to hold
    empty.load_state_dict(model.state_dict())
    assert same_logits(model, empty)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("window_size", [4, 3])  # the map is cut without padding, and with
def test_a_trace_answers_at_its_size_and_refuses_others(window_size):
    model = tiny(window_size=window_size).eval()
    trace = torch.jit.trace(model, torch.randn(2, 3, 32, 32))
    for B in (1, 2, 5):
        images = torch.randn(B, 3, 32, 32)
        torch.testing.assert_close(trace(images), model(images), atol=1e-5, rtol=1e-5)
    for h, w in ((33, 33), (64, 64), (32, 40), (16, 32)):
        with pytest.raises(RuntimeError, match="must match the existing size"):
            trace(torch.randn(2, 3, h, w))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("window_size", [4, 3])
def test_what_is_exported_to_onnx_answers_at_its_size_and_refuses_others(window_size, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    model, images = tiny(window_size=window_size).eval(), torch.randn(2, 3, 32, 32)
    path = str(tmp_path / "model.onnx")
    torch.onnx.export(model, (images,), path, dynamo=False, input_names=["images"],
                      dynamic_axes={"images": {0: "B", 2: "h", 3: "w"}})  # fmt: skip
    session = runtime.InferenceSession(path)
    (logits,) = session.run(None, {"images": images.numpy()})
    with torch.no_grad():
        assert np.abs(logits - model(images).numpy()).max() < 1e-4
    with pytest.raises(Exception, match="(?i)shape|dimension|broadcast|size"):
        session.run(None, {"images": torch.randn(2, 3, 33, 33).numpy()})


def test_a_home_folder_is_found(saved, tmp_path, monkeypatch, pictures):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    save_checkpoint("~/mine.pt", tiny(), pictures[0])
    assert same_logits(load_checkpoint("~/mine.pt").model, tiny())
    with pytest.raises(DataError, match="no CIFAR-10 in " + str(tmp_path / "data").replace("\\", ".")):
        load_cifar10("~/data", download=False)
    assert not Path("~").exists()


def test_a_folder_one_too_deep_is_recognised(tmp_path):
    deep = tmp_path / "data" / "cifar-10-batches-py"
    deep.mkdir(parents=True)
    for name in ("batches.meta", "test_batch"):
        (deep / name).touch()
    for name in ("auto", "cifar10"):
        with pytest.raises(DataError, match="is the folder of CIFAR-10 itself: give the one above it"):
            load_data(name, deep)


def test_a_mode_that_was_chosen_for_a_part_stays(pictures):
    model = tiny().train()
    model.stages[0].eval()
    before = [module.training for module in model.modules()]
    evaluate(model, pictures[1])
    assert [module.training for module in model.modules()] == before and len(set(before)) == 2


def test_metrics_of_nothing_are_refused(pictures):
    with pytest.raises(ValueError, match="no pictures"):
        Metrics.of(pictures[0].subset(slice(0)), torch.zeros(0, 10))
