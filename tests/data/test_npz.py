""".npz files in MedMNIST's make_arrays: facts, splits and error messages."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from simclr_med.data import arrays
from simclr_med.data.npz import Npz
from simclr_med.errors import DataError


def source(file: Path, task=None, class_names=None) -> Npz:
    return Npz("mine", str(file), task, class_names)


@pytest.fixture
def save_npz(tmp_path: Path, make_arrays):
    """Function that saves an .npz file; its arguments are those of make_arrays."""

    def save(**options) -> Path:
        np.savez_compressed(tmp_path / "mine.npz", **make_arrays(**options))
        return tmp_path / "mine.npz"

    return save


def get_line(error: pytest.ExceptionInfo[DataError]) -> str:
    (line,) = error.value.problems
    assert "\n" not in line
    return line


@pytest.mark.parametrize("channels", [1, 3])
def test_splits_are_nhwc_images_with_labels(save_npz, make_arrays, channels) -> None:
    mine = source(save_npz(channels=channels))
    for split, count in (("train", 12), ("val", 6), ("test", 6)):
        images = mine.split(split)
        assert images.images.shape == (count, 8, 8, channels)
        assert images.images.dtype == np.uint8
        expected = make_arrays(channels=channels)
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
def test_task_is_inferred_from_labels(save_npz, options, task, classes) -> None:
    mine = source(save_npz(**options))
    assert (mine.task, len(mine.classes)) == (task, classes)


def test_given_task_and_class_names_are_used(save_npz) -> None:
    mine = source(save_npz(), "ordinal-regression", ["mild", "worse", "worst"])
    assert (mine.task, mine.classes) == ("ordinal-regression", ("mild", "worse", "worst"))


def test_labels_are_optional(save_npz) -> None:
    mine = source(save_npz(train_labels=None, val_labels=None, test_labels=None))
    assert (mine.task, mine.classes, mine.labels("train"), mine.split("val").labels) == (None, (), None, None)


def test_images_may_be_rectangular(save_npz) -> None:
    shapes = {
        f"{split}_images": np.zeros((12 if split == "train" else 6, 10, 7), np.uint8) for split in ("train", "val")
    }
    file = save_npz(**shapes)
    assert source(file).size == 7
    assert source(file).image_shape == (10, 7, 1)


def test_reading_train_and_val_does_not_open_the_test_split(save_npz, monkeypatch) -> None:
    file, touched = save_npz(), []
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


def test_content_hash_changes_with_the_content(save_npz) -> None:
    first = source(save_npz()).content_hash()
    assert first.startswith("sha256:")
    assert source(save_npz()).content_hash() == first
    assert source(save_npz(classes=2)).content_hash() != first


@pytest.mark.parametrize(
    ("change", "key", "rule"),
    [
        ({"train_images": np.zeros((12, 8, 8), np.float32)}, "train_images", "expected uint8"),
        ({"train_images": np.zeros((12, 20, 20, 17), np.uint8)}, "train_images", "[N, H, W, C] with 1 to 16 channels"),
        ({"train_images": np.zeros((12, 8, 8, 8), np.uint8)}, "train_images", "expected [N, H, W]"),
        ({"train_images": np.zeros((12, 8), np.uint8)}, "train_images", "expected [N, H, W]"),
        ({"train_images": np.zeros((0, 8, 8), np.uint8)}, "train_images", "at least one image"),
        ({"train_images": None}, "train_images", "array not found"),
        ({"train_labels": np.zeros((12, 1), np.float32)}, "train_labels", "expected integers"),
        ({"train_labels": np.full((12, 1), -1)}, "train_labels", "expected classes numbered from 0"),
        ({"train_labels": np.zeros((11, 1), np.uint8)}, "train_labels", "one row for each of the 12"),
        ({"train_labels": np.full((12, 2), 2)}, "train_labels", "expected labels in 0..1"),
        ({"train_labels": np.zeros((12, 1, 1), np.uint8)}, "train_labels", "expected [N] or [N, L]"),
        ({"train_labels": np.array([None] * 12)}, "train_labels", "contains a pickle"),
        ({"train_images": np.zeros((12, 8, 8), np.float32)}, "train_images", "np.rint(images * 255)"),
        ({"train_images": np.zeros((12, 8, 8), np.uint16)}, "train_images", "(images // 257)"),
        ({"train_images": np.zeros((12, 5, 28, 28), np.uint8)}, "train_images", "np.moveaxis(images, 1, 3)"),
        ({"train_images": np.zeros((12, 3, 8, 8), np.uint8)}, "train_images", "np.moveaxis(images, 1, 3)"),
        ({"train_images": np.zeros((12, 1, 1, 3), np.uint8)}, "train_images", "at least 4 x 4 pixels"),
        ({"train_labels": np.arange(12) * 1000}, "train_labels", "=11000: expected classes numbered 0, 1, 2, ..."),
        ({"train_labels": np.array(["a", "b"] * 6)}, "train_labels", "=text: expected integers"),
        ({"train_labels": np.full(12, np.nan)}, "train_labels", "=float64: expected integers"),
    ],
)
def test_wrong_arrays_are_errors_in_one_line(save_npz, change, key, rule) -> None:
    file = save_npz(**change)
    with pytest.raises(DataError) as error:
        source(file).split("train")
    assert get_line(error).startswith(f"{file}[{key}]")
    assert rule in get_line(error)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "it is empty"),
        (b"<!DOCTYPE html><html>", "it is a web page"),
        ("a;b\nMäuse;血液\n".encode(), "it is text"),
        (b"\x93NUMPY\x01\x00", "it is a single array (.npy)"),
        (b"version https://git-lfs.github.com/spec/v1\n", "it is a Git LFS pointer, not the file itself"),
        (b"PK\x03\x04abc", "it is cut short or damaged"),
        (bytes(range(256)), "it is of an unknown type"),
    ],
)
def test_other_file_types_are_named(tmp_path: Path, content, kind) -> None:
    (tmp_path / "mine.npz").write_bytes(content)
    with pytest.raises(DataError) as error:
        source(tmp_path / "mine.npz").split("train")
    assert f"not an intact .npz file ({kind})." in get_line(error)


def test_repeated_class_names_are_an_error(save_npz) -> None:
    with pytest.raises(DataError, match=r"dataset.class_names=\[a,a,b\]: expected different names"):
        source(save_npz(), None, ["a", "a", "b"]).split("train")


def test_empty_class_names_are_an_error(save_npz) -> None:
    with pytest.raises(DataError, match=r"class_names=\[\]: expected a name for each class"):
        source(save_npz(), None, []).split("train")


def test_binary_task_with_three_classes_is_an_error(save_npz) -> None:
    with pytest.raises(DataError, match=r"task=binary-class: expected 2 classes, found 3. Remove"):
        source(save_npz(), "binary-class").split("train")


def test_available_and_labelled_splits(save_npz, tmp_path: Path) -> None:
    assert source(save_npz()).labelled_splits() == ("train", "val", "test")
    with np.load(save_npz()) as content:
        kept = {name: content[name] for name in content if name not in ("val_labels", "test_images")}
    np.savez(tmp_path / "some.npz", **kept)
    some = source(tmp_path / "some.npz")
    assert (some.available_splits(), some.labelled_splits()) == (("train", "val"), ("train",))


def test_file_without_images_is_an_error_that_names_it(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", np.zeros(3))
    with pytest.raises(DataError, match=r"other\.npz\[train_images\]: array not found; the file has arr_0\."):
        source(tmp_path / "other.npz").task  # noqa: B018


def test_folder_instead_of_a_file_is_an_error(tmp_path: Path) -> None:
    for read in (lambda mine: mine.split("train"), lambda mine: mine.content_hash()):
        with pytest.raises(DataError, match="expected a file, found a folder"):
            read(source(tmp_path))


def test_label_that_train_does_not_have_is_an_error(save_npz) -> None:
    file = save_npz(val_labels=np.full((6, 1), 3, np.uint8))
    with pytest.raises(DataError, match=r"val_labels\]=3: expected labels in 0\.\.2"):
        source(file).split("val")


def test_split_of_another_size_is_an_error(save_npz) -> None:
    file = save_npz(val_images=np.zeros((6, 9, 9, 3), np.uint8))
    with pytest.raises(DataError, match=r"val_images.*expected \[N, 8, 8, 3\] as in train_images"):
        source(file).split("val")


@pytest.mark.parametrize("split", ["val", "test"])
def test_missing_split_is_an_error(save_npz, split) -> None:
    file = save_npz(**{f"{split}_images": None})
    with pytest.raises(DataError, match=rf"{split}_images\]: array not found; the file has .*train_images"):
        source(file).split(split)


def test_unknown_task_is_an_error(save_npz) -> None:
    with pytest.raises(DataError, match=r"dataset.task=segmentation: unknown task. Choose one of multi-class"):
        source(save_npz(), "segmentation").split("train")


def test_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.npz: file not found"):
        source(tmp_path / "none.npz").split("train")
    with pytest.raises(DataError, match=r"none.npz: file not found"):
        source(tmp_path / "none.npz").content_hash()


@pytest.mark.parametrize("part", [0.0, 0.3, 0.99])
def test_truncated_file_is_an_error(save_npz, part) -> None:
    file = save_npz()
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * part)])
    with pytest.raises(DataError, match=r"not an intact .npz file") as error:
        source(file).split("train")
    get_line(error)


@pytest.mark.parametrize("compressed", [True, False])
def test_flipped_bit_is_an_error(tmp_path: Path, make_arrays, compressed) -> None:
    file = tmp_path / "mine.npz"
    (np.savez_compressed if compressed else np.savez)(file, **make_arrays(size=64))
    damaged = bytearray(file.read_bytes())
    damaged[3000] ^= 255
    file.write_bytes(damaged)
    with pytest.raises(DataError, match=r"train_images\]: not an intact .npz file"):
        source(file).split("train")


class Malicious:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def test_pickle_is_rejected_and_not_executed(tmp_path: Path, make_arrays) -> None:
    mark = tmp_path / "executed"
    file = tmp_path / "mine.npz"
    np.savez(file, **make_arrays(train_labels=np.array([Malicious(mark)] * 12, dtype=object)))
    with pytest.raises(DataError, match="contains a pickle") as error:
        source(file).split("train")
    get_line(error)
    file.write_bytes(pickle.dumps(Malicious(mark)))
    with pytest.raises(DataError, match="contains a pickle"):
        source(file).split("train")
    assert not mark.exists()
    pickle.loads(pickle.dumps(Malicious(mark)))
    assert mark.exists(), "the test's pickle has no effect"


def test_wrong_length_in_a_header_is_an_error(tmp_path: Path) -> None:
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"descr": "|u1", "fortran_order": False, "shape": (10**9, 28, 28)})
    with zipfile.ZipFile(tmp_path / "mine.npz", "w") as archive:
        archive.writestr("train_images.npy", content.getvalue() + bytes(100))
    with pytest.raises(DataError, match="the header announces 784000000000 bytes, the file has 100"):
        arrays.read(tmp_path / "mine.npz", "train_images")


def test_fortran_order_is_read(tmp_path: Path, make_arrays) -> None:
    images = make_arrays()["train_images"]
    np.savez(tmp_path / "mine.npz", train_images=np.asfortranarray(images))
    found = arrays.read(tmp_path / "mine.npz", "train_images")
    np.testing.assert_array_equal(found, images)
    assert found.flags.c_contiguous


def test_spaces_and_non_ascii_paths_work(tmp_path: Path, make_arrays) -> None:
    folder = tmp_path / "Blutbild größer 血液"
    folder.mkdir()
    np.savez(folder / "ma cellule é.npz", **make_arrays())
    assert len(source(folder / "ma cellule é.npz").split("train")) == 12
    assert source(folder / "ma cellule é.npz").content_hash()


@pytest.mark.parametrize("channels", [2, 4, 5, 7])
def test_images_of_several_channels(save_npz, channels: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (12, 8, 8, channels), np.uint8)
    mine = source(save_npz(**{f"{split}_images": images for split in ("train", "val", "test")}))
    assert mine.channels == channels
    assert np.array_equal(mine.split("train").images, images)
