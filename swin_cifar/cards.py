"""Model cards: what a trained model is, in words, from its checkpoint and history alone."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import torch

from swin_cifar.checkpoint import Checkpoint
from swin_cifar.config import MODELS, SwinConfig
from swin_cifar.history import History
from swin_cifar.model import SwinTransformer


def table(rows: Sequence[Sequence[str]]) -> str:
    """-> Markdown; the first row is the head."""
    head, *body = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([head, "|" + "---|" * len(rows[0]), *body])


def duration(seconds: float) -> str:
    """In seconds below ten minutes, else in minutes."""
    return f"{seconds:,.0f} s" if seconds < 600 else f"{seconds / 60:,.0f} min"


def parameters(config: SwinConfig) -> str:
    """The number of parameters."""
    with torch.device("meta"):
        model = SwinTransformer(config)
    return f"{sum(p.numel() for p in model.parameters()):,}"


def architecture(config: SwinConfig) -> str:
    """The sizes of a model."""
    patch, depths = config.patch_size, " and ".join(map(str, config.depths))
    return (
        f"{parameters(config)} parameters, patches of {patch} x {patch} pixels, "
        f"{len(config.depths)} stages of {depths} blocks"
    )


def pictures(history: History) -> str:
    """The data of a run."""
    return (
        f"{history.dataset}: {history.train_size:,} pictures to train, "
        f"{history.validation_size:,} held out to validate"
    )


def preset_of(config: SwinConfig) -> str | None:
    """The preset that has this architecture, for whatever pictures and classes."""
    pictures_of = {name: getattr(config, name) for name in ("image_size", "in_channels", "num_classes")}
    return next((name for name, usual in MODELS.items() if replace(usual, **pictures_of) == config), None)


def facts(checkpoint: Checkpoint) -> dict[str, str]:
    """{what: in words} of a model's sizes, classes and, as far as its history tells, training."""
    config, history, classes = checkpoint.model.config, checkpoint.history, checkpoint.dataset["classes"]
    preset = preset_of(config)
    found = {
        "model": f"Swin Transformer{f', preset `{preset}`' if preset else ''}: {architecture(config)} on "
        f"{' and '.join(map(str, config.dims))} channels, windows of {config.window_size} x "
        f"{config.window_size} tokens",
        "classes": f"{len(classes)}: {', '.join(classes)}",
        "data": pictures(history) if history else checkpoint.dataset["name"],
    }
    if not history:
        return found | {"accuracy": "not known: the file holds no history of a training"}
    recipe, test = history.recipe, history.results.test
    begun = f" It began with the weights of `{history.parent}`." if history.parent else ""
    accuracies = []
    if history.epochs and history.epochs[-1].validation_accuracy is not None:
        share = history.epochs[-1].validation_accuracy
        accuracies.append(f"validation {share:.2%} of {history.validation_size:,} pictures")
    if test:
        accuracies.append(f"test {test.accuracy:.2%} of {test.count:,} pictures of {test.dataset}")
    else:
        accuracies.append("test: not measured")
    return found | {
        "accuracy": ", ".join(accuracies),
        "recipe": f"{len(history.epochs)} of {recipe.epochs} epochs in batches of {recipe.batch_size}, "
        f"{recipe.optimizer}, learning rate {recipe.learning_rate:g} and a cosine, weight decay "
        f"{recipe.weight_decay:g}, label smoothing {recipe.label_smoothing:g}, crops by "
        f"{recipe.crop_padding} pixels, {'' if recipe.flip else 'not '}mirrored, mixup for "
        f"{recipe.mixup_prob:.0%} of the pictures, cutmix for {recipe.cutmix_prob:.0%}, averaged weights "
        f"{f'with decay {recipe.ema_decay:g}' if recipe.ema_decay else 'off'}, seed {recipe.seed}.{begun}",
        "trained on": ", ".join(
            [history.device, duration(history.results.seconds)]
            + [f"{name} {number}" for name, number in history.versions.items()]
        ),
    }


def metadata(checkpoint: Checkpoint) -> dict[str, Any]:
    """What a program that runs the model must know: plain values, as JSON takes them."""
    config, data = checkpoint.model.config, checkpoint.dataset
    shape = f"batch, {config.in_channels}, {config.image_size}, {config.image_size}"
    return {
        "classes": list(data["classes"]),
        "mean": list(data["mean"]),
        "std": list(data["std"]),
        "image_size": config.image_size,
        "input": f"images: float32 ({shape}), of any number and this size alone; each channel is "
        "(pixel / 255 - mean) / std",
        "output": f"logits: float32 (batch, {config.num_classes}), in the order of classes; softmax makes "
        "probabilities of them",
        "dataset": data["name"],
        "config": asdict(config),
    }


def model_card(
    name: str, checkpoint: Checkpoint, about: str, compared: str, libraries: str, code: str
) -> str:
    """-> Markdown: `facts`, what the file `name` takes and gives, and the Python that runs it.

    `about`: its format; `compared`: how near it is to the checkpoint; `libraries`: the lines that import
    them; `code`: the lines from pictures x (B, C, h, w) to logits, both of NumPy.
    """
    said, side = metadata(checkpoint), checkpoint.model.config.image_size
    channels = checkpoint.model.config.in_channels
    grey = '.convert("L")' if channels == 1 else ""
    rows = facts(checkpoint) | {"format": about, "input": said["input"]}
    rows |= {part: ", ".join(f"{value:.6g}" for value in said[part]) for part in ("mean", "std")}
    rows |= {"output": said["output"], "compared": compared}
    return f"""# {name}

{table([["", ""], *([what, _cell(words)] for what, words in rows.items())])}

## How to run it

```python
import numpy as np
{libraries}
from PIL import Image, ImageOps

classes = {said["classes"]}
picture = ImageOps.fit(Image.open("cat.jpg").convert("RGB"), ({side}, {side})){grey}
mean = np.float32({said["mean"]})
std = np.float32({said["std"]})
x = np.float32(picture).reshape(1, {side}, {side}, {channels})
x = ((x / 255 - mean) / std).transpose(0, 3, 1, 2)
{code}print(classes[logits.argmax()])
```

## What it was not tested for

Nothing was measured but what stands above. Not for pictures from other sources than its data, nor of
another size, enlarged or reduced to {side} x {side}; not for pictures that show none of its classes: it
names one all the same; not for noise, blur or pictures made to deceive it; not for whether its
probabilities are right as often as they say, nor whether it does equally well on each class.
"""


def _cell(words):
    """Without what would end the cell or the row."""
    return " ".join(words.split()).replace("|", "\\|")
