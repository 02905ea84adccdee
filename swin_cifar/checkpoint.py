"""Save and load a model with all that using it, or going on with its training, needs."""

import hashlib
import json
import pickle
import re
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import nn

from swin_cifar.config import SwinConfig
from swin_cifar.data import ImageSet
from swin_cifar.history import History
from swin_cifar.model import SwinTransformer
from swin_cifar.system import check_folder, first_line, unwrapped, write_atomically

SUMS = "SHA256SUMS"  # beside the checkpoints that ship
FORMAT = "swin_cifar 1"  # of our files
SAFETENSORS_KEY = "swin_cifar"  # under which a .safetensors file has, as JSON, all but the weights


class CheckpointError(RuntimeError):
    """A checkpoint cannot be written, read or continued; the message says why and what to do."""


@dataclass
class Checkpoint:
    """A loaded checkpoint: the model in eval mode and what belongs to it."""

    model: SwinTransformer
    dataset: dict  # name, classes, mean, std of the data it was trained on
    history: History | None
    resume_state: dict | None  # weights, optimizer, step, sums; None once a run has finished

    @property
    def temperature(self) -> float:
        """What divides the logits before softmax: that of its history, 1 where none was fitted."""
        return (self.history and self.history.results.temperature) or 1.0


def save_checkpoint(
    path: str | Path,
    model: SwinTransformer,
    data: ImageSet | dict,
    history: History | None = None,
    resume_state: dict | None = None,
) -> None:
    """Write the weights, the architecture and the data set's name, classes, mean and std.

    `data`: an `ImageSet` or the `dataset` of a `Checkpoint`. The file appears whole or not at
    all: an older one stays until the new one is on the disk. The history also goes beside it
    as JSON. Raises ValueError for a name that does not end in .pt, CheckpointError where the
    disk does not take it, for a published file, and for a model that could not be loaded again.
    """
    path, model = Path(path).expanduser(), unwrapped(model)
    if not isinstance(data, dict):
        data = {"name": data.name, "classes": data.classes, "mean": data.mean, "std": data.std}
    data = {
        "name": str(data["name"]),
        "classes": tuple(str(name) for name in data["classes"]),
        "mean": tuple(float(value) for value in data["mean"]),
        "std": tuple(float(value) for value in data["std"]),
    }
    config = _check(path, model, data["classes"])
    content = {
        "format": FORMAT,
        "config": asdict(config),
        "model": {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()},
        "dataset": data,
        "history": history.to_dict() if history else None,
        "training": resume_state,
    }
    writing, kept = path, "; the older file there is untouched" if path.exists() else ""
    try:
        write_atomically(path, content)
        writing, kept = path.with_suffix(".json"), f"; the checkpoint itself is saved, as {path}"
        if history:
            history.save(writing)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(f"could not write {writing}: {first_line(error)}{kept}") from error


def check_can_save(path: str | Path, model: nn.Module, classes: Sequence[str]) -> None:
    """Raise, before hours of training, what `save_checkpoint` or `load_checkpoint` would raise after them."""
    path = Path(path).expanduser()
    _check(path, unwrapped(model), classes)
    try:
        check_folder(path.parent)
    except OSError as error:
        raise CheckpointError(f"cannot write {path}: {error.__cause__}") from error


def check_continues(new: History, saved: History | None, path: str | Path) -> None:
    """Raise CheckpointError unless the run saved at `path` has the model, recipe and data of a new one."""
    if saved is None:
        raise CheckpointError(f"{path} holds a model without its training: there is no run to continue")
    new, saved = new.to_dict(), saved.to_dict()
    for name in ("model", "recipe", "dataset", "train_size", "validation_size"):
        ours, theirs = new[name], saved[name]
        if isinstance(ours, dict):
            keys = [key for key in ours if ours[key] != theirs[key]]
            ours, theirs = ({key: part[key] for key in keys} for part in (ours, theirs))
        if ours != theirs:
            raise CheckpointError(
                f"{path} is of another run, {name} there {theirs}, here {ours}: to begin anew, move it away"
            )


def load_checkpoint(
    path: str | Path, device: torch.device | str = "cpu", dataset: str | None = None
) -> Checkpoint:
    """-> `Checkpoint`. Only tensors and plain values are read: no code in the file ever runs.

    A file that `SHA256SUMS` beside it lists must have that SHA-256. Raises FileNotFoundError,
    or CheckpointError for a file that is damaged, holds code, is none of ours, does not fit
    its own architecture, or (with `dataset`) was trained on other data, and for a device that
    is not there.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    published = read_sums(path.with_name(SUMS)).get(path.name)
    if published and published != sha256(path):
        raise CheckpointError(
            f"{path} is not the file that was published: its SHA-256 is not the one in {SUMS}. "
            f"Get it again with `git checkout -- {path}`, or give a model of your own another name"
        )
    checkpoint = _build(path, _read(path))
    if dataset and checkpoint.dataset["name"] != dataset:
        raise CheckpointError(f"{path} was trained on {checkpoint.dataset['name']}, not on {dataset}")
    try:
        checkpoint.model.to(device)
    except (RuntimeError, AssertionError) as error:
        raise CheckpointError(f"cannot move the model of {path} to {device}: {first_line(error)}") from None
    return checkpoint


def read_safetensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """-> the tensors of a .safetensors file, and what it says of them. Raises CheckpointError."""
    try:
        from safetensors import safe_open
    except ImportError:
        raise CheckpointError(
            f"to read {path} install safetensors: python -m pip install safetensors"
        ) from None
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except Exception as error:  # of the library's own kind
        raise CheckpointError(f"{path} is damaged or no safetensors file: {first_line(error)}") from None


def _read(path):
    """-> the content of a file of ours, as `save_checkpoint` or `export` wrote it."""
    if path.suffix == ".safetensors":
        weights, said = read_safetensors(path)
        try:
            content = json.loads(said[SAFETENSORS_KEY]) | {"model": weights}
        except (KeyError, TypeError, ValueError):
            content = {}
        if content.get("format") != FORMAT:
            raise CheckpointError(f"{path} is not a swin_cifar checkpoint: `train --from` reads others")
        return content
    with open(path, "rb") as file:
        if file.read(40).startswith(b"version https://git-lfs"):
            raise CheckpointError(f"{path} only points to the file that Git LFS keeps: run `git lfs pull`")
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:  # torch itself does not compare the checksums
                if any(name.endswith("/constants.pkl") for name in archive.namelist()):
                    raise CheckpointError(f"{path} is a TorchScript program, not a checkpoint: refused")
                if bad := archive.testzip():
                    raise RuntimeError(f"the checksum of {bad} is wrong")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except pickle.UnpicklingError:
        raise CheckpointError(f"{path} is no checkpoint, or holds code: refused, nothing was run") from None
    except Exception as error:  # torch raises many kinds for damage
        raise CheckpointError(f"{path} is damaged or truncated: {first_line(error)}") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} is not a swin_cifar checkpoint: try load_torchvision_weights or load_official_weights"
        )
    return content


def _build(path, content):
    """-> a `Checkpoint` on the CPU."""
    try:
        content["dataset"]["name"]  # noqa: B018
        model = SwinTransformer(SwinConfig(**content["config"]))
        model.load_state_dict({name: t.float() for name, t in content["model"].items()})
        history = History.from_dict(content["history"]) if content["history"] else None
        return Checkpoint(model.eval(), content["dataset"], history, content["training"])
    except KeyError as error:
        raise CheckpointError(f"{path} is not whole: {error} is missing") from None
    except (AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path}: the weights do not fit the architecture: {error}") from None


def sha256(path: str | Path) -> str:
    """-> the SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def read_sums(path: Path) -> dict[str, str]:
    """{file name: SHA-256} from a file as `sha256sum` writes it, in text or binary mode.

    Empty where there is none. Raises CheckpointError for a line that is no sum, blank or a comment.
    """
    sums = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        if line.strip() and not line.startswith("#"):
            found = re.fullmatch(r"([0-9a-f]{64}) [ *](.+)", line.rstrip())
            if not found:
                raise CheckpointError(f"{path} has a line that is not a SHA-256 and a name: {line!r}")
            sums[found[2]] = found[1]
    return sums


def config_of(model: SwinTransformer) -> SwinConfig:
    """The config that a model has now, perhaps with another head than it was made with."""
    classes = getattr(model.head, "out_features", model.config.num_classes)
    return replace(model.config, num_classes=classes)


def _check(path, model, classes):
    """-> the config to save. Raises for what could not be saved, or not be loaded again."""
    if path.suffix != ".pt":  # or its history, in .json, could take the checkpoint's own name
        raise ValueError(f"the name of a checkpoint ends in .pt, got {path}")
    if path.name in read_sums(path.with_name(SUMS)):
        raise CheckpointError(f"{path} is a published file, and stays as it is: choose another name")
    config = config_of(model)
    if config.num_classes != len(classes):
        raise CheckpointError(f"a model of {config.num_classes} classes has {len(classes)} class names")
    with torch.device("meta"):
        plain = SwinTransformer(config)
    shapes = ({name: t.shape for name, t in m.state_dict().items()} for m in (model, plain))
    if len({tuple(sorted(found.items())) for found in shapes}) > 1:
        raise CheckpointError(
            "a checkpoint holds a plain SwinTransformer, and this model has other weights: "
            "train without `checkpoint_path` and save its state_dict yourself"
        )
    return config
