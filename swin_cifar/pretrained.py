"""A model that begins with the weights of another Swin, of whatever library, classes, window or patches."""

import math
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from swin_cifar.checkpoint import (
    FORMAT,
    SAFETENSORS_KEY,
    CheckpointError,
    load_checkpoint,
    read_safetensors,
)
from swin_cifar.config import SwinConfig, TrainConfig
from swin_cifar.model import SwinTransformer
from swin_cifar.system import first_line
from swin_cifar.weights import LAYOUTS, plain_weights, their_name

DERIVED = re.compile(r"attn_mask$|relative_position_index$|relative_coords_table$")  # follow from the sizes
OF_PLACES = re.compile(r"absolute_pos_embed$|embeddings\.position_embeddings$")
OF_V2 = re.compile(r"logit_scale|cpb_mlp|continuous_position_bias_mlp")
# How each layout is told, and where it names the blocks: (layout, a name in it, stage and block).
SIGNS = (
    ("swin_cifar", r"^stages\.0\.blocks\.", r"^stages\.(\d+)\.blocks\.(\d+)\."),
    ("torchvision", r"^features\.0\.0\.", r"^features\.(\d*[13579])\.(\d+)\."),
    ("Hugging Face", r"encoder\.layers\.0\.blocks\.", r"encoder\.layers\.(\d+)\.blocks\.(\d+)\."),
    ("Microsoft", r"^layers\.0\.downsample\.", r"^layers\.(\d+)\.blocks\.(\d+)\."),
    ("timm", r"^layers\.0\.blocks\.", r"^layers\.(\d+)\.blocks\.(\d+)\."),
)


class WeightsError(ValueError):
    """A file holds no weights that a Swin could begin with; the message says why."""


@dataclass
class Taken:
    """What became of the weights of a file; printed, it is a table."""

    layout: str
    whole: int = 0  # weights that were taken as they are
    names: dict[str, list[str]] = field(default_factory=dict)  # {what was done: the weights}

    def note(self, what: str, name: str) -> None:
        """One more weight."""
        self.names.setdefault(what, []).append(name)

    def __str__(self) -> str:
        rows = [("taken as they are", self.whole, "")]
        rows += [(what, len(names), _some(names)) for what, names in self.names.items()]
        width = max(len(row[0]) for row in rows)
        return "\n".join(f"  {what:{width}}  {count:4}  {names}".rstrip() for what, count, names in rows)


@dataclass
class Pretrained:
    """The weights of a Swin, as a file holds them."""

    path: Path | str  # or words for what is no file
    layout: str  # whose names they have
    weights: dict[str, Tensor]
    config: SwinConfig  # the sizes of the model that they were trained in
    classes: tuple[str, ...] | None = None  # of a checkpoint of ours
    recipe: TrainConfig | None = None  # likewise

    def build(self, new_head: bool = False, **overrides: object) -> tuple[SwinTransformer, Taken]:
        """-> a model that has these weights, and what became of them; as `pretrained_model` describes it.

        With `new_head` the head starts anew though it would fit.
        """
        model = SwinTransformer(replace(self.config, **overrides))
        taken, ours = Taken(self.layout), model.state_dict()
        names = {their_name(name, LAYOUTS[self.layout]): name for name in ours}
        for name in sorted(self.weights.keys() - names.keys()):
            taken.note("left out", name)
        for theirs, name in names.items():
            weight, wanted = self.weights.get(theirs), ours[name]
            if name.startswith("head.") and (new_head or weight is None or weight.shape != wanted.shape):
                taken.note("new", name)
                continue
            if weight is None:
                raise WeightsError(f"{self.path} is a Swin of {self.layout}, but has no {theirs}")
            weight = weight.float()
            if not weight.isfinite().all():
                raise WeightsError(f"{self.path} holds numbers that are not finite, in {theirs}")
            if weight.shape == wanted.shape:
                taken.whole += 1
            elif name.endswith("relative_position_bias_table") and weight.shape[1] == wanted.shape[1]:
                weight = resize_table(weight, math.isqrt(len(wanted)))
                taken.note("resized", name)
            elif name == "patch_embed.proj.weight" and len(weight) == len(wanted):
                weight = resize_patches(_with_channels(weight, wanted.shape[1]), wanted.shape[-1])
                taken.note("resized", name)
            else:
                shapes = f"{tuple(weight.shape)}, the model has {tuple(wanted.shape)}"
                raise WeightsError(f"{self.path} does not fit: {theirs} is {shapes}")
            ours[name] = weight
        model.load_state_dict(ours)
        return model, taken


def pretrained_model(path: str | Path, **overrides: object) -> tuple[SwinTransformer, Taken]:
    """A file of weights -> a model that has them, and what was taken, resized, made new or left out.

    `path`: a checkpoint of ours, or a state dict of torchvision's, Microsoft's, timm's or Hugging Face's
    Swin in `.pt`, `.pth`, `.bin` or `.safetensors`. Its sizes become the model's; `overrides` are fields of
    `SwinConfig`. Another number of classes gets a new head. Another window resizes the bias tables,
    bicubically (official code, `load_pretrained`); another patch size the filters, so that the resized
    picture gives the same tokens (Beyer et al. 2023, "FlexiViT", section 3.4); another number of
    channels adds up or repeats their colours. Raises WeightsError for everything else, Swin V2 by name.
    """
    return read_weights(path).build(**overrides)


def resize_table(table: Tensor, side: int) -> Tensor:
    """((2M-1)², heads) -> (side², heads): a bias table for another window, bicubically."""
    old = math.isqrt(len(table))
    picture = table.T.view(1, -1, old, old)
    return F.interpolate(picture, size=(side, side), mode="bicubic").flatten(2)[0].T.contiguous()


def resize_patches(filters: Tensor, side: int) -> Tensor:
    """(C, channels, P, P) -> (C, channels, side, side): filters for patches of another size.

    For a picture x and its enlargement R x, the new filters w' give the old answer: w'ᵀ R x = wᵀ x for
    every x, where R is bilinear. They are w' = (Rᵀ)⁺ w, with the pseudo-inverse. (Where patches get
    smaller, no w' can do it for every x, and this is the nearest.)
    """
    old = filters.shape[-1]
    if old == side:
        return filters
    basis = torch.eye(old * old).view(old * old, 1, old, old)
    resized = F.interpolate(basis, size=(side, side), mode="bilinear", antialias=True)
    inverse = torch.linalg.pinv(resized.flatten(1))  # (side², P²), of Rᵀ
    return (filters.flatten(2) @ inverse.T).view(*filters.shape[:2], side, side)


def _with_channels(filters, channels):
    """Grey is the same value in each colour: its filter is their sum; and a colour's a share of it."""
    if filters.shape[1] == channels:
        return filters
    return filters.sum(1, keepdim=True).expand(-1, channels, -1, -1) / channels


# --- reading -----------------------------------------------------------------------------


def read_weights(path: str | Path) -> Pretrained:
    """-> the weights in a file, and the sizes of the model that they belong to.

    Raises FileNotFoundError, and WeightsError as `pretrained_model`.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"no file of weights at {path}")
    content = _content(path)
    return _of_ours(path) if content.get("format") == FORMAT else from_content(path, content)


def from_content(path: Path | str, content: Mapping) -> Pretrained:
    """The content of a file, or a model's state dict -> as `read_weights`. Errors begin with `path`."""
    weights = plain_weights(content)
    for name, tensor in weights.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise WeightsError(f"{path} holds no state dict: {name!r} is {type(tensor).__name__}")
    if any(map(OF_V2.search, weights)):
        raise WeightsError(
            f"{path} holds a Swin V2, another architecture: only weights of the first Swin fit"
        )
    if any(map(OF_PLACES.search, weights)):
        raise WeightsError(f"{path} adds an embedding of absolute positions: no model of ours has one")
    layout = next((who for who, sign, _ in SIGNS if any(re.search(sign, name) for name in weights)), None)
    if layout is None:
        names = _some(sorted(weights)) or "nothing"
        raise WeightsError(
            f"{path} holds no Swin of torchvision, Microsoft, timm or Hugging Face, but {names}"
        )
    if layout == "Hugging Face":
        try:
            weights = _joined({name.removeprefix("swin."): tensor for name, tensor in weights.items()})
        except KeyError as error:
            raise WeightsError(f"{path} is a Swin of Hugging Face, but has no {error}") from None
    if layout == "timm" and "head.fc.weight" not in weights and "head.weight" in weights:
        layout = "Microsoft"  # of a single stage; or of timm before 0.9, where the names are the same
    weights = {name: tensor for name, tensor in weights.items() if not DERIVED.search(name)}
    config = _sizes(path, layout, weights)
    return Pretrained(path, layout, _of_one_window(weights, 2 * config.window_size - 1), config)


def _of_ours(path):
    """A checkpoint of ours, read and checked as everywhere."""
    saved = load_checkpoint(path)
    weights, recipe = saved.model.state_dict(), saved.history and saved.history.recipe
    return Pretrained(
        path, "swin_cifar", weights, saved.model.config, tuple(saved.dataset["classes"]), recipe
    )


def _of_one_window(weights, side):
    """Tables of smaller windows become the middle of larger ones: the other offsets cannot occur there.

    timm and Microsoft shrink the window of a stage whose map is smaller.
    """
    tables = {}
    for name, table in weights.items():
        old = math.isqrt(len(table)) if name.endswith("relative_position_bias_table") else side
        if old < side:
            padded = F.pad(table.T.unflatten(1, (old, old)), ((side - old) // 2,) * 4)
            tables[name] = padded.flatten(1).T.contiguous()
    return weights | tables


def _content(path):
    if path.suffix == ".safetensors":
        try:
            weights, said = read_safetensors(path)
        except CheckpointError as error:
            raise WeightsError(str(error)) from None
        return {"format": FORMAT} if SAFETENSORS_KEY in said else weights
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise WeightsError(f"{path} is no file of weights, or holds code beside them: refused") from None
    except Exception as error:  # torch raises many kinds for damage
        raise WeightsError(f"{path} is damaged or no file of weights: {first_line(error)}") from None
    if not isinstance(content, Mapping):
        raise WeightsError(
            f"{path} holds {type(content).__name__}, no state dict: save its state_dict() alone"
        )
    return content


def _joined(weights):
    """Hugging Face keeps queries, keys and values apart, under other names since its version 5."""
    newer = {
        **{"attention.q_proj": "attention.self.query", "attention.k_proj": "attention.self.key"},
        **{"attention.v_proj": "attention.self.value", "attention.o_proj": "attention.output.dense"},
        **{"attention.relative_position_bias": "attention.self"},
        **{"mlp.fc1": "intermediate.dense", "mlp.fc2": "output.dense"},
    }
    for new, old in newer.items():
        weights = {name.replace(f".{new}.", f".{old}."): tensor for name, tensor in weights.items()}
    joined = {}
    for name, tensor in weights.items():
        if match := re.fullmatch(r"(.*\.)(query|key|value)(\.\w+)", name):
            parts = (weights[match[1] + part + match[3]] for part in ("query", "key", "value"))
            joined[f"{match[1]}qkv{match[3]}"] = torch.cat(list(parts))
        else:
            joined[name] = tensor
    return joined


def _sizes(path, layout, weights):
    """-> the SwinConfig of the model whose weights these are."""
    pattern = next(blocks for name, _, blocks in SIGNS if name == layout)
    found = (re.search(pattern, name) for name in weights)
    blocks = sorted({(int(m[1]), int(m[2])) for m in found if m})
    stages = sorted({stage for stage, _ in blocks})
    depths = [1 + max(block for s, block in blocks if s == stage) for stage in stages]
    rules = LAYOUTS[layout]

    def weight(name):
        theirs = their_name(name, rules)
        if theirs not in weights:
            raise WeightsError(f"{path} is a Swin of {layout}, but has no {theirs}")
        return weights[theirs]

    proj = weight("patch_embed.proj.weight")
    tables = [weight(f"stages.{i}.blocks.0.attn.relative_position_bias_table") for i in range(len(depths))]
    fc1 = weight("stages.0.blocks.0.mlp.fc1.weight")
    sides = [math.isqrt(len(table)) for table in tables]
    square = all(side % 2 and side**2 == len(table) for side, table in zip(sides, tables))
    if not square or proj.ndim != 4 or proj.shape[2] != proj.shape[3]:
        raise WeightsError(f"{path} has windows or patches that are no squares: no model of ours has")
    head = weights.get(their_name("head.weight", rules))
    return SwinConfig(
        image_size=224,
        patch_size=proj.shape[-1],
        in_channels=proj.shape[1],
        embed_dim=len(proj),
        depths=depths,
        num_heads=[table.shape[1] for table in tables],
        window_size=(max(sides) + 1) // 2,
        mlp_ratio=fc1.shape[0] / fc1.shape[1],
        num_classes=1000 if head is None else len(head),
    )


def _some(names):
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
