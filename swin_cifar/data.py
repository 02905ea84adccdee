"""Data sets as uint8 tensors, and batched augmentation."""

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F

from swin_cifar.config import TrainConfig
from swin_cifar.downloads import (
    DataError,
    Unavailable,
    check_memory,
    download_cifar,
    fetching,
    missing_files,
    read_fashion_mnist,
)
from swin_cifar.folders import Pictures, by_shares, read_folder, read_parts
from swin_cifar.shapes10 import SHAPES, draw_shapes


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Labelled pictures of one data set, as tensors on one device.

    Raises TypeError or ValueError for tensors of another kind or shape, and for labels without a class.
    """

    name: str  # of the data set: "cifar10", "shapes10", ..., or of a folder
    classes: tuple[str, ...]
    mean: tuple[float, ...]  # per channel over the training split, pixels in [0, 1]
    std: tuple[float, ...]
    images: torch.Tensor  # (n, C, h, w) uint8
    labels: torch.Tensor  # (n,) int64, an index into `classes`

    def __post_init__(self):
        for name, kind in (("classes", str), ("mean", float), ("std", float)):  # NumPy's become plain
            object.__setattr__(self, name, tuple(kind(value) for value in getattr(self, name)))
        for name, dtype, axes in (("images", torch.uint8, "(n, C, h, w)"), ("labels", torch.int64, "(n,)")):
            tensor = getattr(self, name)
            if not isinstance(tensor, torch.Tensor) or tensor.dtype != dtype:
                found = getattr(tensor, "dtype", type(tensor).__name__)
                raise TypeError(f"{name} must be a {dtype} tensor {axes}, got {found}")
        channels = len(self.mean)
        if self.images.ndim != 4 or self.images.shape[1] != channels or len(self.std) != channels:
            raise ValueError(
                f"images must be (n, C, h, w) with a mean and std for each channel, got {channels} means, "
                f"{len(self.std)} stds and images {tuple(self.images.shape)}"
            )
        if not all(math.isfinite(m) for m in self.mean) or not all(0 < s < math.inf for s in self.std):
            raise ValueError(f"means must be finite and stds positive, got {self.mean} and {self.std}")
        if self.labels.shape != self.images.shape[:1]:
            raise ValueError(f"{len(self.images)} pictures have labels {tuple(self.labels.shape)}")
        if self.labels.is_cpu and len(self.labels):
            low, high = self.labels.min().item(), self.labels.max().item()
            if low < 0 or high >= len(self.classes):
                raise ValueError(f"labels {low} to {high} do not fit {len(self.classes)} classes, from 0")

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str) -> "ImageSet":
        """The same pictures on another device."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def subset(self, indices: torch.Tensor | slice) -> "ImageSet":
        """The pictures at `indices`: an int64 tensor or a slice."""
        return replace(self, images=self.images[indices], labels=self.labels[indices])

    def resized(self, size: int) -> "ImageSet":
        """The same pictures, their middle square scaled to `size` x `size`. Raises DataError if too many."""
        if self.images.shape[-2:] == (size, size):
            return self
        from torchvision.transforms.v2.functional import InterpolationMode, center_crop, resize  # slow

        check_memory(self.name, len(self), self.images.shape[1], size)
        side, images = min(self.images.shape[-2:]), self.images.new_empty(*self.images.shape[:2], size, size)
        for old, new in zip(self.images.split(1000), images.split(1000)):
            new[:] = resize(center_crop(old, side), [size, size], InterpolationMode.BICUBIC)
        return replace(self, images=images)

    def with_channels(self, channels: int) -> "ImageSet":
        """The same pictures in colour (3) or in grey (1). Raises ValueError for another number."""
        if self.images.shape[1] == channels:
            return self
        if channels not in (1, 3):
            raise ValueError(f"pictures of {self.name} have 1 or 3 channels, not {channels}")
        from torchvision.transforms.v2.functional import rgb_to_grayscale

        if channels == 3:
            images, mean, std = self.images.expand(-1, 3, -1, -1), 3 * self.mean, 3 * self.std
        else:
            images = torch.cat([rgb_to_grayscale(part) for part in self.images.split(1000)])
            mean, std = channel_statistics(images)
        return replace(self, images=images, mean=mean, std=std)

    @classmethod
    def from_folder(cls, path: str | Path, size: int = 32) -> "ImageSet":
        """All pictures of a folder with a folder for each class: `folders.read_folder`."""
        return image_sets(path, [read_folder(path, size)])[0]

    def split(self, held_out: int, seed: int = 0, by_class: bool = False) -> "tuple[ImageSet, ImageSet]":
        """-> (the others, `held_out` pictures drawn at random by `seed`). Raises ValueError if too many.

        `by_class`: each class gives its share, at least one if there are as many to hold out, and not all.
        """
        if not 0 <= held_out < len(self):
            raise ValueError(f"cannot hold {held_out} pictures out of {len(self)}")
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        if by_class:
            order = order[by_shares(self.labels.cpu()[order])]
        order = order.to(self.labels.device)
        return self.subset(order[held_out:]), self.subset(order[:held_out])


DATA_SETS = ("cifar10", "cifar100", "fashion-mnist", "shapes10")


def load_data(
    name: str | Path = "auto",
    root: str | Path = "data",
    download: bool = True,
    notice: Callable[[str], object] | None = None,
    size: int | None = None,
) -> tuple[ImageSet, ImageSet]:
    """-> (train, test) of one of DATA_SETS, of a folder of pictures (`load_folder`), or of "auto".

    "auto" is CIFAR-10 where it is available, else shapes10, and `notice` is told why; a CIFAR-10 that
    is there but damaged still raises DataError. `size`: the side that pictures are scaled to, by
    default their own; those of a folder 32. Raises ValueError for a name that is neither.
    """
    loaders = {"cifar10": load_cifar10, "cifar100": load_cifar100, "fashion-mnist": load_fashion_mnist}
    if name == "auto":
        try:
            found = load_cifar10(root, download)
        except Unavailable as error:
            if notice:
                notice(str(error))
            found = load_shapes10()
    elif name == "shapes10":
        found = load_shapes10()
    elif name in loaders:
        found = loaders[name](root, download)
    elif Path(name).expanduser().is_dir():
        return load_folder(name, size or 32)
    else:
        raise ValueError(
            f"unknown data set {str(name)!r}; there are: auto, {', '.join(DATA_SETS)}, or a folder"
        )
    return tuple(part.resized(size) for part in found) if size else found


# --- published sets (torchvision is slow to import, so not before one is asked for) ------


def load_cifar10(root: str | Path = "data", download: bool = True) -> tuple[ImageSet, ImageSet]:
    """-> (train, test): 50,000 and 10,000 pictures 32 x 32, verified file by file (MD5).

    Downloads into `root` what is missing there. Files that are there are never replaced:
    a damaged one raises DataError naming it; so does a folder that cannot be written.
    Raises Unavailable, a DataError, where the data is neither present nor downloadable.
    (Krizhevsky 2009, "Learning multiple layers of features from tiny images".)
    """
    from torchvision.datasets import CIFAR10

    return _load_cifar("cifar10", CIFAR10, root, download)


def load_cifar100(root: str | Path = "data", download: bool = True) -> tuple[ImageSet, ImageSet]:
    """-> (train, test): as many pictures as CIFAR-10, of a hundred classes; else as `load_cifar10`."""
    from torchvision.datasets import CIFAR100

    return _load_cifar("cifar100", CIFAR100, root, download)


def _load_cifar(name, kind, root, download):
    """`kind`: torchvision's CIFAR10 or CIFAR100."""
    root = Path(root).expanduser()
    if (root / kind.meta["filename"]).exists() and (root / kind.test_list[0][0]).exists():
        raise DataError(
            f"{root} is the folder of {_title(kind)} itself: give the one above it, {root.parent}"
        )
    if missing_files(kind, root):
        with fetching(_title(kind), root, kind.base_folder, download):
            download_cifar(kind, root)
    raw = [kind(root, train=train, download=False) for train in (True, False)]
    images = [torch.from_numpy(r.data).permute(0, 3, 1, 2).contiguous() for r in raw]
    return _as_sets(name, raw, images)


def load_fashion_mnist(root: str | Path = "data", download: bool = True) -> tuple[ImageSet, ImageSet]:
    """-> (train, test): 60,000 and 10,000 grey pictures 28 x 28 of ten kinds of clothes, 1 channel.

    Downloads into `root` what is missing there. Raises as `load_cifar10`.
    (Xiao et al. 2017, "Fashion-MNIST: a novel image dataset for benchmarking machine learning algorithms".)
    """
    parts = read_fashion_mnist(Path(root).expanduser(), download)
    return _as_sets("fashion-mnist", parts, [part.data[:, None].contiguous() for part in parts])


def load_folder(path: str | Path, size: int = 32, seed: int = 0) -> tuple[ImageSet, ImageSet]:
    """-> (train, test) of a folder with `train` and `test`, or of one that is split by `seed`.

    Each of them has a folder for every class. Without `test` (or `val`) a fifth of each class is
    held out. Pictures are turned upright and made RGB; their middle square is scaled to `size` x `size`.
    The set is named like the folder. Raises DataError as `folders.read_folder`, and where the same
    picture is in both parts or in two classes.
    """
    return image_sets(path, read_parts(path, size, seed))


def image_sets(path: str | Path, parts: Sequence[Pictures]) -> tuple[ImageSet, ...]:
    """Parts of a folder's pictures -> sets named like it, with mean and std of the first."""
    mean, std = channel_statistics(parts[0].images)
    std = tuple(value or 1.0 for value in std)  # of pictures of one colour
    name = Path(os.path.abspath(Path(path).expanduser())).name
    if name in (*DATA_SETS, "auto", ""):  # the name of a published set; the root of a disk
        name = f"my-{name}".rstrip("-")
    return tuple(ImageSet(name, part.classes, mean, std, part.images, part.labels) for part in parts)


def _as_sets(name, raw, images):
    mean, std = channel_statistics(images[0])
    return tuple(
        ImageSet(name, tuple(r.classes), mean, std, x, torch.as_tensor(r.targets))
        for r, x in zip(raw, images)
    )


def _title(kind):
    return f"CIFAR-{kind.__name__.removeprefix('CIFAR')}"


def channel_statistics(images: torch.Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(n, C, h, w) uint8 -> mean and std of each channel, pixels counted in [0, 1]. Exact sums."""
    values = torch.arange(256, dtype=torch.float64)
    counts = torch.stack([channel.flatten().bincount(minlength=256) for channel in images.unbind(1)])
    share = counts.cpu().double() / counts[0].sum().item()  # (C, 256)
    mean = share @ values
    std = (share @ values**2 - mean**2).sqrt()
    return tuple((mean / 255).tolist()), tuple((std / 255).tolist())


def load_shapes10(train_size: int = 50_000, test_size: int = 10_000) -> tuple[ImageSet, ImageSet]:
    """-> (train, test): drawn pictures 32 x 32 of ten shapes, for machines without CIFAR-10.

    The same pictures every time: seeded, each size a prefix of any larger one per split.
    Shapes vary in place, size, angle and colour on an uneven background with noise.
    """
    images, labels = zip(*(draw_shapes(size, seed) for size, seed in ((train_size, 1), (test_size, 2))))
    mean, std = channel_statistics(images[0])
    return tuple(ImageSet("shapes10", tuple(SHAPES), mean, std, x, y) for x, y in zip(images, labels))


# --- from a batch of pictures to a batch for the model ---------------------------------


def training_batch(
    data: ImageSet, indices: torch.Tensor, recipe: TrainConfig, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """The pictures at `indices`, augmented -> images (B, 3, h, w) float, targets (B, classes)."""
    images, labels = (t.index_select(0, indices) for t in (data.images, data.labels))
    images = random_crop_flip(images, recipe.crop_padding, recipe.flip, generator)
    images = normalize(images, data.mean, data.std)
    return mixup_cutmix(images, labels, len(data.classes), recipe.mixup_prob, recipe.cutmix_prob, generator)


def normalize(images: torch.Tensor, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """(B, C, h, w) uint8 -> float32: pixels scaled to [0, 1], then mean 0 and std 1 per channel."""
    mean, std = (255 * torch.tensor(t).view(-1, 1, 1) for t in (mean, std))
    mean, std = (t.to(images.device, non_blocking=True) for t in (mean, std))
    return images.float().sub_(mean).div_(std)


def random_crop_flip(
    images: torch.Tensor, padding: int, flip: bool, generator: torch.Generator
) -> torch.Tensor:
    """(B, C, h, w) -> same: shift each picture by up to `padding` pixels, mirror half of them.

    The border is filled with zeros. One gather does both, whatever the device.
    """
    B, C, h, w = images.shape
    top, left = (_randint(2 * padding + 1, B, generator, images.device) for _ in range(2))
    rows = top[:, None] + torch.arange(h, device=images.device)  # (B, h)
    cols = torch.arange(w, device=images.device).expand(B, w)
    if flip:
        mirrored = _rand(B, generator, images.device) < 0.5
        cols = torch.where(mirrored[:, None], cols.flip(1), cols)
    cols = left[:, None] + cols  # (B, w)
    index = rows[:, :, None] * (w + 2 * padding) + cols[:, None, :]  # (B, h, w)
    padded = F.pad(images, (padding,) * 4).flatten(2)
    return padded.gather(2, index.view(B, 1, -1).expand(-1, C, -1)).view(B, C, h, w)


def mixup_cutmix(
    images: torch.Tensor,
    labels: torch.Tensor,
    num_classes: int,
    mixup_prob: float,
    cutmix_prob: float,
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mixup or CutMix, or neither, drawn per picture -> images (B, C, h, w) float, targets (B, num_classes).

    Each picture is mixed with another of the batch: mixup blends them, CutMix pastes a box.
    Its share lam is uniform in [0, 1], and the target holds the labels in that proportion.
    (Zhang et al. 2018, "mixup"; Yun et al. 2019, "CutMix".)
    """
    targets = F.one_hot(labels, num_classes).to(images.dtype)
    if mixup_prob + cutmix_prob == 0:
        return images, targets
    B, _, h, w = images.shape
    choice, lam, cy, cx = _rand(4 * B, generator, images.device).view(4, B, 1, 1)
    # CutMix: a box of that share of the area, around any point, cut off at the border.
    half = lam.sqrt() / 2
    y, x = ((torch.arange(n, device=images.device) + 0.5) / n for n in (h, w))
    box = ((y[:, None] - cy).abs() < half) & ((x - cx).abs() < half)  # (B, h, w)
    weight = torch.where(choice < mixup_prob + cutmix_prob, box.to(images.dtype), 0.0)
    weight = torch.where(choice < mixup_prob, lam, weight)  # (B, h, w)
    # The batch is shuffled already, so that a neighbour is a random partner.
    images = torch.lerp(images, images.roll(1, 0), weight[:, None])
    targets = torch.lerp(targets, targets.roll(1, 0), weight.mean((1, 2))[:, None])
    return images, targets


def _rand(n, generator, device):
    return torch.rand(n, generator=generator, device=generator.device).to(device)


def _randint(high, n, generator, device):
    return torch.randint(high, (n,), generator=generator, device=generator.device).to(device)
