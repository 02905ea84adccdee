"""A folder of pictures as a data set: what is read, how it is split, and what is wrong with a bad one."""

import io
import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from swin_cifar import downloads, folders
from swin_cifar.data import DataError, ImageSet, load_data, load_folder
from swin_cifar.folders import read_folder

CLASSES = ("Ωmega", "cat", "dog & co", "猫")


def picture(seed, size=(50, 40), mode="RGB"):
    """A picture of blocks in random colours."""
    values = np.random.default_rng(seed).integers(256, size=(5, 4, 3), dtype=np.uint8)
    return Image.fromarray(values).resize(size, Image.Resampling.NEAREST).convert(mode)


@pytest.fixture
def folder(tmp_path):
    """Five pictures in each of four classes, of different kinds and sizes."""
    kinds = (("RGB", "png"), ("L", "png"), ("RGBA", "png"), ("RGB", "JPEG"), ("P", "gif"))
    for label, name in enumerate(CLASSES):
        place = tmp_path / "my pets" / name
        place.mkdir(parents=True)
        for i, (mode, kind) in enumerate(kinds):
            picture(10 * label + i, (50 + 2 * label, 40 + i), mode).save(place / f"{i}.{kind}")
    return tmp_path / "my pets"


def parts(folder, name="test"):
    """The same pictures in `train` and `name`: the fourth and fifth of each class to test."""
    root = folder.with_name("parted")
    for place in folder.iterdir():
        for file in place.iterdir():
            part = name if file.stem in "34" else "train"
            (root / part / place.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(file, root / part / place.name / file.name)
    return root


# --- what is read ------------------------------------------------------------------------


def test_each_picture_is_its_middle_square_with_the_label_of_its_folder(folder):
    data = read_folder(folder, size=20)
    assert data.classes == tuple(sorted(CLASSES)) and data.images.shape == (20, 3, 20, 20)
    assert data.labels.tolist() == sorted(5 * [0, 1, 2, 3])
    expected = picture(10, (52, 40)).crop((6, 0, 46, 40)).resize((20, 20), Image.Resampling.BICUBIC)
    found = data.images[5 * data.classes.index("cat")].permute(1, 2, 0).numpy()
    assert np.abs(found.astype(int) - np.asarray(expected)).max() <= 1


def test_a_folder_with_two_parts_is_taken_as_it_is(folder):
    for name in ("test", "val", "Valid"):
        train, test = load_folder(parts(folder, name))
        assert train.labels.bincount().tolist() == [3] * 4 and test.labels.bincount().tolist() == [2] * 4
        shutil.rmtree(folder.with_name("parted"))
    assert train.name == test.name == "parted" and train.classes == test.classes
    assert train.mean == test.mean  # of the training pictures
    pixels = train.images.double() / 255
    assert train.mean == pytest.approx(pixels.mean((0, 2, 3)).tolist())
    assert train.std == pytest.approx(pixels.std((0, 2, 3), correction=0).tolist())


def test_a_fifth_of_each_class_is_held_out_by_seed(folder):
    def test_pictures(seed):
        train, test = load_folder(folder, seed=seed)
        assert test.labels.tolist() == [0, 1, 2, 3] and len(train) == 16
        every = {image.numpy().tobytes() for image in train.images} | {
            image.numpy().tobytes() for image in test.images
        }
        assert len(every) == 20
        return test.images

    assert torch.equal(test_pictures(0), test_pictures(0))
    assert not torch.equal(test_pictures(0), test_pictures(1))


def test_a_file_stays_on_its_side_when_others_come(folder):
    before, _ = folders.read_parts(folder, 8, seed=0)
    for i in range(6):
        picture(500 + i).save(folder / "cat" / f"a new one {i}.png")
    _, after = folders.read_parts(folder, 8, seed=0)
    moved = set(before.files) & set(after.files)
    assert len(moved) <= 1  # the fifth of eleven is two: one more is held out


def test_equal_pictures_are_on_one_side(folder):
    for i in range(4):  # four of five are one picture: only the fifth can be held out
        shutil.copy(folder / "cat" / "0.png", folder / "cat" / f"copy {i}.png")
    for seed in range(5):
        train, test = load_folder(folder, seed=seed)
        in_test = {image.numpy().tobytes() for image in test.images}
        assert not in_test & {image.numpy().tobytes() for image in train.images}


def test_a_picture_of_one_colour_has_a_deviation_to_divide_by(tmp_path):
    for name, colours in (("a", "01"), ("b", "23")):
        (tmp_path / name).mkdir()
        for value in colours:
            Image.new("RGB", (8, 8), (int(value), 0, 0)).save(tmp_path / name / f"{value}.png")
    train, _ = load_folder(tmp_path, size=8)
    assert train.std[1:] == (1.0, 1.0)


def test_other_files_and_hidden_folders_do_not_matter(folder):
    (folder / "cat" / "notes.txt").write_text("hello")
    (folder / "cat" / ".DS_Store").write_text("hello")
    (folder / ".git").mkdir()
    (folder / "__MACOSX").mkdir()
    (folder / "readme.md").write_text("hello")
    (folder / "cat" / ".thumbnails").mkdir()
    picture(5).save(folder / "cat" / ".thumbnails" / "0.png")
    with pytest.warns(UserWarning, match="left out are files that are no pictures: 1 .txt"):
        assert len(read_folder(folder, 8).files) == 20


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
def test_a_link_to_a_picture_of_another_class_is_said(folder):
    (folder / "dog & co" / "a cat.png").symlink_to(folder / "cat" / "0.png")
    with pytest.raises(DataError, match="the same picture in two classes: .*0.png = .*a cat.png"):
        read_folder(folder, 8)


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
def test_links_lead_to_pictures_once_and_round_no_circle(folder, tmp_path):
    (folder / "cat" / "again").symlink_to(folder / "cat")  # a circle
    (folder / "cat" / "a copy.png").symlink_to(folder / "cat" / "0.png")
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    picture(99).save(outside / "new.png")
    (folder / "cat" / "more").symlink_to(outside)
    assert read_folder(folder, 8).labels.bincount().tolist() == [6, 5, 5, 5]
    assert len(list(folders.walk(folder / "cat"))) == 7  # the copy by a link, too; each once


def test_hundreds_of_tiny_classes(tmp_path):
    for i in range(300):
        (tmp_path / f"{i:04}").mkdir()
        for j in range(2):
            Image.new("RGB", (4, 4), (i % 256, i // 256, j)).save(tmp_path / f"{i:04}" / f"{j}.bmp")
    train, test = load_folder(tmp_path, size=4)
    assert len(train.classes) == len(test) == len(train) == 300


def test_load_data_and_image_set_know_folders(folder):
    train, test = load_data(folder)
    assert isinstance(train, ImageSet) and train.images.shape == (16, 3, 32, 32) and len(test) == 4
    assert load_data(str(folder), size=8)[0].images.shape == (16, 3, 8, 8)
    assert len(ImageSet.from_folder(folder, 8)) == 20


@pytest.mark.parametrize("name", ["cifar10", "auto"])
def test_a_folder_with_the_name_of_a_published_set_gets_another(folder, name):
    other = folder.rename(folder.with_name(name))
    assert load_folder(other, 8)[0].name == f"my-{name}"


def test_a_folder_of_classes_is_told_from_one_with_parts(folder):
    assert folders.class_names(folder) == sorted(CLASSES)
    assert folders.class_names(parts(folder, "Valid")) is None
    shutil.rmtree(folder.with_name("parted") / "train")
    assert folders.class_names(folder.with_name("parted")) is None


# --- what is wrong -----------------------------------------------------------------------


def empty_class(folder):
    (folder / "bird").mkdir()
    return "no pictures in .*bird: put some there, or delete the folder"


def class_of_heic(folder):
    (folder / "bird").mkdir()
    (folder / "bird" / "1.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    return r"no pictures in .*bird \(but 1 .heic\)"


def damaged_file(folder):
    content = (folder / "cat" / "0.png").read_bytes()
    (folder / "cat" / "half.png").write_bytes(content[: len(content) // 2])
    return "half.png is not a picture that can be read"


def text_named_png(folder):
    (folder / "cat" / "text.png").write_text("hello")
    return "text.png is not a picture that can be read"


def empty_file(folder):
    (folder / "cat" / "nothing.jpg").write_bytes(b"")
    return "nothing.jpg is not a picture"


def many_damaged_files(folder):
    for i in range(7):
        (folder / "cat" / f"bad {i}.png").write_text("hello")
    return "bad 0.png .*bad 4.png .*; and 2 more: mend or delete"


def one_class(folder):
    for name in CLASSES[1:]:
        shutil.rmtree(folder / name)
    return "at least two classes, and has only one, Ωmega"


def no_class(folder):
    for name in CLASSES:
        shutil.rmtree(folder / name)
    picture(0).save(folder / "0.png")
    return "at least two classes, and has none"


def one_picture_in_a_class(folder):
    (folder / "bird").mkdir()
    picture(77).save(folder / "bird" / "0.png")
    return "the class 'bird' has 1 picture, too few to hold out one"


def copies_alone_in_a_class(folder):
    (folder / "bird").mkdir()
    for i in range(3):
        picture(77).save(folder / "bird" / f"{i}.png")
    return "the class 'bird' has 3 pictures, too few to hold out one that differs"


def same_picture_in_two_classes(folder):
    shutil.copy(folder / "cat" / "0.png", folder / "dog & co" / "also.png")
    return "the same picture in two classes: .*0.png = .*also.png"


def train_alone(folder):
    (folder / "train").mkdir()
    return "has a folder 'train', but not its counterpart"


@pytest.mark.parametrize(
    "damage",
    [empty_class, class_of_heic, damaged_file, text_named_png, empty_file, many_damaged_files, one_class,
     no_class, one_picture_in_a_class, copies_alone_in_a_class, same_picture_in_two_classes, train_alone],
)  # fmt: skip
def test_a_bad_folder_is_one_line_that_names_the_file(folder, damage):
    says = damage(folder)
    with pytest.raises(DataError, match=says) as error:
        load_folder(folder)
    assert "\n" not in str(error.value)


def strange_class(parted):
    (parted / "test" / "bird").mkdir()
    return "test has a class that is not among those to train: bird"


def same_picture_in_both_parts(parted):
    shutil.copy(parted / "train" / "cat" / "0.png", parted / "test" / "cat" / "copy.png")
    return "the same picture to train and to test: .*copy.png = .*0.png"


def no_test_pictures(parted):
    for name in CLASSES:
        shutil.rmtree(parted / "test" / name)
    return "no pictures in .*test"


def same_picture_in_two_classes_to_train(parted):
    shutil.copy(parted / "train" / "cat" / "0.png", parted / "train" / "dog & co" / "also.png")
    return "the same picture in two classes: .*0.png = .*also.png"


@pytest.mark.parametrize(
    "damage",
    [strange_class, same_picture_in_both_parts, same_picture_in_two_classes_to_train, no_test_pictures],
)
def test_two_bad_parts_are_one_line(folder, damage):
    parted = parts(folder)
    with pytest.raises(DataError, match=damage(parted)):
        load_folder(parted)


def test_a_set_larger_than_half_of_the_memory_is_refused_before_it_is_read(folder, monkeypatch):
    monkeypatch.setattr(downloads, "memory", lambda: 2 * 20 * 3 * 32 * 32)
    assert len(read_folder(folder, 32).files) == 20
    monkeypatch.setattr(folders, "load_picture", lambda file: pytest.fail("read"))
    with pytest.raises(
        DataError, match=r"has 20 pictures. At 33 x 33 pixels they take 0.0 GB, more than half"
    ):
        read_folder(folder, 33)
    published = ImageSet("some", ("a",), (0.5,) * 3, (0.5,) * 3, torch.zeros(20, 3, 8, 8, dtype=torch.uint8),
                         torch.zeros(20, dtype=torch.int64))  # fmt: skip
    assert published.resized(32).images.shape[-1] == 32
    with pytest.raises(DataError, match="some has 20 pictures. At 33 x 33"):
        published.resized(33)


@pytest.mark.skipif(getattr(os, "getuid", int)() == 0, reason="the administrator may read everything")
def test_a_folder_that_must_not_be_read(folder):
    folder.chmod(0)
    try:
        with pytest.raises(DataError, match="cannot read the folder .*Permission denied"):
            load_folder(folder)
    finally:
        folder.chmod(0o700)


def test_what_is_no_folder_is_no_data_set(tmp_path):
    with pytest.raises(ValueError, match="unknown data set .*there are: auto, cifar10, .* or a folder"):
        load_data(tmp_path / "nowhere")
    (tmp_path / "file").write_bytes(io.BytesIO().getvalue())
    with pytest.raises(ValueError, match="unknown data set"):
        load_data(tmp_path / "file")
