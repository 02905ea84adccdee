"""Data sets as uint8 tensors, and batched augmentation."""

import math
import os
import socket
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from errno import EACCES, EDQUOT, EEXIST, ENOSPC, ENOTDIR, EPERM, EROFS
from http.client import HTTPException
from pathlib import Path

import torch
import torch.nn.functional as F

from swin_cifar.config import TrainConfig
from swin_cifar.shapes10 import SHAPES, draw_shapes


class DataError(RuntimeError):
    """A data set is missing or damaged; the message says which file and what to do."""


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Labelled pictures of one data set, as tensors on one device.

    Raises TypeError or ValueError for tensors of another kind or shape, and for labels without a class.
    """

    name: str  # of the data set: "cifar10" or "shapes10"
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

    def split(self, held_out: int, seed: int = 0) -> "tuple[ImageSet, ImageSet]":
        """-> (the others, `held_out` pictures drawn at random by `seed`). Raises ValueError if too many."""
        if not 0 <= held_out < len(self):
            raise ValueError(f"cannot hold {held_out} pictures out of {len(self)}")
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        order = order.to(self.labels.device)
        return self.subset(order[held_out:]), self.subset(order[:held_out])


def load_data(
    name: str = "auto",
    root: str | Path = "data",
    download: bool = True,
    notice: Callable[[str], object] | None = None,
) -> tuple[ImageSet, ImageSet]:
    """-> (train, test): "cifar10", "shapes10", or "auto": CIFAR-10 where available, else shapes10.

    `notice` is told why it is not available. "auto" still raises DataError for a CIFAR-10 that
    is there but damaged. Raises ValueError for another name.
    """
    if name == "shapes10":
        return load_shapes10()
    if name not in ("auto", "cifar10"):
        raise ValueError(f"unknown data set {name!r}; there are: auto, cifar10, shapes10")
    try:
        return load_cifar10(root, download)
    except Unavailable as error:
        if name == "cifar10":
            raise
        if notice:
            notice(str(error))
        return load_shapes10()


# --- CIFAR-10 (torchvision is slow to import, so not before CIFAR-10 is asked for) ------

_OF_THE_DISK = {EACCES, EDQUOT, EEXIST, ENOSPC, ENOTDIR, EPERM, EROFS}
_SILENCE_SECONDS = 30  # a download that says nothing for so long is given up


class Unavailable(DataError):
    """CIFAR-10 is neither in the folder nor available from the network."""


def load_cifar10(root: str | Path = "data", download: bool = True) -> tuple[ImageSet, ImageSet]:
    """-> (train, test): 50,000 and 10,000 pictures 32 x 32, verified file by file (MD5).

    Downloads into `root` what is missing there. Files that are there are never replaced:
    a damaged one raises DataError naming it; so does a folder that cannot be written.
    Raises Unavailable, a DataError, where the data is neither present nor downloadable.
    (Krizhevsky 2009, "Learning multiple layers of features from tiny images".)
    """
    from torchvision.datasets import CIFAR10

    root = Path(root).expanduser()
    if (root / CIFAR10.meta["filename"]).exists():
        raise DataError(f"{root} is the folder of CIFAR-10 itself: give the one above it, {root.parent}")
    if _missing(root):
        if not download:
            raise Unavailable(f"no CIFAR-10 in {root}: put {CIFAR10.base_folder} there or allow the download")
        try:
            _download(root)
        except OSError as error:
            if error.errno in _OF_THE_DISK:
                raise DataError(f"cannot write to the data folder {root}: {error}") from error
            raise Unavailable(f"CIFAR-10 is not in {root} and could not be downloaded: {error}") from error
    raw = [CIFAR10(root, train=train, download=False) for train in (True, False)]
    images = [torch.from_numpy(r.data).permute(0, 3, 1, 2).contiguous() for r in raw]
    mean, std = channel_statistics(images[0])
    return tuple(
        ImageSet("cifar10", tuple(r.classes), mean, std, x, torch.tensor(r.targets))
        for r, x in zip(raw, images)
    )


def _missing(root):
    """-> the files that are not there, as paths below `root`. Raises DataError for a damaged one."""
    from torchvision.datasets import CIFAR10
    from torchvision.datasets.utils import check_integrity

    meta = CIFAR10.meta["filename"], CIFAR10.meta["md5"]
    missing = []
    for name, md5 in (*CIFAR10.train_list, *CIFAR10.test_list, meta):
        path = root / CIFAR10.base_folder / name
        if not path.exists():
            missing.append(path.relative_to(root))
        elif not check_integrity(path, md5):
            raise DataError(
                f"{path} is damaged: its MD5 is not the published one. "
                "Delete that file and run again to download it afresh"
            )
    return missing


def _download(root):
    """Fetch into a folder beside the target, verify, then move in only what is missing."""
    from torchvision.datasets import CIFAR10
    from torchvision.datasets.utils import check_integrity, extract_archive

    archive = root / CIFAR10.filename
    if archive.exists() and not check_integrity(archive, CIFAR10.tgz_md5):
        raise DataError(f"{archive} is damaged or incomplete: delete that file and run again")
    root.mkdir(parents=True, exist_ok=True)
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_SILENCE_SECONDS)
    try:
        with tempfile.TemporaryDirectory(dir=root, prefix=".partial-") as folder:
            if archive.exists():
                extract_archive(archive, folder)
            else:
                CIFAR10(folder, download=True)
            (root / CIFAR10.base_folder).mkdir(exist_ok=True)
            for path in _missing(root):
                os.replace(folder / path, root / path)
    except (RuntimeError, HTTPException) as error:  # a wrong MD5, no web server: a log-in page, say
        raise Unavailable(f"what was downloaded is not CIFAR-10: {error}") from error
    finally:
        socket.setdefaulttimeout(timeout)


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
