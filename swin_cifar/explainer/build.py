"""Write the page: one HTML file that holds a model, pictures, and the code that computes and draws."""

import base64
import json
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from swin_cifar.checkpoint import Checkpoint
from swin_cifar.pictures import load_picture, to_tensor
from swin_cifar.shapes10 import draw_shapes

HERE = Path(__file__).parent
SCRIPTS = (  # each may use those before it
    "model.js",
    "field.js",
    "resize.js",
    "draw.js",
    "state.js",
    "parts.js",
    "views/way.js",
    "views/patches.js",
    "views/windows.js",
    "views/attention.js",
    "views/block.js",
    "views/merging.js",
    "views/head.js",
    "views/field_view.js",
    "views/changes.js",
    "views/own_picture.js",
    "app.js",
)
MAX_PARAMETERS = 10_000_000  # 53 MB of text; a browser answers a click of such a model in seconds


def explain_page(checkpoint: Checkpoint, pictures: Mapping[str, Tensor] | None = None) -> str:
    """-> the page of a checkpoint as HTML, which asks no network for anything.

    `pictures`: {name: (3, h, w) uint8} to begin with, scaled to the model's size where they
    have another; None = drawings that come with the package. Raises ValueError for a model of
    more than MAX_PARAMETERS and for one without three channels.
    """
    config, parameters = checkpoint.model.config, sum(p.numel() for p in checkpoint.model.parameters())
    if parameters > MAX_PARAMETERS:
        raise ValueError(
            f"a page holds at most {MAX_PARAMETERS:,} parameters, this model has {parameters:,}: "
            "explain one of nano, micro or mini"
        )
    if config.in_channels != 3:
        raise ValueError(f"the page shows pictures of 3 channels, this model takes {config.in_channels}")
    if pictures is None:
        pictures = drawings(checkpoint)
    model = {
        "config": {
            "imageSize": config.image_size,
            "patchSize": config.patch_size,
            "embedDim": config.embed_dim,
            "depths": config.depths,
            "numHeads": config.num_heads,
            "windowSize": config.window_size,
        },
        **{name: checkpoint.dataset[name] for name in ("name", "classes", "mean", "std")},
        "parameters": parameters,
        "state": {name: pack(value) for name, value in checkpoint.model.state_dict().items()},
        "pictures": {name: _pixels(picture, config.image_size) for name, picture in pictures.items()},
    }
    parts = {
        "style": _read("style.css"),
        "model": _json(model),
        "strings": _json(json.loads(_read("strings.json"))),
        "script": "\n".join(_script(name) for name in SCRIPTS),
    }
    return re.sub(r"<!-- (\w+) -->", lambda match: parts[match[1]], _read("page.html"))


def drawings(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """{name: (3, h, w) uint8}: ten drawn shapes for a model of shapes10, else six drawn scenes."""
    if checkpoint.dataset["name"] == "shapes10":
        images, labels = draw_shapes(len(checkpoint.dataset["classes"]), seed=0)
        return {checkpoint.dataset["classes"][label]: image for image, label in zip(images, labels.tolist())}
    size = checkpoint.model.config.image_size
    paths = sorted((HERE / "pictures").glob("*.png"))
    return {path.stem: to_tensor(load_picture(path), size) for path in paths}


def pack(value: Tensor, kind: str | None = None) -> dict:
    """A tensor as its shape and the bytes of its numbers.

    `kind`: "f2" (16 bits) or "f4" (32); None = 16 where that loses nothing, as in published checkpoints.
    """
    numbers = value.detach().cpu().float()
    if kind is None:
        kind = "f2" if torch.equal(numbers.half().float(), numbers) else "f4"
    raw = numbers.numpy().astype(f"<{kind}").tobytes()
    return {"shape": numbers.shape, "kind": kind, "bytes": base64.b64encode(raw).decode()}


def _pixels(picture, size):
    """The bytes of a picture at the model's size. (A PNG would be read by way of a canvas, and browsers
    that hide who they are add noise to those.)"""
    if picture.shape != (3, size, size):
        picture = to_tensor(Image.fromarray(np.ascontiguousarray(picture.permute(1, 2, 0).numpy())), size)
    return base64.b64encode(picture.contiguous().numpy().tobytes()).decode()


def _json(value):
    """JSON that may stand in a script element: nothing in it ends the element."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def _script(name):
    """A module as a part of one script: without its imports, nothing exported."""
    source = re.sub(r"^import .*?;\n", "", _read(name), flags=re.MULTILINE | re.DOTALL)
    return f"// === {name} ===\n" + re.sub(r"^export ", "", source, flags=re.MULTILINE)


def _read(name):
    return (HERE / name).read_text(encoding="utf-8")
