"""Pictures in, answers out: from tensors, files or addresses to logits and class probabilities."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from swin_cifar.checkpoint import Checkpoint
from swin_cifar.data import ImageSet, normalize
from swin_cifar.pictures import PictureError, load_picture, to_tensor

Picture = str | Path | bytes | Image.Image | np.ndarray  # what `load_picture` takes


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode in here; afterwards each part of the model is in the mode it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@torch.no_grad()
def apply_in_batches(
    function: Callable[[Tensor], Tensor],
    model: nn.Module,
    images: Tensor,
    mean: Sequence[float],
    std: Sequence[float],
    batch_size: int = 500,
    amp: bool = False,
) -> Tensor:
    """(n, 3, h, w) uint8 -> (n, ...) float32: a function of normalised batches, the model in eval mode.

    Batches go to the model's device; with `amp` they are computed in bf16.
    """
    device, dtype = next(model.parameters()).device, dtype_of(model)
    with evaluating(model), torch.autocast(device.type, torch.bfloat16, enabled=amp):
        batches = images.split(batch_size)
        inputs = (normalize(batch.to(device), mean, std).to(dtype) for batch in batches)
        return torch.cat([function(x).float() for x in inputs])


def dtype_of(model: nn.Module) -> torch.dtype:
    """The kind of floats that the model's first layer takes."""
    return next(model.parameters()).dtype


def predict_logits(model: nn.Module, data: ImageSet, batch_size: int = 500, amp: bool = False) -> Tensor:
    """-> (n, classes) float32 logits for every picture of an `ImageSet`, in order, in eval mode."""
    return apply_in_batches(model, model, data.images, data.mean, data.std, batch_size, amp)


def classify(checkpoint: Checkpoint, pictures: Tensor) -> Tensor:
    """(B, C, h, w) uint8 -> (B, classes) float32 probabilities, on the model's device.

    The logits are divided by the checkpoint's temperature, so that 90% is right in 90% of the cases.
    """
    return (_logits(checkpoint, pictures) / checkpoint.temperature).softmax(1)


def _logits(checkpoint, pictures):
    model, data = checkpoint.model, checkpoint.dataset
    return apply_in_batches(model, model, pictures, data["mean"], data["std"])


def predict(checkpoint: Checkpoint, source: Picture) -> list[tuple[str, float]]:
    """-> [(class, probability)], the likeliest first, for anything that `load_picture` takes.

    The middle square of the picture is scaled to the size the model was trained on. Raises
    PictureError.
    """
    (answer,) = predict_many(checkpoint, [source])
    if isinstance(answer, PictureError):
        raise answer
    return answer


def predict_many(
    checkpoint: Checkpoint, sources: Sequence[Picture]
) -> list[list[tuple[str, float]] | PictureError]:
    """-> for each source what `predict` gives, or the PictureError that it raises. One batch."""
    config, classes = checkpoint.model.config, checkpoint.dataset["classes"]
    size = config.image_size
    answers, pictures = [], []
    for source in sources:
        try:
            pictures.append(to_tensor(load_picture(source, size), size, config.in_channels))
            answers.append(None)
        except PictureError as error:
            answers.append(error)
    if pictures:
        logits = _logits(checkpoint, torch.stack(pictures))
        orders = logits.argsort(dim=1, descending=True, stable=True)  # which no temperature changes
        shares = (logits / checkpoint.temperature).softmax(1)
        rows = zip(orders.tolist(), shares.tolist())
        for i, answer in enumerate(answers):
            if answer is None:
                order, share = next(rows)
                answers[i] = [(classes[k], share[k]) for k in order]
    return answers
