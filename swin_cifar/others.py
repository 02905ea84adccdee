"""A model of another library as ours, so that everything of `inspection` works on it."""

import copy

import torch
from torch import Tensor, nn

from swin_cifar.model import SwinTransformer
from swin_cifar.predict import evaluating
from swin_cifar.pretrained import WeightsError, from_content
from swin_cifar.system import unwrapped
from swin_cifar.weights import LAYOUTS, their_name

TOLERANCE = 1e-5  # of the largest answer: both are computed in float64, ours from weights in float32


def from_other(model: nn.Module, images: Tensor | None = None) -> SwinTransformer:
    """A Swin of torchvision, timm, Hugging Face or Microsoft -> a SwinTransformer of ours, the same function.

    It has copies of the weights, of whatever head (none is `nn.Identity`), their device, dtype and mode;
    DataParallel and torch.compile are taken off. That both give the same answers is tested on the spot, on
    the CPU in float64: on the first of `images` (B, 3, h, w), or a random picture of the size that the model
    is for. (Their hooks are called; `model` stays as it is.) For a file of weights: `pretrained_model`.

    Raises TypeError for what is no nn.Module, and WeightsError where the answers differ, as where a map is
    padded and the others let attention leak into the padding; and for what is no such Swin, V2 by name.
    """
    if not isinstance(model, nn.Module):
        what = type(model).__name__
        raise TypeError(f"expected a model, got {what}; for a file: pretrained_model(path)[0]")
    theirs = unwrapped(model)
    name, kind = f"the given {type(theirs).__name__}", next(theirs.parameters(), torch.empty(0))
    weights = {key: tensor.detach().cpu() for key, tensor in theirs.state_dict().items()}
    found = from_content(name, weights)
    h, w = _size(theirs) if images is None else images.shape[2:]
    with torch.random.fork_rng(devices=[]):  # to look inside changes no later draw
        ours, taken = found.build(image_size=int(h))
    if taken.names.get("new"):  # no head, or another one than a linear layer
        ours.head = _head(theirs, found.layout)
    if images is None:
        images = torch.randn(1, ours.config.in_channels, h, w, generator=torch.Generator().manual_seed(0))
    _compare(name, theirs, ours, images[:1].detach().cpu().double())
    return ours.to(kind.device, kind.dtype).train(model.training)


def _size(theirs):
    """(h, w), in pixels: what the model says that it is for, else 224 x 224."""
    of_config = getattr(getattr(theirs, "config", None), "image_size", None)  # Hugging Face's and ours
    size = of_config or getattr(getattr(theirs, "patch_embed", None), "img_size", None) or 224
    return (size, size) if isinstance(size, int) else tuple(size)


def _head(theirs, layout):
    try:
        return copy.deepcopy(theirs.get_submodule(their_name("head.", LAYOUTS[layout]).rstrip(".")))
    except AttributeError:
        return nn.Identity()


@torch.no_grad()
def _compare(name, theirs, ours, images):
    """Raise WeightsError unless both give the same answers."""
    ours, theirs = (copy.deepcopy(each).cpu().double() for each in (ours, theirs))
    with evaluating(ours), evaluating(theirs):
        expected, found = theirs(images), ours(images)
    for field in ("logits", "pooler_output"):  # of Hugging Face
        expected = getattr(expected, field, expected)
    if getattr(expected, "shape", None) != found.shape:
        what = tuple(expected.shape) if isinstance(expected, Tensor) else type(expected).__name__
        raise WeightsError(f"{name} answers with {what}, not with {tuple(found.shape)}: one row a picture")
    off, largest = (found - expected).abs().max().item(), expected.abs().max().item()
    if off <= TOLERANCE * largest:
        return
    h, w = images.shape[2:]
    why = _padded(ours, images) or "it computes what its weights do not show"
    raise WeightsError(
        f"{name} and ours differ by {off:.2g}, in answers of up to {largest:.2g} to {h} x {w} pixels: {why}"
    )


def _padded(ours, images):
    M, unit = ours.config.window_size, ours.config.patch_size
    for x in ours.stage_maps(images):
        H, W = x.shape[1:3]
        if H % M or W % M:
            side = unit * M * 2 ** (len(ours.stages) - 1)
            return (
                f"the map of {H} x {W} tokens is padded to windows of {M} x {M}, and there only ours "
                f"keeps attention off the padding; sides that are multiples of {side} need none"
            )
