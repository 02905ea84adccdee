"""CIFAR-10 as tensors, the built-in picture set, and batched augmentation."""

import errno
import math
import os
import socket
import tempfile
from dataclasses import dataclass, replace
from http.client import HTTPException
from pathlib import Path

import torch
import torch.nn.functional as F
from torchvision.datasets import CIFAR10
from torchvision.datasets.utils import check_integrity, extract_archive


class DataError(RuntimeError):
    """A data set is missing or damaged; the message says which file and what to do."""


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Labelled pictures of one data set, as tensors on one device."""

    name: str  # of the data set: "cifar10" or "shapes10"
    classes: tuple[str, ...]
    mean: tuple[float, ...]  # per channel over the training split, pixels in [0, 1]
    std: tuple[float, ...]
    images: torch.Tensor  # (n, 3, h, w) uint8
    labels: torch.Tensor  # (n,) int64, an index into `classes`

    def __len__(self):
        return len(self.labels)

    def to(self, device):
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def subset(self, indices):
        """The pictures at `indices`: an int64 tensor or a slice."""
        return replace(self, images=self.images[indices], labels=self.labels[indices])

    def split(self, held_out, seed=0):
        """-> (the others, `held_out` pictures drawn at random by `seed`)."""
        if not 0 <= held_out < len(self):
            raise ValueError(f"cannot hold {held_out} pictures out of {len(self)}")
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        order = order.to(self.labels.device)
        return self.subset(order[held_out:]), self.subset(order[:held_out])


def load_data(name="auto", root="data", download=True):
    """-> (train, test): "cifar10", "shapes10", or "auto": CIFAR-10 where it can be had, else shapes10.

    "auto" still raises DataError for a CIFAR-10 that is there but damaged.
    """
    if name == "shapes10":
        return load_shapes10()
    if name not in ("auto", "cifar10"):
        raise ValueError(f"unknown data set {name!r}; there are: auto, cifar10, shapes10")
    try:
        return load_cifar10(root, download)
    except Unavailable:
        if name == "cifar10":
            raise
        return load_shapes10()


# --- CIFAR-10 ---------------------------------------------------------------------------

_FOLDER = CIFAR10.base_folder
_FILES = [*CIFAR10.train_list, *CIFAR10.test_list, [CIFAR10.meta["filename"], CIFAR10.meta["md5"]]]
_OF_THE_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EEXIST, errno.ENOTDIR}
_SILENCE_SECONDS = 30  # a download that says nothing for so long is given up


class Unavailable(DataError):
    """CIFAR-10 is neither in the folder nor to be had from the network."""


def load_cifar10(root="data", download=True):
    """-> (train, test): 50,000 and 10,000 pictures 32 x 32, verified file by file (MD5).

    Downloads into `root` what is missing there. Files that are there are never replaced:
    a damaged one raises DataError naming it; so does a folder that cannot be written.
    Raises Unavailable, a DataError, where the data is neither present nor downloadable.
    (Krizhevsky 2009, "Learning multiple layers of features from tiny images".)
    """
    root = Path(root)
    if not _all_present(root):
        if not download:
            raise Unavailable(f"no CIFAR-10 in {root}: allow the download, or put {_FOLDER} there")
        try:
            _download(root)
        except OSError as error:
            kind = DataError if error.errno in _OF_THE_DISK else Unavailable
            raise kind(f"CIFAR-10 is not in {root} and could not be downloaded: {error}") from error
        _all_present(root)
    raw = [CIFAR10(root, train=train, download=False) for train in (True, False)]
    images = [torch.from_numpy(r.data).permute(0, 3, 1, 2).contiguous() for r in raw]
    mean, std = channel_statistics(images[0])
    return tuple(
        ImageSet("cifar10", tuple(r.classes), mean, std, x, torch.tensor(r.targets))
        for r, x in zip(raw, images)
    )


def _all_present(root):
    """Whether every file is there. Raises DataError for one that is there and damaged."""
    paths = [(root / _FOLDER / name, md5) for name, md5 in _FILES]
    present = [(path, md5) for path, md5 in paths if path.exists()]
    for path, md5 in present:
        if not check_integrity(path, md5):
            raise DataError(
                f"{path} is damaged: its MD5 is not the published one. "
                "Delete that file and run again to download it afresh"
            )
    return len(present) == len(paths)


def _download(root):
    """Fetch into a folder beside the target, verify, then move in only what is missing."""
    archive = root / CIFAR10.filename
    if archive.exists() and not check_integrity(archive, CIFAR10.tgz_md5):
        raise DataError(f"{archive} is damaged or incomplete: delete that file and run again")
    try:
        root.mkdir(parents=True, exist_ok=True)
        partial = tempfile.TemporaryDirectory(dir=root, prefix=".partial-")
    except OSError as error:
        raise DataError(f"cannot write to the data folder {root}: {error}") from error
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_SILENCE_SECONDS)
    try:
        with partial as folder:
            if archive.exists():
                extract_archive(str(archive), folder)
            else:
                _fetch(folder)
            (root / _FOLDER).mkdir(exist_ok=True)
            for name, _ in _FILES:
                if not (root / _FOLDER / name).exists():
                    os.replace(Path(folder) / _FOLDER / name, root / _FOLDER / name)
    finally:
        socket.setdefaulttimeout(timeout)


def _fetch(folder):
    try:
        CIFAR10(folder, download=True)
    except (RuntimeError, HTTPException) as error:  # a wrong MD5, no web server: a log-in page, say
        raise Unavailable(f"what was downloaded is not CIFAR-10: {error}") from error


def channel_statistics(images):
    """(n, C, h, w) uint8 -> mean and std of each channel, pixels counted in [0, 1]. Exact sums."""
    values = torch.arange(256, dtype=torch.float64)
    counts = torch.stack([channel.flatten().bincount(minlength=256) for channel in images.unbind(1)])
    share = counts.cpu().double() / counts[0].sum().item()  # (C, 256)
    mean = share @ values
    std = (share @ values**2 - mean**2).sqrt()
    return tuple((mean / 255).tolist()), tuple((std / 255).tolist())


# --- the built-in pictures --------------------------------------------------------------


def load_shapes10(train_size=50_000, test_size=10_000):
    """-> (train, test): drawn pictures 32 x 32 of ten shapes, for machines without CIFAR-10.

    The same pictures every time: seeded, each size a prefix of any larger one per split.
    Shapes vary in place, size, angle and colour on an uneven background with noise.
    """
    images, labels = zip(*(_draw_shapes(size, seed) for size, seed in ((train_size, 1), (test_size, 2))))
    mean, std = channel_statistics(images[0])
    return tuple(ImageSet("shapes10", tuple(_SHAPES), mean, std, x, y) for x, y in zip(images, labels))


def _bar(x, y, half_length=0.85, half_width=0.25):
    return torch.maximum(x.abs() - half_length, y.abs() - half_width)


def _disc(x, y, radius=0.75):
    return torch.hypot(x, y) - radius


def _square(x, y):
    return _bar(x, y, 0.65, 0.65)


def _star(x, y):
    return torch.hypot(x, y) - 0.55 - 0.27 * torch.cos(5 * torch.atan2(y, x))


# Each function is negative inside the shape, in coordinates where the shape's radius is about 1.
_SHAPES = {
    "disc": _disc,
    "ring": lambda x, y: _disc(x, y, 0.6).abs() - 0.17,
    "square": _square,
    "frame": lambda x, y: _square(x, y).abs() - 0.15,
    "triangle": lambda x, y: torch.maximum(-y - 0.45, 0.866 * x.abs() + 0.5 * y - 0.45),
    "star": _star,
    "cross": lambda x, y: torch.minimum(_bar(x, y), _bar(y, x)),
    "bar": _bar,
    "crescent": lambda x, y: torch.maximum(_disc(x, y), -_disc(x - 0.4, y, 0.6)),
    "dumbbell": lambda x, y: torch.minimum(_disc(x - 0.5, y, 0.38), _disc(x + 0.5, y, 0.38)),
}


def _draw_shapes(n, seed, side=32, chunk=1000):
    """-> (n, 3, side, side) uint8 pictures and their labels, the classes in turn."""
    generator = torch.Generator().manual_seed(seed)
    grid = torch.arange(side) + 0.5
    images = torch.empty(n, 3, side, side, dtype=torch.uint8)
    labels = torch.arange(n) % len(_SHAPES)
    for start in range(0, n, chunk):
        # A whole chunk is drawn even for its first pictures alone, so that sizes are prefixes.
        def uniform(low, high, *shape):
            return torch.rand(chunk, *shape, generator=generator) * (high - low) + low

        radius, angle = uniform(6, 13, 1, 1), uniform(0, 2 * math.pi, 1, 1)
        dx, dy = grid - uniform(11, 21, 1, 1), grid[:, None] - uniform(11, 21, 1, 1)
        x = (dx * angle.cos() + dy * angle.sin()) / radius  # (chunk, side, side)
        y = (dy * angle.cos() - dx * angle.sin()) / radius
        background = uniform(0, 1, 3, 1, 1)
        colour = (background + uniform(0.3, 0.7, 3, 1, 1)) % 1  # differs by 0.3 or more
        waves = F.interpolate(uniform(-0.3, 0.3, 6, 4, 4), side, mode="bicubic")
        noise = torch.randn(chunk, 3, side, side, generator=generator) * 0.08
        for i, shape in enumerate(_SHAPES.values()):
            of_class = slice(i, None, len(_SHAPES))
            distance = shape(x[of_class], y[of_class]) * radius[of_class]
            inside = (0.5 - distance).clamp(0, 1)[:, None]  # soft edge, one pixel wide
            near = colour[of_class] + waves[of_class, :3]
            far = background[of_class] + waves[of_class, 3:]
            picture = inside * near + (1 - inside) * far + noise[of_class]
            target = images[start : start + chunk][of_class]
            target.copy_((picture.clamp(0, 1) * 255).round()[: len(target)])
    return images, labels


# --- from a batch of pictures to a batch for the model ---------------------------------


def normalize(images, mean, std):
    """(B, C, h, w) uint8 -> float32: pixels scaled to [0, 1], then mean 0 and std 1 per channel."""
    mean, std = (255 * torch.tensor(t).view(-1, 1, 1) for t in (mean, std))
    mean, std = (t.to(images.device, non_blocking=True) for t in (mean, std))
    return images.float().sub_(mean).div_(std)


def random_crop_flip(images, padding, flip, generator):
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


def mixup_cutmix(images, labels, num_classes, mixup_prob, cutmix_prob, generator):
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
