"""The images of a selection.csv are found by their pixels, wherever they are by then."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from simclr_med.data.npz import Npz
from simclr_med.data.selected_images import hash_image, load_labelled_images, load_selected_rows
from simclr_med.errors import DataError
from simclr_med.selection_csv import SelectedImage, format_selection, read_selection

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 28, 28, 3), dtype=np.uint8)
CHOSEN = [7, 2, 9, 0]


def write_selection(folder: Path, images_NHWC: np.ndarray) -> str:
    lines = [SelectedImage(row, hash_image(images_NHWC[row]), "typiclust") for row in CHOSEN]
    (folder / "selection.csv").write_text(format_selection(lines), encoding="utf-8")
    return str(folder / "selection.csv")


def source(folder: Path, images_NHWC: np.ndarray) -> Npz:
    path = folder / "data.npz"
    labels = np.arange(len(images_NHWC))[:, None] % 3
    np.savez(path, **{f"{split}_images": images_NHWC for split in ("train", "val", "test")}, train_labels=labels)
    return Npz(name="data", path=str(path), task=None, class_names=None)


def test_the_order_is_that_of_the_file(tmp_path: Path) -> None:
    rows = load_selected_rows(write_selection(tmp_path, IMAGES), 3, source(tmp_path, IMAGES))
    assert rows.tolist() == CHOSEN[:3]


def test_images_are_found_in_another_order_and_among_others(tmp_path: Path) -> None:
    moved = np.concatenate([255 - IMAGES[:3], IMAGES[::-1]])
    rows = load_selected_rows(write_selection(tmp_path, IMAGES), 4, source(tmp_path, moved))
    assert np.array_equal(moved[rows], IMAGES[CHOSEN])


def test_copies_of_an_image_are_used_once_each(tmp_path: Path) -> None:
    images = IMAGES.copy()
    images[2] = images[7]
    rows = load_selected_rows(write_selection(tmp_path, images), 4, source(tmp_path, images[::-1]))
    assert len(set(rows.tolist())) == 4
    assert np.array_equal(images[::-1][rows], images[CHOSEN])


@pytest.mark.parametrize("images", [255 - IMAGES, IMAGES[:, :24, :24], IMAGES[:5]])
def test_a_selection_of_another_data_set_is_refused(tmp_path: Path, images: np.ndarray) -> None:
    file = write_selection(tmp_path, IMAGES)
    with pytest.raises(DataError, match=r"of its first 4 images .*are not training images of dataset=data") as error:
        load_selected_rows(file, 4, source(tmp_path, images))
    assert len(error.value.problems) == 1


def test_a_shorter_or_missing_file_is_refused(tmp_path: Path) -> None:
    file = write_selection(tmp_path, IMAGES)
    with pytest.raises(DataError, match=r"data_fraction.samples=5: .* lists 4 images"):
        load_selected_rows(file, 5, source(tmp_path, IMAGES))
    with pytest.raises(DataError, match=r"not a selection.csv"):
        load_selected_rows(f"{file}.old", 4, source(tmp_path, IMAGES))


def label(file: str, labels: list[str]) -> None:
    """Write labels of the first images into a selection.csv."""
    lines = read_selection(Path(file))
    labelled = [replace(line, label=name) for line, name in zip(lines, labels, strict=False)]
    Path(file).write_text(format_selection(labelled + lines[len(labelled) :]), encoding="utf-8")


def test_labels_are_those_of_the_file_or_of_the_data_set(tmp_path: Path) -> None:
    file = write_selection(tmp_path, IMAGES)
    found = load_labelled_images(file, 4, source(tmp_path, IMAGES))
    assert found.rows_M.tolist() == CHOSEN
    assert found.labels_ML.tolist() == [[1], [2], [0], [0]]  # classes 1, 2, 0, 0 of the data set
    assert load_labelled_images(file, 2, source(tmp_path, IMAGES)).labels_ML.tolist() == [[0], [1]]
    label(file, ["cyte", "=blast", "cyte"])
    found = load_labelled_images(file, 3, source(tmp_path, IMAGES))
    assert found.labels_ML.tolist() == [[1], [0], [1]], "numbered by name"


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([], "selection.csv: no labels. Write the class of each labelled image into the column label, from the first"),
        (["a", "b", "", "a"], "rank 3 has no label, but 3 of its first 4 images have one. Add it, or lower data_frac"),
        (["a"] * 4, "have only one class. Label images of another class too."),
    ],
)
def test_missing_labels_are_one_line(tmp_path: Path, labels: list[str], message: str) -> None:
    file = write_selection(tmp_path, IMAGES)
    label(file, labels)
    np.savez(tmp_path / "bare.npz", train_images=IMAGES)
    bare = Npz(name="bare", path=str(tmp_path / "bare.npz"), task=None, class_names=None)
    with pytest.raises(DataError) as error:
        load_labelled_images(file, 4, bare)
    (line,) = error.value.problems
    assert message in line
