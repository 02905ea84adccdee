"""What is exported answers as the model does, in the libraries that it is for; or it is refused."""

import io
import json
import re
import sys
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from oracles import enlarge_weights
from swin_cifar import (
    ExportError,
    SwinTransformer,
    export_checkpoint,
    load_checkpoint,
    model_config,
    predict,
    save_checkpoint,
    train_config,
)
from swin_cifar import export as module
from swin_cifar.__main__ import main
from swin_cifar.checkpoint import CheckpointError
from swin_cifar.history import Epoch, History, Metrics, Results
from swin_cifar.pretrained import WeightsError, read_weights
from swin_cifar.weights import torchvision_model, torchvision_state_dict

NANO = model_config("nano", embed_dim=12, depths=(1, 2), num_heads=(2, 3), num_classes=5)
CONFIGS = {
    "nano": NANO,
    "three stages": replace(
        NANO, image_size=16, patch_size=2, depths=(1, 2, 1), num_heads=(2, 3, 4), window_size=2
    ),
    "grey": replace(NANO, image_size=28, patch_size=2, in_channels=1, window_size=7),
    "padded": replace(NANO, image_size=20),  # a map of 5 x 5 in windows of 4
}
ENDINGS = {target: f".{ending.rpartition('.')[2]}" for target, (_, ending, *_) in module.TARGETS.items()}
LIBRARIES = {"onnx": "onnxruntime", "safetensors": "safetensors", "timm": "timm"}
SLOW = [pytest.param(target, marks=pytest.mark.slow) for target in ("onnx", "torch-export")]
FAST = ["safetensors", "timm", "torchvision"]


def saved(folder, config, history=None):
    """-> the path of a checkpoint: large weights, an untrained head."""
    torch.manual_seed(0)
    model = enlarge_weights(SwinTransformer(config))
    model.head.reset_parameters()
    channels = config.in_channels
    data = {"name": "things", "classes": ["a", "b|c", "d", "e", "été"], "mean": [0.5, 0.4, 0.3][:channels],
            "std": [0.2, 0.3, 0.25][:channels]}  # fmt: skip
    save_checkpoint(folder / "model.pt", model, data, history)
    return folder / "model.pt"


def history(config):
    epoch = {"train_loss": 1.0, "train_accuracy": 0.5, "learning_rate": 0.1, "seconds": 9.0}
    return History(
        model=config, recipe=train_config("nano", epochs=7, cutmix_prob=0.25), dataset="things",
        train_size=900, validation_size=80, device="CPU", versions={"torch": "2.6"}, parent="old.pt",
        epochs=[Epoch(i, images_per_second=9.0, validation_accuracy=0.625, **epoch) for i in range(1, 8)],
        results=Results(seconds=63.0, test=Metrics("things", 400, 1.0, 0.7525)),
    )  # fmt: skip


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """(name, target) -> checkpoint, what was written: once each, skipped where a library is not there."""
    made = {}

    def export(name, target):
        if target in LIBRARIES:
            pytest.importorskip(LIBRARIES[target])
        if target == "onnx":
            pytest.importorskip("onnxscript")
        if (name, target) not in made:
            folder, config = tmp_path_factory.mktemp("export"), CONFIGS[name]
            path = saved(folder, config, history(config))
            with pytest.MonkeyPatch.context() as monkeypatch:
                monkeypatch.setattr("swin_cifar.layers._CONVOLVES", True)  # as with AVX-512
                done = export_checkpoint(path, target, folder / f"out{ENDINGS[target]}")
            made[name, target] = load_checkpoint(path), done
        return made[name, target]

    return export


def run(path, target, images, config):
    """The answers of an exported file, read by nothing of ours but in safetensors."""
    if target == "onnx":
        session = pytest.importorskip("onnxruntime").InferenceSession(path)
        return torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])
    if target == "torch-export":
        return torch.export.load(path).module()(images)
    if target == "safetensors":
        model = SwinTransformer(config).eval()
        model.load_state_dict(pytest.importorskip("safetensors.torch").load_file(path))
        return model(images)
    if target == "timm":
        from timm.models.swin_transformer import SwinTransformer as Timm

        model = Timm(img_size=config.image_size, patch_size=config.patch_size, in_chans=config.in_channels,
                     num_classes=5, embed_dim=12, depths=config.depths, num_heads=config.num_heads,
                     window_size=config.window_size)  # fmt: skip
    else:
        model = torchvision_model(config)
    model.load_state_dict(torch.load(path, weights_only=True))
    return model.eval()(images)


@pytest.mark.parametrize("name", ["nano", "three stages", "grey"])
@pytest.mark.parametrize("target", [*FAST, *SLOW])
def test_an_export_answers_as_the_model_does(target, name, exported):
    if (target, name) == ("torchvision", "grey"):
        pytest.skip("refused, see below")
    checkpoint, done = exported(name, target)
    compare(checkpoint.model, done, target)
    assert checkpoint.model.config == CONFIGS[name]
    if target in ("onnx", "torch-export"):
        for h, w in ((32, 20), (33, 33), (8, 8), (64, 64)):
            with pytest.raises(Exception, match=r"(?i)expected|guard"):
                run(done.path, target, torch.randn(2, CONFIGS[name].in_channels, h, w), CONFIGS[name])


@pytest.mark.parametrize("target", ["safetensors", *SLOW])
def test_a_padded_model_too(target, exported):
    checkpoint, done = exported("padded", target)
    compare(checkpoint.model, done, target)


def compare(model, done, target):
    config, generator = model.config, torch.Generator().manual_seed(5)
    for B in (1, 2, 3, 7):
        shape = B, config.in_channels, config.image_size, config.image_size
        images = 2 * torch.randn(shape, generator=generator)
        with torch.no_grad():
            expected, found = model(images), run(done.path, target, images, config)
        assert B < 3 or expected.std(dim=0).min() > 0.01  # the picture matters
        assert found.shape == expected.shape
        assert (found - expected).abs().max() <= (1e-4 if target == "onnx" else 1e-5)
    assert done.difference <= 1e-5 and done.largest > 0.1


@pytest.mark.parametrize("target", ["timm", "torchvision"])
def test_what_other_libraries_pad_is_refused_because_they_answer_otherwise(target, tmp_path):
    pytest.importorskip(target)
    path = saved(tmp_path, CONFIGS["padded"])
    with pytest.raises(ExportError, match="windows of 4 tokens pad stage 1's map of 5 x 5"):
        export_checkpoint(path, target, tmp_path / "out.pth")
    assert {p.name for p in tmp_path.iterdir()} == {"model.pt"}
    model = load_checkpoint(path).model
    theirs = torchvision_model(model.config).eval()
    theirs.load_state_dict(torchvision_state_dict(model))
    images = torch.randn(4, 3, 20, 20)
    with torch.no_grad():
        assert (theirs(images) - model(images)).abs().max() > 0.01


def test_torchvision_takes_no_grey_pictures_and_no_patches_that_do_not_fit(tmp_path):
    path = saved(tmp_path, CONFIGS["grey"])
    with pytest.raises(ExportError, match="3 channels, not of 1: export to timm"):
        export_checkpoint(path, "torchvision", tmp_path / "out.pth")
    path = saved(tmp_path, replace(NANO, image_size=30))
    with pytest.raises(ExportError, match="patches of 4 pixels pad pictures of 30 x 30"):
        export_checkpoint(path, "torchvision", tmp_path / "out.pth")


def test_a_wrong_export_is_not_written(tmp_path, monkeypatch):
    path = saved(tmp_path, NANO)

    def wrong(model):
        weights = torchvision_state_dict(model)
        weights["features.1.0.attn.relative_position_bias_table"] = weights[
            "features.1.0.attn.relative_position_bias_table"
        ].flip(0)
        return weights

    monkeypatch.setattr(module, "torchvision_state_dict", wrong)
    with pytest.raises(ExportError, match=r"nothing was written: .* differ by .* is allowed"):
        export_checkpoint(path, "torchvision", tmp_path / "out.pth")
    monkeypatch.setattr(module, "torchvision_state_dict", lambda model: {})
    with pytest.raises(ExportError, match="this version of torchvision takes other weights"):
        export_checkpoint(path, "torchvision", tmp_path / "out.pth")
    assert {p.name for p in tmp_path.iterdir()} == {"model.pt"}


def test_answers_that_are_no_numbers_are_refused(tmp_path):
    path = saved(tmp_path, NANO)
    checkpoint = load_checkpoint(path)
    checkpoint.model.head.bias.data[0] = torch.nan
    save_checkpoint(path, checkpoint.model, checkpoint.dataset)
    with pytest.raises(ExportError, match="differ by nan"):
        export_checkpoint(path, "torchvision", tmp_path / "out.pth")


# --- the card ---------------------------------------------------------------------------


@pytest.mark.parametrize("target", [*FAST, *SLOW])
@pytest.mark.parametrize("name", ["nano", "grey"])
def test_the_python_in_the_card_names_what_predict_names(target, name, exported, monkeypatch, capsys):
    if (target, name) == ("torchvision", "grey"):
        pytest.skip("refused")
    checkpoint, done = exported(name, target)
    monkeypatch.chdir(done.path.parent)
    code = re.search(r"```python\n(.*?)```", done.card.read_text(encoding="utf-8"), re.DOTALL)[1]
    generator = np.random.default_rng(0)
    places = {}
    for i in range(6):
        small = Image.fromarray(generator.integers(0, 256, (3, 4, 3), dtype=np.uint8))
        small.resize((90, 60)).save("cat.jpg")
        exec(compile(code, "card", "exec"), places := {})
        answer = dict(predict(checkpoint, "cat.jpg"))
        assert capsys.readouterr().out.strip() == max(answer, key=answer.get), i
        logits = torch.from_numpy(places["logits"])
        expected = torch.tensor([answer[c] for c in checkpoint.dataset["classes"]])
        assert (logits.softmax(1)[0] - expected).abs().max() < 1e-5


def test_a_card_says_what_the_history_knows_and_no_more(exported, tmp_path):
    rows = card_rows(exported("nano", "torchvision")[1].card)
    assert rows["accuracy"] == "validation 62.50% of 80 pictures, test 75.25% of 400 pictures of things"
    assert rows["classes"] == r"5: a, b\|c, d, e, été"
    assert rows["data"] == "things: 900 pictures to train, 80 held out to validate"
    assert rows["recipe"].startswith("7 of 7 epochs in batches of 128, muon, learning rate 0.003")
    assert "cutmix for 25%" in rows["recipe"] and rows["recipe"].endswith("weights of `old.pt`.")
    assert rows["trained on"] == "CPU, 63 s, torch 2.6"
    assert (rows["mean"], rows["std"]) == ("0.5, 0.4, 0.3", "0.2, 0.3, 0.25")
    assert "(batch, 3, 32, 32)" in rows["input"] and "(batch, 5)" in rows["output"]
    number = sum(p.numel() for p in SwinTransformer(NANO).parameters())
    assert f"{number:,} parameters, patches of 4 x 4 pixels, 2 stages of 1 and 2 blocks" in rows["model"]
    assert "preset" not in rows["model"]  # its sizes are of none
    assert "torchvision.models.swin_transformer.SwinTransformer(patch_size=[4, 4]," in rows["format"]

    done = export_checkpoint(saved(tmp_path, NANO), "torchvision", tmp_path / "out.pth")
    bare = card_rows(done.card)
    assert bare["accuracy"] == "not known: the file holds no history of a training"
    assert bare["data"] == "things" and bare.keys() & {"recipe", "trained on"} == set()


def test_a_card_of_an_unfinished_run_says_that_nothing_was_measured(tmp_path):
    unfinished = replace(history(NANO), results=Results(), validation_size=0, parent=None)
    unfinished.epochs = [replace(unfinished.epochs[0], validation_accuracy=None)]
    done = export_checkpoint(saved(tmp_path, NANO, unfinished), "torchvision", tmp_path / "out.pth")
    rows = card_rows(done.card)
    assert rows["accuracy"] == "test: not measured" and rows["recipe"].startswith("1 of 7 epochs")


def card_rows(path):
    _, _, *rows = (line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("|"))
    return dict(row.strip("| ").split(" | ", 1) for row in rows)


# --- what the files hold ----------------------------------------------------------------


@pytest.mark.slow
def test_onnx_says_what_it_takes_and_nothing_of_this_machine(exported):
    onnx = pytest.importorskip("onnx")
    _, done = exported("nano", "onnx")
    proto = onnx.load(done.path)
    said = {entry.key: entry.value for entry in proto.metadata_props}
    assert json.loads(said["classes"]) == ["a", "b|c", "d", "e", "été"]
    assert json.loads(said["mean"]) == [0.5, 0.4, 0.3] and json.loads(said["std"]) == [0.2, 0.3, 0.25]
    assert json.loads(said["image_size"]) == 32 and "pixel / 255 - mean" in said["input"]
    shape = proto.graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_param or d.dim_value for d in shape] == ["batch", 3, 32, 32]
    assert [entry.version for entry in proto.opset_import] == [18]
    assert [node.op_type for node in proto.graph.node].count("Conv") == 1  # linear layers are none
    assert b".py" not in done.path.read_bytes()


@pytest.mark.slow
def test_torch_export_says_what_it_takes_and_nothing_of_this_machine(exported):
    _, done = exported("nano", "torch-export")
    extra = {"swin_cifar.json": ""}
    torch.export.load(done.path, extra_files=extra)
    assert json.loads(extra["swin_cifar.json"])["std"] == [0.2, 0.3, 0.25]
    with zipfile.ZipFile(done.path) as archive:
        assert not any(b"model.py" in archive.read(name) for name in archive.namelist())


def test_safetensors_goes_on_as_the_checkpoint_does(exported):
    checkpoint, done = exported("grey", "safetensors")
    again = load_checkpoint(done.path)
    assert again.history == checkpoint.history and again.model.config == CONFIGS["grey"]
    assert {**again.dataset, "classes": tuple(again.dataset["classes"])} == {
        **checkpoint.dataset, "mean": list(checkpoint.dataset["mean"]), "std": list(checkpoint.dataset["std"])
    }  # fmt: skip
    (ours, theirs) = (
        read_weights(path) for path in (done.path.with_name("model.pt"), done.path)
    )  # as `--from` does
    assert (theirs.config, theirs.classes, theirs.recipe, theirs.layout) == (
        ours.config, ours.classes, ours.recipe, ours.layout
    )  # fmt: skip
    model, taken = theirs.build()
    assert taken.names == {} and model.config == CONFIGS["grey"]
    for (name, a), b in zip(model.state_dict().items(), checkpoint.model.state_dict().values()):
        assert torch.equal(a, b), name


def test_safetensors_that_are_no_checkpoint_are_refused_as_such(tmp_path, monkeypatch):
    save_file = pytest.importorskip("safetensors.torch").save_file
    for said in (None, {"swin_cifar": "[]"}, {"swin_cifar": "{}"}, {"swin_cifar": "{"}):
        save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors", metadata=said)
        with pytest.raises(CheckpointError, match="not a swin_cifar checkpoint"):
            load_checkpoint(tmp_path / "x.safetensors")
    (tmp_path / "x.safetensors").write_bytes(b"no")
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(tmp_path / "x.safetensors")
    monkeypatch.setitem(sys.modules, "safetensors", None)
    for read, error in ((load_checkpoint, CheckpointError), (read_weights, WeightsError)):
        with pytest.raises(error, match="python -m pip install safetensors"):
            read(tmp_path / "x.safetensors")


def test_weights_in_half_precision_become_float32(tmp_path):
    path = saved(tmp_path, NANO)
    checkpoint = load_checkpoint(path)
    save_checkpoint(path, checkpoint.model.half(), checkpoint.dataset)
    done = export_checkpoint(path, "torchvision", tmp_path / "out.pth")
    weights = torch.load(done.path, weights_only=True)
    assert {t.dtype for t in weights.values()} == {torch.float32, torch.int64}


# --- what is refused --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "library"),
    [("onnx", "onnx"), ("onnx", "onnxscript"), ("onnx", "onnxruntime"), ("timm", "timm"),
     ("safetensors", "safetensors")],
)  # fmt: skip
def test_a_missing_library_is_named_before_any_work(target, library, tmp_path, monkeypatch, capsys):
    for name in (*LIBRARIES.values(), "onnx", "onnxscript"):
        monkeypatch.setitem(sys.modules, name, io)  # as if it were there
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.setattr(module, "load_checkpoint", lambda path: pytest.fail("work was done"))
    out = tmp_path / f"out{ENDINGS[target]}"
    assert main(["export", str(tmp_path / "model.pt"), "--to", target, "--out", str(out)]) == 1
    said = capsys.readouterr().err
    assert f"to export to {target} install {library}: python -m pip install {library}\n" in said
    assert not list(tmp_path.iterdir())


def test_what_makes_no_sense_is_refused(tmp_path):
    path, out = saved(tmp_path, NANO), tmp_path / "out.pth"
    with pytest.raises(ValueError, match="unknown target 'tflite'; there are: onnx, torch-export"):
        export_checkpoint(path, "tflite", out)
    with pytest.raises(ValueError, match=r"for torchvision ends in \.pth, got .*out\.pt"):
        export_checkpoint(path, "torchvision", tmp_path / "out.pt")
    with pytest.raises(FileNotFoundError):
        export_checkpoint(tmp_path / "none.pt", "torchvision", out)
    for taken in (out, tmp_path / "out.pth.md"):
        taken.write_text("mine")
        with pytest.raises(ValueError, match=f"{taken.name} exists already: choose another --out"):
            export_checkpoint(path, "torchvision", out)
        assert taken.read_text() == "mine"
        taken.unlink()
    assert {p.name for p in tmp_path.iterdir()} == {"model.pt"}


def test_where_the_disk_is_full_no_card_stays_alone(tmp_path, monkeypatch):
    write = module.write_atomically

    def full(path, content):
        if path.suffix == ".pth":
            raise OSError("no space left")
        write(path, content)

    path = saved(tmp_path, NANO)
    monkeypatch.setattr(module, "write_atomically", full)
    with pytest.raises(OSError, match="no space"):
        export_checkpoint(path, "torchvision", tmp_path / "out.pth")
    assert {p.name for p in tmp_path.iterdir()} == {"model.pt"}


def test_the_command_says_how_near_and_overwrites_nothing(tmp_path, monkeypatch, capsys):
    path = saved(tmp_path, NANO)
    monkeypatch.chdir(tmp_path)
    for name in ("model-torchvision.pth", "model-torchvision-2.pth"):
        assert main(["export", str(path), "--to", "torchvision"]) == 0
        said = capsys.readouterr().out
        assert f"{name}, 0." in said and f"{name}.md" in said and "differ by" in said
        assert "torchvision.models.swin_transformer.SwinTransformer(" in said
    runs = tmp_path / "checkpoints" / "runs"
    names = {f"model-torchvision{number}.pth{end}" for number in ("", "-2") for end in ("", ".md")}
    assert {p.name for p in runs.iterdir()} == names
    assert main(["export", str(tmp_path / "none.pt"), "--to", "torchvision"]) == 1
    assert {p.name for p in runs.iterdir()} == names  # the name that was claimed is given back
