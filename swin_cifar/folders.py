"""The pictures of a folder, a folder for each class: read, checked, split."""

import os
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from swin_cifar.downloads import DataError, check_memory
from swin_cifar.pictures import PictureError, is_named_picture, load_picture, to_tensor
from swin_cifar.system import shows_bars

TEST_NAMES = ("test", "val", "valid", "validation")  # what the folder of test pictures may be called
TEST_SHARE = 0.2  # of each class, where there is no such folder
NAMED = 5  # files that an error names; more are counted


class Pictures(NamedTuple):
    """The pictures of a folder with a folder for each class, in the order of their names."""

    images: Tensor  # (n, 3, size, size) uint8
    labels: Tensor  # (n,) int64, an index into `classes`
    classes: tuple[str, ...]
    files: list[Path]

    def subset(self, indices: list[int]) -> "Pictures":
        """Those at `indices`."""
        files = [self.files[i] for i in indices]
        return Pictures(self.images[indices], self.labels[indices], self.classes, files)


def read_parts(path: str | Path, size: int, seed: int) -> tuple[Pictures, Pictures]:
    """-> those to train and those to test, as `data.load_folder` describes it. Raises DataError."""
    path = Path(path).expanduser()
    parts = {name.lower(): path / name for name in _folders(path)}
    test_name = next((name for name in TEST_NAMES if name in parts), None)
    if "train" in parts and test_name:
        train = read_folder(parts["train"], size)
        test = read_folder(parts[test_name], size, train.classes)
        _check_apart(train, test)
        return train, test
    if "train" in parts or test_name:
        there = "train" if "train" in parts else test_name
        raise DataError(
            f"{path} has a folder {there!r}, but not its counterpart: it needs `train` and `test`, or a "
            f"folder for each class (if {there!r} is a class, give it another name)"
        )
    return split(read_folder(path, size), path, seed)


def class_names(path: str | Path) -> list[str] | None:
    """-> the names of the folders in one, sorted; None if these are parts, to train and to test."""
    names = _folders(Path(path).expanduser())
    return None if {"train", *TEST_NAMES} & {name.lower() for name in names} else names


def read_folder(path: str | Path, size: int, classes: Sequence[str] | None = None) -> Pictures:
    """-> all pictures of a folder. `classes`: those that its folders must be among, in this order.

    Raises DataError, naming files, for what cannot be read, for an empty or an unknown class, for fewer
    than two classes, and where the pictures would take more than half of the memory.
    """
    path = Path(path).expanduser()
    files, classes = _files(path, classes)
    check_memory(path, len(files), 3, size)
    images = torch.empty(len(files), 3, size, size, dtype=torch.uint8)
    unreadable = []
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:  # Pillow decodes outside Python's lock
        read = pool.map(partial(_tensor, size=size), [file for file, _ in files])
        bar = tqdm(read, total=len(files), unit=" pictures", leave=False, delay=3, disable=not shows_bars())
        for index, found in enumerate(bar):
            if isinstance(found, PictureError):
                unreadable.append(str(found))
            else:
                images[index] = found
    if unreadable:
        raise DataError(f"{_some(unreadable)}: mend or delete what cannot be read")
    labels = torch.tensor([label for _, label in files])
    return Pictures(images, labels, tuple(classes), [file for file, _ in files])


def _files(path, known):
    """-> [(file, label)], classes. A file that links lead to twice counts once."""
    names = _folders(path)
    if known and (strange := [name for name in names if name not in known]):
        raise DataError(f"{path} has a class that is not among those to train: {_some(strange)}")
    if len(known or names) < 2:
        found = f"only one, {names[0]}" if names else "none"
        raise DataError(f"{path} needs a folder for each of at least two classes, and has {found}")
    classes, files, seen, empty = list(known or names), [], {}, []
    others = Counter()  # files that are no pictures, by ending
    for name in names:
        before, no_pictures = len(files), Counter()
        for file in walk(path / name):
            if not is_named_picture(file):
                no_pictures[file.suffix.lower() or "no ending"] += 1
                continue
            first_name, first = seen.setdefault(os.path.realpath(file), (name, file))
            if first is file:
                files.append((file, classes.index(name)))
            elif first_name != name:
                raise DataError(f"the same picture in two classes: {first} = {file}: delete one of them")
        if len(files) == before and not known:
            empty.append(f"{path / name}" + (f" (but {_counts(no_pictures)})" if no_pictures else ""))
        others += no_pictures
    if empty:
        raise DataError(f"no pictures in {_some(empty)}: put some there, or delete the folder")
    if not files:
        raise DataError(f"no pictures in {path}")
    if others:
        warnings.warn(f"{path}: left out are files that are no pictures: {_counts(others)}", stacklevel=2)
    return files, classes


def _folders(path):
    """The names of the folders in one, sorted; hidden ones left out."""
    try:
        return sorted(entry.name for entry in os.scandir(path) if entry.is_dir() and not _hidden(entry.name))
    except OSError as error:
        raise DataError(f"cannot read the folder {path}: {error.strerror}") from None


def _hidden(name):
    return name.startswith((".", "@")) or name == "__MACOSX"  # "@eaDir": thumbnails of a network disk


def walk(path: str | Path) -> Iterable[Path]:
    """The files below a folder in the order of their names, through links, but round no circle.

    What is hidden is left out: thumbnails, for example.
    """
    walked = set()
    for folder, below, files in os.walk(path, followlinks=True):
        real = os.path.realpath(folder)
        if real in walked:
            below.clear()
            continue
        walked.add(real)
        below[:] = sorted(name for name in below if not _hidden(name))
        yield from (Path(folder, name) for name in sorted(files) if not _hidden(name))


def _counts(endings):
    return ", ".join(f"{count} {ending}" for ending, count in endings.most_common())


def _tensor(file, size):
    """(3, size, size) uint8, or the PictureError."""
    try:
        return to_tensor(load_picture(file, size), size)
    except PictureError as error:
        return error


def split(whole: Pictures, path: str | Path, seed: int) -> tuple[Pictures, Pictures]:
    """The pictures of the folder `path` -> train, test: a fifth of each class held out, of equal ones none.

    Those whose names have the smallest hashes: few others change sides when files come or go. Raises
    DataError for a class that is too small, and where the same picture is in two classes.
    """
    path = Path(path).expanduser()

    def place(i):
        name = whole.files[i].relative_to(path).as_posix()
        return sha256(f"{seed} {name}".encode("utf-8", "surrogateescape")).digest()

    digests, labels = [_digest(image) for image in whole.images], whole.labels.tolist()
    _check_one_class(whole, digests)
    copies, totals = Counter(digests), Counter(labels)
    alone = {label: [] for label in range(len(whole.classes))}  # those without a copy, as by chance
    for i in sorted(range(len(labels)), key=place):
        if copies[digests[i]] == 1:
            alone[labels[i]].append(i)
    test = set()
    for label, candidates in alone.items():
        total = totals[label]
        if not candidates or total < 2:
            raise DataError(
                f"the class {whole.classes[label]!r} has {total} picture{'s' * (total > 1)}, too few to hold "
                "out one that differs from the others: add some, or make folders `train` and `test`"
            )
        test.update(candidates[: max(1, min(round(TEST_SHARE * total), total - 1))])
    train = [i for i in range(len(labels)) if i not in test]
    return whole.subset(train), whole.subset(sorted(test))


def by_shares(labels: Tensor) -> Tensor:
    """(n,) -> (n,) an order whose beginning, however long, holds about the same share of each class.

    Every class has its first picture in front and its last one behind; else they stay in order.
    """
    counts, by_label = labels.bincount(), labels.argsort(stable=True)
    starts = counts.cumsum(0) - counts
    place = torch.empty_like(labels)  # in its class, from 0
    place[by_label] = torch.arange(len(labels)) - starts[labels[by_label]]
    last = counts[labels] - 1
    return torch.where(last > 0, place / last, 1.0).argsort(stable=True)


def _check_apart(train, test):
    """Raise where a picture is in both parts (an accuracy on it would say nothing) or in two classes."""
    for part in (train, test):
        _check_one_class(part, map(_digest, part.images))
    seen = {_digest(image): file for image, file in zip(train.images, train.files)}
    found = ((file, seen.get(_digest(image))) for image, file in zip(test.images, test.files))
    if both := [f"{file} = {other}" for file, other in found if other]:
        raise DataError(f"the same picture to train and to test: {_some(both)}: delete one of them")


def _check_one_class(whole, digests):
    """Raise where the same picture is in two classes."""
    first = {}
    for digest, label, file in zip(digests, whole.labels.tolist(), whole.files):
        other_label, other = first.setdefault(digest, (label, file))
        if other_label != label:
            raise DataError(f"the same picture in two classes: {other} = {file}: delete one of them")


def _digest(image: Tensor):
    return sha256(image.numpy().tobytes()).digest()


def _some(things):
    """The first few, and how many more."""
    more = len(things) - NAMED
    return "; ".join(map(str, things[:NAMED])) + (f"; and {more} more" if more > 0 else "")
