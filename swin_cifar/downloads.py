"""Files of published data sets: what is missing, what is damaged, and how it gets onto the disk."""

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EACCES, EDQUOT, EEXIST, ENOSPC, ENOTDIR, EPERM, EROFS
from http.client import HTTPException
from pathlib import Path

from swin_cifar.system import memory

_OF_THE_DISK = {EACCES, EDQUOT, EEXIST, ENOSPC, ENOTDIR, EPERM, EROFS}
SILENCE_SECONDS = 30  # a download that says nothing for so long is given up


class DataError(RuntimeError):
    """A data set is missing or damaged; the message says which file and what to do."""


class Unavailable(DataError):
    """A data set is neither in the folder nor available from the network."""


def check_memory(what: str | Path, count: int, channels: int, size: int) -> None:
    """Raise DataError where so many pictures of `size` x `size` pixels need over half of the memory."""
    need, have = count * channels * size**2, memory()
    if have and need > have / 2:
        raise DataError(
            f"{what} has {count:,} pictures. At {size} x {size} pixels they take {need / 1e9:,.1f} GB, "
            f"more than half of this machine's memory ({have / 1e9:,.0f} GB): choose a smaller size, or fewer"
        )


@contextmanager
def fetching(title: str, root: Path, folder: str, download: bool) -> Iterator[None]:
    """In here a data set is downloaded; what goes wrong is raised as DataError or Unavailable."""
    if not download:
        raise Unavailable(f"no {title} in {root}: put {folder} there or allow the download")
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SILENCE_SECONDS)
    try:
        root.mkdir(parents=True, exist_ok=True)
        yield
    except DataError:
        raise
    except OSError as error:
        if error.errno in _OF_THE_DISK:
            raise DataError(f"cannot write to the data folder {root}: {error}") from error
        raise Unavailable(f"{title} is not in {root} and could not be downloaded: {error}") from error
    except (RuntimeError, HTTPException) as error:  # a wrong MD5, no web server: a log-in page, say
        raise Unavailable(f"what was downloaded is not {title}: {error}") from error
    finally:
        socket.setdefaulttimeout(timeout)


def missing_files(kind: type, root: Path) -> list[Path]:
    """-> the files that are not there, as paths below `root`. Raises DataError for a damaged one."""
    from torchvision.datasets.utils import check_integrity

    meta = kind.meta["filename"], kind.meta["md5"]
    missing = []
    for name, md5 in (*kind.train_list, *kind.test_list, meta):
        path = root / kind.base_folder / name
        if not path.exists():
            missing.append(path.relative_to(root))
        elif not check_integrity(path, md5):
            raise DataError(
                f"{path} is damaged: its MD5 is not the published one. "
                "Delete that file and run again to download it afresh"
            )
    return missing


def download_cifar(kind: type, root: Path) -> None:
    """Fetch into a folder beside the target, verify, then move in only what is missing."""
    from torchvision.datasets.utils import check_integrity, extract_archive

    archive = root / kind.filename
    if archive.exists() and not check_integrity(archive, kind.tgz_md5):
        raise DataError(f"{archive} is damaged or incomplete: delete that file and run again")
    with tempfile.TemporaryDirectory(dir=root, prefix=".partial-") as folder:
        if archive.exists():
            extract_archive(archive, folder)
        else:
            kind(folder, download=True)
        (root / kind.base_folder).mkdir(exist_ok=True)
        for path in missing_files(kind, root):
            os.replace(folder / path, root / path)


def read_fashion_mnist(root: Path, download: bool) -> list:
    """-> torchvision's FashionMNIST, train and test; fetches what is missing. Raises as `fetching`."""
    from torchvision.datasets import FashionMNIST

    raw = root / "FashionMNIST" / "raw"
    names = [f"{part}-{what}-ubyte" for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1")]
    if missing := [name for name in names if not (raw / name).exists()]:
        with (
            fetching("Fashion-MNIST", root, "FashionMNIST", download),
            tempfile.TemporaryDirectory(dir=root, prefix=".partial-") as folder,
        ):
            FashionMNIST(folder, download=True)
            raw.mkdir(parents=True, exist_ok=True)
            for name in missing:
                os.replace(Path(folder, "FashionMNIST", "raw", name), raw / name)
    try:
        parts = [FashionMNIST(root, train=train, download=False) for train in (True, False)]
        if any(len(part.data) != len(part.targets) for part in parts):
            raise ValueError("there are not as many labels as pictures")
    except Exception as error:  # torchvision checks what it reads by assertions and the like
        raise DataError(f"a file in {raw} is damaged ({error}): delete that folder and run again") from error
    return parts
