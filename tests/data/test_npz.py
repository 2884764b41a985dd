from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from simclr_med.data import arrays
from simclr_med.data.npz import Npz, image_shape
from simclr_med.errors import DataError


def source(file: Path, task=None, class_names=None) -> Npz:
    return Npz("mine", str(file), task, class_names)


@pytest.fixture
def saved(tmp_path: Path, layout):
    def save(**options) -> Path:
        np.savez_compressed(tmp_path / "mine.npz", **layout(**options))
        return tmp_path / "mine.npz"

    return save


def one_line(error: pytest.ExceptionInfo[DataError]) -> str:
    (line,) = error.value.problems
    assert "\n" not in line
    return line


@pytest.mark.parametrize("channels", [1, 3])
def test_gives_the_splits_as_nhwc_with_labels(saved, layout, channels) -> None:
    mine = source(saved(channels=channels))
    for split, count in (("train", 12), ("val", 6), ("test", 6)):
        images = mine.split(split)
        assert images.images.shape == (count, 8, 8, channels)
        assert images.images.dtype == np.uint8
        expected = layout(channels=channels)
        np.testing.assert_array_equal(images.images.reshape(-1), expected[f"{split}_images"].reshape(-1))
        np.testing.assert_array_equal(images.labels, expected[f"{split}_labels"])
        assert images.labels.dtype == np.int64
        np.testing.assert_array_equal(mine.labels(split), images.labels)
    assert (mine.size, mine.channels, mine.classes) == (8, channels, ("0", "1", "2"))


@pytest.mark.parametrize(
    ("options", "task", "classes"),
    [
        ({"classes": 2}, "binary-class", 2),
        ({"classes": 5}, "multi-class", 5),
        ({"classes": 4, "multi_label": True}, "multi-label, binary-class", 4),
    ],
)
def test_infers_the_task(saved, options, task, classes) -> None:
    mine = source(saved(**options))
    assert (mine.task, len(mine.classes)) == (task, classes)


def test_a_task_and_class_names_that_are_given_hold(saved) -> None:
    mine = source(saved(), "ordinal-regression", ["mild", "worse", "worst"])
    assert (mine.task, mine.classes) == ("ordinal-regression", ("mild", "worse", "worst"))


def test_labels_are_optional(saved) -> None:
    mine = source(saved(train_labels=None, val_labels=None, test_labels=None))
    assert (mine.task, mine.classes, mine.labels("train"), mine.split("val").labels) == (None, (), None, None)


def test_images_need_not_be_square(saved) -> None:
    shapes = {
        f"{split}_images": np.zeros((12 if split == "train" else 6, 10, 7), np.uint8) for split in ("train", "val")
    }
    file = saved(**shapes)
    assert source(file).size == 7
    assert image_shape(str(file)) == (10, 7, 1)


def test_a_split_is_read_without_the_test_split(saved, monkeypatch) -> None:
    file, touched = saved(), []
    opened = zipfile.ZipFile.open
    monkeypatch.setattr(
        zipfile.ZipFile, "open", lambda self, name, *a, **k: touched.append(name) or opened(self, name, *a, **k)
    )
    mine = source(file)
    assert len(mine.split("train")) + len(mine.split("val")) == 18
    assert (mine.task, len(mine.classes), len(mine.labels("val"))) == ("multi-class", 3, 6)
    assert mine.content_hash()
    assert touched
    assert not [name for name in touched if "test" in str(name)]


def test_the_content_hash_follows_the_content(saved) -> None:
    first = source(saved()).content_hash()
    assert first.startswith("sha256:")
    assert source(saved()).content_hash() == first
    assert source(saved(classes=2)).content_hash() != first


@pytest.mark.parametrize(
    ("change", "key", "rule"),
    [
        ({"train_images": np.zeros((12, 8, 8), np.float32)}, "train_images", "must be uint8"),
        ({"train_images": np.zeros((12, 8, 8, 4), np.uint8)}, "train_images", "must be [N, H, W]"),
        ({"train_images": np.zeros((12, 8), np.uint8)}, "train_images", "must be [N, H, W]"),
        ({"train_images": np.zeros((0, 8, 8), np.uint8)}, "train_images", "at least one image"),
        ({"train_images": None}, "train_images", "must be there"),
        ({"train_labels": np.zeros((12, 1), np.float32)}, "train_labels", "whole numbers"),
        ({"train_labels": np.full((12, 1), -1)}, "train_labels", "classes from 0"),
        ({"train_labels": np.zeros((11, 1), np.uint8)}, "train_labels", "one row for each of the 12"),
        ({"train_labels": np.full((12, 2), 2)}, "train_labels", "must lie in 0..1"),
        ({"train_labels": np.zeros((12, 1, 1), np.uint8)}, "train_labels", "must be [N] or [N, L]"),
        ({"train_labels": np.array([None] * 12)}, "train_labels", "contains a pickle"),
        ({"train_images": np.zeros((12, 8, 8), np.float32)}, "train_images", "np.rint(images * 255)"),
        ({"train_images": np.zeros((12, 8, 8), np.uint16)}, "train_images", "(images // 257)"),
        ({"train_images": np.zeros((12, 8, 8, 4), np.uint8)}, "train_images", "images[..., :3]"),
        ({"train_images": np.zeros((12, 3, 8, 8), np.uint8)}, "train_images", "np.moveaxis(images, 1, 3)"),
        ({"train_images": np.zeros((12, 1, 1, 3), np.uint8)}, "train_images", "at least 4 x 4 pixels"),
        ({"train_labels": np.arange(12) * 1000}, "train_labels", "=11000: must number the classes 0, 1, 2, ..."),
        ({"train_labels": np.array(["a", "b"] * 6)}, "train_labels", "=text: must be whole numbers"),
        ({"train_labels": np.full(12, np.nan)}, "train_labels", "=float64: must be whole numbers"),
    ],
)
def test_tells_what_is_wrong_in_one_line(saved, change, key, rule) -> None:
    file = saved(**change)
    with pytest.raises(DataError) as error:
        source(file).split("train")
    assert one_line(error).startswith(f"{file}[{key}]")
    assert rule in one_line(error)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "it is empty"),
        (b"<!DOCTYPE html><html>", "it is a web page"),
        ("a;b\nMäuse;血液\n".encode(), "it is text"),
        (b"\x93NUMPY\x01\x00", "it is a single array, an .npy"),
        (b"version https://git-lfs.github.com/spec/v1\n", "it is a Git LFS pointer, not the file itself"),
        (b"PK\x03\x04abc", "it is cut short or damaged"),
        (bytes(range(256)), "it is of no known kind"),
    ],
)
def test_tells_what_a_file_is_instead(tmp_path: Path, content, kind) -> None:
    (tmp_path / "mine.npz").write_bytes(content)
    with pytest.raises(DataError) as error:
        source(tmp_path / "mine.npz").split("train")
    assert f"must be an intact .npz ({kind})." in one_line(error)


def test_class_names_must_differ(saved) -> None:
    with pytest.raises(DataError, match=r"dataset.class_names=\[a,a,b\]: must be different names"):
        source(saved(), None, ["a", "a", "b"]).split("train")


def test_there_must_be_a_class_name(saved) -> None:
    with pytest.raises(DataError, match=r"class_names=\[\]: must be a name for each class"):
        source(saved(), None, []).split("train")


def test_a_binary_task_is_of_two_classes(saved) -> None:
    with pytest.raises(DataError, match=r"task=binary-class: must be of two classes; there are 3. Leave"):
        source(saved(), "binary-class").split("train")


def test_which_splits_are_there_and_labelled(saved, tmp_path: Path) -> None:
    assert source(saved()).labelled_splits() == ("train", "val", "test")
    with np.load(saved()) as content:
        kept = {name: content[name] for name in content if name not in ("val_labels", "test_images")}
    np.savez(tmp_path / "some.npz", **kept)
    some = source(tmp_path / "some.npz")
    assert (some.available_splits(), some.labelled_splits()) == (("train", "val"), ("train",))


def test_a_folder_named_npz_is_told(tmp_path: Path) -> None:
    for read in (lambda mine: mine.split("train"), lambda mine: mine.content_hash()):
        with pytest.raises(DataError, match="must be a file, not a folder"):
            read(source(tmp_path))


def test_a_class_that_training_has_not_is_told(saved) -> None:
    file = saved(val_labels=np.full((6, 1), 3, np.uint8))
    with pytest.raises(DataError, match=r"val_labels\]=3: must lie in 0\.\.2"):
        source(file).split("val")


def test_another_size_in_validation_is_told(saved) -> None:
    file = saved(val_images=np.zeros((6, 9, 9, 3), np.uint8))
    with pytest.raises(DataError, match=r"val_images.*must be \[N, 8, 8, 3\]"):
        source(file).split("val")


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_missing_split_is_named(saved, split) -> None:
    file = saved(**{f"{split}_images": None})
    with pytest.raises(DataError, match=rf"{split}_images\]: must be there; the file holds .*train_images"):
        source(file).split(split)


def test_a_wrong_task_is_told(saved) -> None:
    with pytest.raises(DataError, match=r"dataset.task=segmentation: must be one of multi-class"):
        source(saved(), "segmentation").split("train")


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.npz: must exist"):
        source(tmp_path / "none.npz").split("train")
    with pytest.raises(DataError, match=r"none.npz: must exist"):
        source(tmp_path / "none.npz").content_hash()


@pytest.mark.parametrize("part", [0.0, 0.3, 0.99])
def test_a_truncated_file_is_told(saved, part) -> None:
    file = saved()
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * part)])
    with pytest.raises(DataError, match=r"must be an intact .npz") as error:
        source(file).split("train")
    one_line(error)


@pytest.mark.parametrize("compressed", [True, False])
def test_a_flipped_bit_is_told(tmp_path: Path, layout, compressed) -> None:
    file = tmp_path / "mine.npz"
    (np.savez_compressed if compressed else np.savez)(file, **layout(size=64))
    damaged = bytearray(file.read_bytes())
    damaged[3000] ^= 255
    file.write_bytes(damaged)
    with pytest.raises(DataError, match=r"train_images\]: must be an intact .npz"):
        source(file).split("train")


class Malicious:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def test_a_pickle_is_refused_and_not_executed(tmp_path: Path, layout) -> None:
    mark = tmp_path / "executed"
    file = tmp_path / "mine.npz"
    np.savez(file, **layout(train_labels=np.array([Malicious(mark)] * 12, dtype=object)))
    with pytest.raises(DataError, match="contains a pickle") as error:
        source(file).split("train")
    one_line(error)
    file.write_bytes(pickle.dumps(Malicious(mark)))
    with pytest.raises(DataError, match="contains a pickle"):
        source(file).split("train")
    assert not mark.exists()
    pickle.loads(pickle.dumps(Malicious(mark)))
    assert mark.exists(), "the pickle of this test does nothing"


def test_a_header_that_lies_about_the_length_is_told(tmp_path: Path) -> None:
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"descr": "|u1", "fortran_order": False, "shape": (10**9, 28, 28)})
    with zipfile.ZipFile(tmp_path / "mine.npz", "w") as archive:
        archive.writestr("train_images.npy", content.getvalue() + bytes(100))
    with pytest.raises(DataError, match="bytes announced"):
        arrays.read(tmp_path / "mine.npz", "train_images")


def test_fortran_order_is_read(tmp_path: Path, layout) -> None:
    images = layout()["train_images"]
    np.savez(tmp_path / "mine.npz", train_images=np.asfortranarray(images))
    found = arrays.read(tmp_path / "mine.npz", "train_images")
    np.testing.assert_array_equal(found, images)
    assert found.flags.c_contiguous


def test_spaces_and_letters_of_all_scripts_in_a_path_work(tmp_path: Path, layout) -> None:
    folder = tmp_path / "Blutbild größer 血液"
    folder.mkdir()
    np.savez(folder / "ma cellule é.npz", **layout())
    assert len(source(folder / "ma cellule é.npz").split("train")) == 12
    assert source(folder / "ma cellule é.npz").content_hash()
