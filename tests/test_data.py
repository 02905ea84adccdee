"""CIFAR-10's files, the drawn pictures, and the batched augmentation."""

import functools
import hashlib
import pickle
import re
import shutil
import socket
import struct
import tarfile
import threading
import time
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR10, CIFAR100, FashionMNIST

from swin_cifar import data, downloads
from swin_cifar.data import (
    DataError,
    ImageSet,
    Unavailable,
    channel_statistics,
    load_cifar10,
    load_data,
    load_shapes10,
    mixup_cutmix,
    normalize,
    random_crop_flip,
)

DATA = Path(__file__).parents[1] / "data"
BATCHES = [name for name, _ in CIFAR10.train_list + CIFAR10.test_list]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def random_pictures(*shape, seed=0):
    return torch.randint(256, shape, dtype=torch.uint8, generator=generator(seed))


# --- the real CIFAR-10 ------------------------------------------------------------------


@pytest.fixture(scope="module")
def cifar10():
    if not (DATA / CIFAR10.base_folder).is_dir():
        pytest.skip(f"CIFAR-10 is not in data/{CIFAR10.base_folder}")
    return load_cifar10(DATA, download=False)


def test_cifar10_has_the_published_sizes_and_balanced_classes(cifar10):
    for part, count in zip(cifar10, (50_000, 10_000)):
        assert part.name == "cifar10" and len(part.classes) == 10
        assert part.images.shape == (count, 3, 32, 32) and part.images.dtype == torch.uint8
        assert part.labels.dtype == torch.int64
        assert part.labels.bincount().tolist() == [count // 10] * 10


@pytest.mark.parametrize("part, is_train", [(0, True), (1, False)])
def test_cifar10_agrees_with_torchvision(cifar10, monkeypatch, part, is_train):
    monkeypatch.setattr(CIFAR10, "_check_integrity", lambda self: True)  # half a second of MD5
    theirs = CIFAR10(DATA, train=is_train)
    assert cifar10[part].classes == tuple(theirs.classes)
    assert cifar10[part].labels.tolist() == theirs.targets
    assert np.array_equal(cifar10[part].images.permute(0, 2, 3, 1).numpy(), theirs.data)


def test_cifar10_statistics_are_those_of_the_training_split(cifar10):
    train, test = cifar10
    assert (test.mean, test.std) == (train.mean, train.std)
    for c, channel in enumerate(train.images.numpy().swapaxes(0, 1)):
        assert train.mean[c] == pytest.approx(channel.mean(dtype=np.float64) / 255, abs=1e-9)
        assert train.std[c] == pytest.approx(channel.std(dtype=np.float64) / 255, abs=1e-9)
    assert train.mean == pytest.approx((0.4914, 0.4822, 0.4465), abs=5e-5)
    assert train.std == pytest.approx((0.2470, 0.2435, 0.2616), abs=5e-5)


# --- its files, with a tiny CIFAR-10 in their place -------------------------------------


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A folder with a tiny CIFAR-10 and its archive, published where nobody answers."""
    folder = tmp_path / "published"
    batches = folder / CIFAR10.base_folder
    batches.mkdir(parents=True)
    random = np.random.default_rng(0)
    for name in BATCHES:
        pixels = random.integers(256, size=(4, 3072), dtype=np.uint8)
        content = {"data": pixels, "labels": random.integers(10, size=4).tolist()}
        (batches / name).write_bytes(pickle.dumps(content))
    names = {"label_names": [f"class {i}" for i in range(10)]}
    (batches / "batches.meta").write_bytes(pickle.dumps(names))
    with tarfile.open(folder / CIFAR10.filename, "w:gz") as archive:
        archive.add(batches, CIFAR10.base_folder)

    def md5(path):
        return hashlib.md5(path.read_bytes()).hexdigest()

    sums = [[name, md5(batches / name)] for name in BATCHES]
    meta = CIFAR10.meta | {"md5": md5(batches / "batches.meta")}
    monkeypatch.setattr(CIFAR10, "train_list", sums[:-1])
    monkeypatch.setattr(CIFAR10, "test_list", sums[-1:])
    monkeypatch.setattr(CIFAR10, "meta", meta)
    monkeypatch.setattr(CIFAR10, "tgz_md5", md5(folder / CIFAR10.filename))
    monkeypatch.setattr(CIFAR10, "url", f"http://127.0.0.1:{free_port()}/{CIFAR10.filename}")
    monkeypatch.setenv("no_proxy", "*")
    return folder


@pytest.fixture
def online(published, monkeypatch):
    """`published`, to be had from a server on this machine."""
    handler = functools.partial(SimpleHTTPRequestHandler, directory=published)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setattr(CIFAR10, "url", f"http://127.0.0.1:{server.server_port}/{CIFAR10.filename}")
        yield published
        server.shutdown()


@pytest.fixture
def root(published, tmp_path):
    """A data folder that holds every file of `published`."""
    shutil.copytree(published / CIFAR10.base_folder, tmp_path / "root" / CIFAR10.base_folder)
    return tmp_path / "root"


def fingerprint(folder):
    """What tells whether a file below `folder` was replaced or touched."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {p: (p.read_bytes(), p.stat().st_ino, p.stat().st_mtime_ns) for p in files}


def test_files_that_are_there_are_read_in_order(root):
    train, test = load_cifar10(root, download=False)
    entries = [pickle.loads((root / CIFAR10.base_folder / name).read_bytes()) for name in BATCHES]
    pixels = torch.from_numpy(np.concatenate([entry["data"] for entry in entries]))
    assert torch.equal(torch.cat([train.images, test.images]), pixels.view(-1, 3, 32, 32))
    assert torch.cat([train.labels, test.labels]).tolist() == sum([e["labels"] for e in entries], [])
    assert (len(train), len(test)) == (20, 4)
    assert train.classes == test.classes == tuple(f"class {i}" for i in range(10))


@pytest.mark.parametrize("name", ["auto", "cifar10"])
@pytest.mark.parametrize("file", ["data_batch_3", "test_batch", "batches.meta"])
@pytest.mark.parametrize(
    "damage",
    [lambda b: b[:-1], lambda b: b[:9] + b"!" + b[10:], lambda b: b""],
    ids=["cut", "altered", "emptied"],
)
def test_a_damaged_file_is_named_and_left_alone(root, online, name, file, damage):
    path = root / CIFAR10.base_folder / file
    path.write_bytes(damage(path.read_bytes()))
    before = fingerprint(root)
    for download in (False, True):
        with pytest.raises(DataError, match=f"{file} is damaged.*[Dd]elete that file"):
            load_data(name, root, download)
    assert fingerprint(root) == before


def test_a_damaged_file_is_found_though_another_is_missing(root, online):
    (root / CIFAR10.base_folder / "data_batch_1").unlink()
    (root / CIFAR10.base_folder / "data_batch_2").write_bytes(b"cut off")
    before = fingerprint(root)
    with pytest.raises(DataError, match="data_batch_2 is damaged"):
        load_cifar10(root)
    assert fingerprint(root) == before


@pytest.mark.parametrize("name", ["auto", "cifar10"])
def test_a_damaged_archive_is_named_and_left_alone(online, tmp_path, name):
    archive = tmp_path / "root" / CIFAR10.filename
    archive.parent.mkdir()
    archive.write_bytes((online / CIFAR10.filename).read_bytes()[:-100])
    before = fingerprint(tmp_path / "root")
    with pytest.raises(DataError, match=f"{CIFAR10.filename} is damaged.*delete that file"):
        load_data(name, tmp_path / "root")
    assert fingerprint(tmp_path / "root") == before


def test_an_archive_that_is_there_serves_without_network(published, tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    shutil.copy(published / CIFAR10.filename, root)
    train, test = load_cifar10(root)
    assert (len(train), len(test)) == (20, 4)
    assert sorted(p.name for p in root.iterdir()) == [CIFAR10.base_folder, CIFAR10.filename]


def test_a_download_is_complete_and_leaves_nothing_else(online, tmp_path):
    load_cifar10(tmp_path / "new" / "root")
    assert [p.name for p in (tmp_path / "new" / "root").iterdir()] == [CIFAR10.base_folder]
    loaded = fingerprint(tmp_path / "new" / "root")
    expected = fingerprint(online / CIFAR10.base_folder)
    assert {p.name: v[0] for p, v in loaded.items()} == {p.name: v[0] for p, v in expected.items()}


def test_a_download_adds_only_what_is_missing(root, online):
    (root / CIFAR10.base_folder / "data_batch_4").unlink()
    (root / CIFAR10.base_folder / "batches.meta").unlink()
    before = fingerprint(root)
    load_cifar10(root)
    after = fingerprint(root)
    assert len(before) == 5 and len(after) == 7
    assert before.items() <= after.items()


def cut_off(published, monkeypatch):
    """The archive comes without its end, as from a broken line or a login page."""
    path = published / CIFAR10.filename
    path.write_bytes(path.read_bytes()[:-100])


def silence(published, monkeypatch):
    """The server takes the connection and says nothing."""
    listener = socket.create_server(("127.0.0.1", 0))
    monkeypatch.setattr(CIFAR10, "url", f"http://127.0.0.1:{listener.getsockname()[1]}/")
    monkeypatch.setattr(downloads, "SILENCE_SECONDS", 0.1)
    return listener


def no_web_server(published, monkeypatch):
    """Another kind of server answers."""
    listener = socket.create_server(("127.0.0.1", 0))
    monkeypatch.setattr(CIFAR10, "url", f"http://127.0.0.1:{listener.getsockname()[1]}/")

    def greet():
        with listener, listener.accept()[0] as connection:
            connection.recv(9999)
            connection.sendall(b"220 mail server ready\r\n")

    threading.Thread(target=greet, daemon=True).start()


def no_such_page(published, monkeypatch):
    (published / CIFAR10.filename).unlink()


def no_network(published, monkeypatch):
    monkeypatch.setattr(CIFAR10, "url", f"http://127.0.0.1:{free_port()}/")


@pytest.mark.parametrize("trouble", [no_network, no_web_server, no_such_page, silence, cut_off])
def test_what_cannot_be_downloaded_is_unavailable_and_leaves_nothing(online, tmp_path, monkeypatch, trouble):
    kept_open = trouble(online, monkeypatch)  # noqa: F841
    root = tmp_path / "root"
    root.mkdir()
    start = time.monotonic()
    with pytest.raises(Unavailable, match="could not be downloaded|not CIFAR-10"):
        load_data("cifar10", root)
    assert time.monotonic() - start < 20  # patience is 30 s where it is not set to less
    assert not list(root.iterdir())
    assert socket.getdefaulttimeout() is None


def test_auto_falls_back_to_shapes10_without_data_and_network(published, tmp_path, monkeypatch):
    monkeypatch.setattr(data, "load_shapes10", lambda: "the drawn pictures")
    assert load_data("auto", tmp_path / "root") == "the drawn pictures"
    assert load_data("auto", tmp_path / "root", download=False) == "the drawn pictures"
    assert not list((tmp_path / "root").iterdir())


def test_without_leave_to_download_nothing_is_fetched(online, tmp_path):
    with pytest.raises(Unavailable, match="allow the download"):
        load_cifar10(tmp_path / "root", download=False)
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("name", ["auto", "cifar10"])
def test_a_folder_that_cannot_be_written_is_an_error(online, tmp_path, name):
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    with pytest.raises(DataError, match="cannot write to the data folder") as raised:
        load_data(name, tmp_path / "file" / "data")
    assert not isinstance(raised.value, Unavailable)
    assert (tmp_path / "file").read_text(encoding="utf-8") == "not a folder"


def test_an_unknown_data_set_is_refused():
    with pytest.raises(ValueError, match="unknown data set 'cifar11'.*cifar10"):
        load_data("cifar11")


# --- the drawn pictures -----------------------------------------------------------------


def test_shapes10_is_the_same_every_time_and_smaller_sets_are_prefixes():
    large, small = load_shapes10(1020, 20), load_shapes10(1005, 7)
    for a, b in zip(large, small):
        assert torch.equal(a.images[: len(b)], b.images)
        assert torch.equal(a.labels[: len(b)], b.labels)
    assert (len(small[0]), len(small[1])) == (1005, 7)


def test_shapes10_has_ten_balanced_classes_of_varied_pictures():
    train, test = load_shapes10(100, 50)
    for part, count in ((train, 10), (test, 5)):
        assert part.name == "shapes10" and len(set(part.classes)) == 10
        assert part.images.shape == (10 * count, 3, 32, 32) and part.images.dtype == torch.uint8
        assert part.labels.bincount().tolist() == [count] * 10
        assert len(part.images.flatten(1).unique(dim=0)) == len(part)
        assert (part.mean, part.std) == channel_statistics(train.images)
    assert not torch.equal(train.images[:50], test.images)


# --- sets and statistics ----------------------------------------------------------------


def numbered(n):
    """An `ImageSet` whose pictures and labels all hold their own number."""
    labels = torch.arange(n)
    images = labels.to(torch.uint8).view(n, 1, 1, 1).expand(n, 3, 2, 2)
    return ImageSet("numbers", tuple(map(str, range(100))), (0.0,) * 3, (1.0,) * 3, images, labels)


@pytest.mark.parametrize("held_out", [0, 1, 30, 99])
def test_split_is_disjoint_and_complete(held_out):
    others, held = numbered(100).split(held_out, seed=3)
    assert len(held) == held_out
    assert sorted(others.labels.tolist() + held.labels.tolist()) == list(range(100))
    for part in (others, held):
        assert part.name == "numbers" and torch.equal(part.images[:, 0, 0, 0], part.labels.to(torch.uint8))


def test_split_is_drawn_by_its_seed():
    first, again, other = (numbered(100).split(30, seed)[1].labels.tolist() for seed in (0, 0, 1))
    assert first == again != other
    assert first != list(range(30))


def of_classes(*sizes):
    """An `ImageSet` with so many pictures of each class; every picture holds its own number."""
    images = torch.arange(sum(sizes)).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 2, 2)
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    return ImageSet("some", tuple(map(str, range(len(sizes)))), (0.0,) * 3, (1.0,) * 3, images, labels)


def test_the_split_of_cifar10_is_as_ever():
    """The first numbers that `torch.randperm` draws: the histories depend on it."""
    held = of_classes(20, 30, 50).split(30, seed=3)[1].images[:, 0, 0, 0]
    assert torch.equal(held, torch.randperm(100, generator=torch.Generator().manual_seed(3))[:30])


@pytest.mark.parametrize("held_out", [6, 25, 50, 120, 240])
def test_a_split_by_class_holds_out_a_share_of_each(held_out):
    sizes = (1, 2, 3, 7, 40, 200)
    for seed in range(5):
        others, held = of_classes(*sizes).split(held_out, seed, by_class=True)
        numbers = torch.cat([others.images, held.images])[:, 0, 0, 0].tolist()
        assert len(held) == held_out and sorted(numbers) == list(range(253))
        counts = held.labels.bincount(minlength=6).tolist()
        assert counts[0] == 0  # the only one is needed to train
        for count, size in zip(counts[1:], sizes[1:]):
            assert 1 <= count < size and abs(count - held_out * size / 253) < 4
        assert torch.equal(held.labels, of_classes(*sizes).labels[held.images[:, 0, 0, 0].long()])


def test_a_split_by_class_of_large_classes_is_in_proportion():
    for seed in range(5):
        held = of_classes(50, 150).split(20, seed, by_class=True)[1].labels.bincount()
        assert abs(held[0] - 5) <= 1 and held.sum() == 20
    assert {of_classes(50, 150).split(20, seed)[1].labels.bincount()[0].item() for seed in range(20)} - {
        4,
        5,
        6,
    }


def test_a_split_by_class_is_random_by_seed():
    def held(seed, n=12):
        return of_classes(30, 30, 30).split(n, seed, by_class=True)[1].images[:, 0, 0, 0].tolist()

    assert held(0) == held(0) != held(1)
    assert len({i for seed in range(40) for i in held(seed)}) > 85  # each may be chosen
    first = [of_classes(30, 30, 30).split(2, seed, by_class=True)[1].labels.tolist() for seed in range(20)]
    assert all(a != b for a, b in first) and {a for a, _ in first} == {0, 1, 2}  # fewer than classes


@pytest.mark.parametrize("held_out", [-1, 100, 101])
def test_split_refuses_what_it_cannot_hold_out(held_out):
    with pytest.raises(ValueError, match=f"cannot hold {held_out} pictures out of 100"):
        numbered(100).split(held_out)


def test_channel_statistics_are_mean_and_population_deviation():
    images = random_pictures(7, 3, 5, 4)
    mean, std = channel_statistics(images)
    pixels = images.double() / 255
    assert mean == pytest.approx(pixels.mean((0, 2, 3)).tolist(), abs=1e-12)
    assert std == pytest.approx(pixels.var((0, 2, 3), correction=0).sqrt().tolist(), abs=1e-12)


def test_channel_statistics_of_a_plain_picture():
    mean, std = channel_statistics(torch.full((2, 1, 3, 3), 77, dtype=torch.uint8))
    assert mean == (77 / 255,) and std == (0.0,)


# --- batches ----------------------------------------------------------------------------


def test_normalize_scales_and_standardises_each_channel():
    images = random_pictures(4, 3, 5, 6)
    before, mean, std = images.clone(), (0.1, 0.5, 0.9), (0.2, 0.3, 0.4)
    result = normalize(images, mean, std)
    assert result.dtype == torch.float32 and torch.equal(images, before)
    for c in range(3):
        expected = (images[:, c].double() / 255 - mean[c]) / std[c]
        torch.testing.assert_close(result[:, c].double(), expected, atol=1e-5, rtol=0)


def every_crop(images, padding, flip):
    """(B, C, h, w) -> (crops, B, C, h, w): all that may come of each picture."""
    B, C, h, w = images.shape
    padded = images.new_zeros(B, C, h + 2 * padding, w + 2 * padding)
    padded[:, :, padding : padding + h, padding : padding + w] = images
    shifts = range(2 * padding + 1)
    crops = [padded[:, :, top : top + h, left : left + w] for top in shifts for left in shifts]
    return torch.stack(crops + [crop.flip(3) for crop in crops] * flip)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("padding, size", [(0, (4, 4)), (1, (4, 4)), (1, (3, 6)), (2, (6, 3))])
def test_every_crop_is_drawn_equally_often_of_each_picture(padding, size, flip):
    possible = (2 * padding + 1) ** 2 * (1 + flip)
    images = random_pictures(50 * possible, 3, *size).clamp(min=1)  # told from the border of zeros
    result = random_crop_flip(images, padding, flip, generator())
    assert result.shape == images.shape and result.dtype == images.dtype
    found = (every_crop(images, padding, flip) == result).flatten(2).all(2)  # (crops, B)
    assert found.sum(0).eq(1).all()
    counts = found.sum(1)
    assert len(counts) == possible and 20 <= counts.min() and counts.max() <= 80


def test_crops_are_reproducible_by_their_generator():
    images = random_pictures(64, 3, 8, 8)
    first, again, other = (random_crop_flip(images, 2, True, generator(s)) for s in (5, 5, 6))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_without_padding_and_flip_nothing_changes():
    images = random_pictures(16, 3, 8, 6)
    assert torch.equal(random_crop_flip(images, 0, False, generator()), images)


def mixed(n, mixup_prob, cutmix_prob, size=8):
    """-> pictures and their mixes, each of a class of its own, and who was mixed: own, partner, share."""
    images = torch.randn(n, 3, size, size, generator=generator(1))
    result, targets = mixup_cutmix(images, torch.arange(n), n, mixup_prob, cutmix_prob, generator(2))
    assert result.shape == images.shape and targets.shape == (n, n)
    torch.testing.assert_close(targets.sum(1), torch.ones(n))
    others = targets.clone().fill_diagonal_(0)
    assert (others >= 0).all() and (others.count_nonzero(1) <= 1).all()
    share, partner = others.max(1)
    torch.testing.assert_close(targets.diagonal(), 1 - share)
    return images, result, partner, share


def test_mixup_blends_as_the_target_says():
    images, result, partner, share = mixed(2000, 1, 0)
    weight = share[:, None, None, None]
    torch.testing.assert_close(result, (1 - weight) * images + weight * images[partner])
    assert share.mean().item() == pytest.approx(1 / 2, abs=0.02)
    assert share.std().item() == pytest.approx(12**-0.5, abs=0.02)  # uniform in [0, 1]


def test_cutmix_pastes_a_box_as_large_as_the_target_says():
    images, result, partner, share = mixed(2000, 0, 1)
    own, pasted = (result == images).all(1), (result == images[partner]).all(1)  # (B, h, w)
    assert (own | pasted).all()
    torch.testing.assert_close(pasted.float().mean((1, 2)), share)
    assert torch.equal(pasted, pasted.any(2)[:, :, None] & pasted.any(1)[:, None])
    edges = pasted.float().diff(dim=2, prepend=torch.zeros(2000, 8, 1)).clamp(min=0).sum(2)
    assert edges.max() == 1  # one box, not several side by side
    assert share.min() == 0 and 0.6 < share.max() <= 1
    # A side a = sqrt(share) loses a ** 2 / 4 on average at the border; the share is uniform.
    assert share.mean().item() == pytest.approx(1 / 2 - 1 / 5 + 1 / 48, abs=0.02)
    assert pasted.float().mean(0).min() > 0.1  # it falls everywhere


def test_without_mixing_pictures_are_untouched_and_targets_one_hot():
    images = torch.randn(6, 3, 4, 4, generator=generator())
    labels = torch.tensor([0, 3, 2, 2, 1, 0])
    result, targets = mixup_cutmix(images, labels, 4, 0.0, 0.0, generator())
    assert torch.equal(result, images)
    assert torch.equal(targets, torch.eye(4)[labels])


def test_each_picture_is_mixed_with_the_given_probabilities():
    images, result, partner, share = mixed(2000, 0.3, 0.5)
    untouched = (result == images).flatten(1).all(1)
    pure = ((result == images) | (result == images[partner])).flatten(1).all(1)
    assert (~pure).float().mean().item() == pytest.approx(0.3, abs=0.03)  # blended
    assert (share[untouched] == 0).all()
    # 0.2, and the CutMix boxes too small to hold a pixel.
    assert 0.18 < untouched.float().mean().item() < 0.25


def test_mixing_two_of_the_same_class_keeps_the_class():
    images = torch.randn(5, 3, 4, 4, generator=generator())
    _, targets = mixup_cutmix(images, torch.full((5,), 2), 4, 0.5, 0.5, generator())
    torch.testing.assert_close(targets, torch.eye(4)[2].expand(5, 4))


# --- other published sets -----------------------------------------------------------------


@pytest.fixture
def cifar100(published, tmp_path, monkeypatch):
    """A data folder with a tiny CIFAR-100."""
    folder = tmp_path / "root" / CIFAR100.base_folder
    folder.mkdir(parents=True)
    random = np.random.default_rng(1)
    sums = []
    for name in ("train", "test"):
        pixels = random.integers(256, size=(6, 3072), dtype=np.uint8)
        content = {"data": pixels, "fine_labels": random.integers(100, size=6).tolist()}
        (folder / name).write_bytes(pickle.dumps(content))
        sums.append([name, hashlib.md5((folder / name).read_bytes()).hexdigest()])
    names = {"fine_label_names": [f"class {i}" for i in range(100)]}
    (folder / "meta").write_bytes(pickle.dumps(names))
    meta = CIFAR100.meta | {"md5": hashlib.md5((folder / "meta").read_bytes()).hexdigest()}
    monkeypatch.setattr(CIFAR100, "train_list", sums[:1])
    monkeypatch.setattr(CIFAR100, "test_list", sums[1:])
    monkeypatch.setattr(CIFAR100, "meta", meta)
    monkeypatch.setattr(CIFAR100, "url", f"http://127.0.0.1:{free_port()}/")
    return tmp_path / "root"


def test_cifar100_is_read_as_torchvision_reads_it(cifar100):
    for part, is_train in zip(data.load_data("cifar100", cifar100), (True, False)):
        theirs = CIFAR100(cifar100, train=is_train)
        assert part.name == "cifar100" and len(part.classes) == 100
        assert torch.equal(part.images, torch.from_numpy(theirs.data).permute(0, 3, 1, 2))
        assert part.labels.tolist() == theirs.targets


def test_a_damaged_or_missing_cifar100_is_one_line(cifar100):
    with pytest.raises(DataError, match="is the folder of CIFAR-100 itself: give the one above it"):
        data.load_cifar100(cifar100 / CIFAR100.base_folder)
    (cifar100 / CIFAR100.base_folder / "train").write_bytes(b"damaged")
    with pytest.raises(DataError, match="train is damaged: its MD5 is not the published one"):
        data.load_cifar100(cifar100)
    (cifar100 / CIFAR100.base_folder / "train").unlink()
    with pytest.raises(data.Unavailable, match="CIFAR-100 is not in .* and could not be downloaded"):
        data.load_cifar100(cifar100)
    with pytest.raises(data.Unavailable, match="no CIFAR-100 in .*: put cifar-100-python there or allow"):
        data.load_cifar100(cifar100, download=False)


@pytest.fixture
def fashion_mnist(tmp_path):
    """A data folder with a tiny Fashion-MNIST."""
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    random = np.random.default_rng(2)
    for part, n in (("train", 5), ("t10k", 3)):
        pixels = random.integers(256, size=(n, 28, 28), dtype=np.uint8)
        head = struct.pack(">IIII", 0x803, n, 28, 28)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(head + pixels.tobytes())
        labels = random.integers(10, size=n, dtype=np.uint8)
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 0x801, n) + labels.tobytes())
    return tmp_path


def test_fashion_mnist_is_grey_and_read_as_torchvision_reads_it(fashion_mnist):
    for part, is_train in zip(data.load_data("fashion-mnist", fashion_mnist), (True, False)):
        theirs = FashionMNIST(fashion_mnist, train=is_train)
        assert part.images.shape[1:] == (1, 28, 28) and len(part.mean) == 1 and "Sandal" in part.classes
        assert torch.equal(part.images[:, 0], theirs.data) and torch.equal(part.labels, theirs.targets)


def test_a_damaged_or_missing_fashion_mnist_is_one_line(fashion_mnist, monkeypatch):
    raw = fashion_mnist / "FashionMNIST" / "raw"
    (raw / "train-images-idx3-ubyte").write_bytes(b"damaged")
    with pytest.raises(DataError, match=f"a file in {re.escape(str(raw))} is damaged .*: delete that folder"):
        data.load_fashion_mnist(fashion_mnist)
    (raw / "train-images-idx3-ubyte").unlink()
    monkeypatch.setattr(FashionMNIST, "mirrors", [f"http://127.0.0.1:{free_port()}/"])
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(data.Unavailable, match="Fashion-MNIST"):
        data.load_fashion_mnist(fashion_mnist)
    with pytest.raises(data.Unavailable, match="no Fashion-MNIST in .*: put FashionMNIST there or allow"):
        data.load_fashion_mnist(fashion_mnist, download=False)
    assert sorted(path.name for path in fashion_mnist.iterdir()) == ["FashionMNIST"]


# --- other sizes, other colours -----------------------------------------------------------


def test_pictures_are_scaled_from_their_middle_square():
    images = torch.zeros(2, 3, 4, 8, dtype=torch.uint8)
    images[..., 2:6] = 200  # the middle square is of one colour
    part = ImageSet("some", ("a",), (0.5,) * 3, (0.5,) * 3, images, torch.zeros(2, dtype=torch.int64))
    found = part.resized(16)
    assert found.images.shape == (2, 3, 16, 16) and (found.images == 200).all()
    assert found.resized(16) is found


def test_grey_and_colour_become_each_other():
    train, _ = load_shapes10(20, 10)
    grey = train.with_channels(1)
    assert grey.images.shape == (20, 1, 32, 32) and len(grey.mean) == len(grey.std) == 1
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)  # of ITU-R BT.601
    assert ((train.images * weights).sum(1, keepdim=True) - grey.images).abs().max() < 1.1  # rounded down
    back = grey.with_channels(3)
    assert torch.equal(back.images, grey.images.expand(-1, 3, -1, -1)) and back.mean == 3 * grey.mean
    with pytest.raises(ValueError, match="1 or 3 channels, not 4"):
        train.with_channels(4)
