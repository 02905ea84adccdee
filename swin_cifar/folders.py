"""A folder of pictures, one folder for each class, as a data set."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from swin_cifar.data import DataError, ImageSet, channel_statistics
from swin_cifar.pictures import PictureError, is_named_picture, load_picture, to_tensor
from swin_cifar.system import memory, shows_bars

TEST_NAMES = ("test", "val", "valid", "validation")  # what the folder of test pictures may be called
TEST_SHARE = 0.2  # of each class, where there is no such folder
NAMED = 5  # files that an error names; more are counted


def load_folder(path: str | Path, size: int = 32, seed: int = 0) -> tuple[ImageSet, ImageSet]:
    """-> (train, test) of a folder with `train` and `test`, or of one that is split by `seed`.

    Each of them has a folder for every class. Without `test` (or `val`) a fifth of each class is
    held out. Pictures are turned upright and made RGB; their middle square is scaled to `size` x `size`.
    The set is named like the folder. Raises DataError, naming files, where pictures cannot be read, a
    class is empty or unknown, there is only one, the same picture is in both parts, or where they would
    take more than half of the memory.
    """
    path = Path(path).expanduser()
    parts = {name.lower(): path / name for name in _folders(path)}
    test_name = next((name for name in TEST_NAMES if name in parts), None)
    if "train" in parts and test_name:
        train, of_train = _read(parts["train"], size)
        test, of_test = _read(parts[test_name], size, train.classes)
        _check_apart(train, of_train, test, of_test)
    elif "train" in parts or test_name:
        there = "train" if "train" in parts else test_name
        raise DataError(
            f"{path} has a folder {there!r}, but not its counterpart: it needs `train` and `test`, "
            "or a folder for each class"
        )
    else:
        whole, files = _read(path, size)
        train, test = _split(whole, files, seed)
    name = path.resolve().name
    mean, std = channel_statistics(train.images)
    std = tuple(value or 1.0 for value in std)  # pictures of one colour
    return tuple(ImageSet(name, train.classes, mean, std, s.images, s.labels) for s in (train, test))


def read_folder(path: str | Path, size: int = 32, classes: Sequence[str] | None = None) -> ImageSet:
    """-> all pictures of a folder with a folder for each class, in the order of their names.

    `classes`: those that the folders must be among, in this order, instead of the folders' own
    names. Raises DataError as `load_folder` does.
    """
    return _read(Path(path).expanduser(), size, classes)[0]


def _read(path, size, classes=None):
    """-> ImageSet, the files it was read from."""
    files, classes = _files(path, classes)
    need, have = len(files) * 3 * size**2, memory()
    if have and need > have / 2:
        raise DataError(
            f"{path} has {len(files):,} pictures. At {size} x {size} pixels they take {need / 1e9:,.1f} GB, "
            f"more than half of this machine's memory ({have / 1e9:,.0f} GB): choose a smaller size, or fewer"
        )
    images = torch.empty(len(files), 3, size, size, dtype=torch.uint8)
    unreadable = []
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:  # Pillow decodes outside Python's lock
        read = pool.map(partial(_tensor, size=size), [file for file, _ in files])
        bar = tqdm(read, total=len(files), unit=" pictures", leave=False, disable=not shows_bars())
        for index, found in enumerate(bar):
            if isinstance(found, PictureError):
                unreadable.append(str(found))
            else:
                images[index] = found
    if unreadable:
        raise DataError(f"{_some(unreadable)}: mend or delete what cannot be read")
    mean, std = (0.5,) * 3, (0.5,) * 3  # until it is known which pictures are for training
    labels = torch.tensor([label for _, label in files])
    return ImageSet(path.name, tuple(classes), mean, std, images, labels), [file for file, _ in files]


def _files(path, known):
    """-> [(file, label)], classes. A file that links lead to twice counts once."""
    names = _folders(path)
    if known and (strange := [name for name in names if name not in known]):
        raise DataError(f"{path} has a class that is not among those to train: {_some(strange)}")
    if len(known or names) < 2:
        found = f"only one, {names[0]}" if names else "none"
        raise DataError(f"{path} needs a folder for each of at least two classes, and has {found}")
    classes, files, seen, empty = list(known or names), [], set(), []
    for name in names:
        others, count = Counter(), 0
        for file in _walk(path / name):
            if not is_named_picture(file):
                others[file.suffix.lower() or "no ending"] += 1
            elif (real := os.path.realpath(file)) not in seen:
                seen.add(real)
                files.append((file, classes.index(name)))
                count += 1
        if not count and not known:
            hint = f" (but {sum(others.values())} other files: {', '.join(others)})" if others else ""
            empty.append(f"{path / name}{hint}")
    if empty:
        raise DataError(f"no pictures in {_some(empty)}: put some there, or delete the folder")
    if not files:
        raise DataError(f"no pictures in {path}")
    return files, classes


def _folders(path):
    """The names of the folders in one, sorted; hidden ones left out."""
    try:
        return sorted(
            entry.name for entry in os.scandir(path) if entry.is_dir() and entry.name[0] not in "._"
        )
    except OSError as error:
        raise DataError(f"cannot read the folder {path}: {error.strerror}") from None


def _walk(path) -> Iterable[Path]:
    """The files below a folder in the order of their names, through links, but round no circle."""
    walked = set()
    for folder, below, files in os.walk(path, followlinks=True):
        real = os.path.realpath(folder)
        if real in walked:
            below.clear()
            continue
        walked.add(real)
        below.sort()
        yield from (Path(folder, name) for name in sorted(files) if not name.startswith("."))


def _tensor(file, size):
    """(3, size, size) uint8, or the PictureError."""
    try:
        return to_tensor(load_picture(file), size)
    except PictureError as error:
        return error


def _split(whole, files, seed):
    """-> train, test: a fifth of each class held out, of equal pictures none."""
    digests, labels = [_digest(image) for image in whole.images], whole.labels.tolist()
    copies, totals = Counter(digests), Counter(labels)
    alone = {label: [] for label in range(len(whole.classes))}  # those without a copy, in a random order
    for i in torch.randperm(len(whole), generator=torch.Generator().manual_seed(seed)).tolist():
        if copies[digests[i]] == 1:
            alone[labels[i]].append(i)
    test = []
    for label, candidates in alone.items():
        total = totals[label]
        if not candidates or total < 2:
            raise DataError(
                f"the class {whole.classes[label]!r} has {total} picture{'s' * (total > 1)}, too few to hold "
                "out one that differs from the others: add some, or make folders `train` and `test`"
            )
        test += candidates[: max(1, min(round(TEST_SHARE * total), total - 1))]
    held_out = torch.zeros(len(whole), dtype=torch.bool)
    held_out[test] = True
    _check_one_class(whole, files, digests)
    return whole.subset(~held_out), whole.subset(held_out)


def _check_apart(train, of_train, test, of_test):
    """Raise where a picture is in both parts: an accuracy on it would say nothing."""
    seen = {_digest(image): file for image, file in zip(train.images, of_train)}
    found = ((file, seen.get(_digest(image))) for image, file in zip(test.images, of_test))
    if both := [f"{file} = {other}" for file, other in found if other]:
        raise DataError(f"the same picture to train and to test: {_some(both)}: delete one of them")


def _check_one_class(data, files, digests):
    """Raise where the same picture is in two classes."""
    first = {}
    for digest, label, file in zip(digests, data.labels.tolist(), files):
        other_label, other = first.setdefault(digest, (label, file))
        if other_label != label:
            raise DataError(f"the same picture in two classes: {other} = {file}: delete one of them")


def _digest(image: Tensor):
    return sha256(image.numpy().tobytes()).digest()


def _some(things):
    """The first few, and how many more."""
    more = len(things) - NAMED
    return "; ".join(map(str, things[:NAMED])) + (f"; and {more} more" if more > 0 else "")
