"""Parquet and Arrow files: pixels, labels, splits and patients are those of the rows; what is wrong is one line."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from simclr_med.data import arrow_files, parquet
from simclr_med.data.parquet import Parquet
from simclr_med.errors import ConfigError, DataError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 9, 9, 3), np.uint8)
LABELS = np.arange(12) % 3
NAMES = ("blast", "cyte", "band")


def encode(pixels: np.ndarray, **options: Any) -> bytes:
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, **{"format": "PNG", **options})
    return target.getvalue()


def build_table(images: Sequence[Any] = IMAGES, names: Sequence[str] | None = NAMES, **columns: Any) -> Any:
    """A table as `datasets` writes it; images are pixels, bytes, or what a cell holds."""
    cells = [encode(image) if isinstance(image, np.ndarray) else image for image in images]
    cells = [{"bytes": cell, "path": None} if isinstance(cell, bytes) else cell for cell in cells]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = {"label": LABELS[: len(cells)], **columns}
    table = pa.table({"image": pa.array(cells, kind), **{key: pa.array(value) for key, value in columns.items()}})
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": names}}
    metadata = {} if names is None else {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    return table.replace_schema_metadata(metadata)


def write(path: Path, table: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=5)
    else:
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table, max_chunksize=5)
    return path


def source(path: Path, **options: Any) -> Parquet:
    usual = {"name": "mine", "size": 9, "channels": 3, "image": "image", "label": "label", "patient": None}
    return Parquet(
        **{
            **usual,
            "split": None,
            "split_seed": 0,
            "val_fraction": 0.25,
            "test_fraction": 0.25,
            **options,
            "path": str(path),
        }
    )


def one_line(read: Callable[[], object], kind: type[DataError | ConfigError] = DataError) -> str:
    with pytest.raises(kind) as error:
        read()
    (line,) = error.value.problems
    assert "\n" not in line
    return line


@pytest.mark.parametrize(
    "names",
    [
        (
            "data/train-00000-of-00002.parquet",
            "data/train-00001-of-00002.parquet",
            "data/validation-0.parquet",
            "test.parquet",
        ),
        ("train/data-0.arrow", "train/data-1.arrow", "validation/data-0.arrow", "test/data-0.arrow"),
    ],
)
def test_rows_become_images_in_order(tmp_path: Path, names: tuple[str, ...]) -> None:
    root, table = tmp_path / "set", build_table()
    for name, (start, stop) in zip(names, ((0, 4), (4, 7), (7, 9), (9, 12)), strict=True):
        write(root / name, table.slice(start, stop - start))
    write(root / "train" / "cache-1.arrow", table)  # of `datasets`
    mine = source(root)
    assert mine.available_splits() == mine.labelled_splits() == ("train", "val", "test")
    assert mine.classes == NAMES
    assert mine.task == "multi-class"
    for split, rows in (("train", slice(0, 7)), ("val", slice(7, 9)), ("test", slice(9, 12))):
        found = mine.split(split)
        assert np.array_equal(found.images, IMAGES[rows])
        assert found.labels is not None
        assert found.labels[:, 0].tolist() == LABELS[rows].tolist()
    assert mine.names("train")[:5] == (*(f"{names[0]}#{row:07d}" for row in range(4)), f"{names[1]}#0000000")
    assert mine.remarks().facts == ("12 images in 4 files.",)


def test_images_are_decoded_once_and_resized(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = [np.repeat(image, 2, axis=1) for image in IMAGES]
    path = write(tmp_path / "train.parquet", build_table(wide))
    first = source(path, size=8, channels=1, val_fraction=0.0).split("train").images
    assert first.shape == (12, 8, 8, 1)
    monkeypatch.setattr(parquet, "read_images", None)
    assert np.array_equal(source(path, size=8, channels=1, val_fraction=0.0).split("train").images, first)


def test_rows_without_a_split_are_split_by_patient(tmp_path: Path) -> None:
    path = write(tmp_path / "all.parquet", build_table(who=[f"p{row // 2}" for row in range(12)]))
    mine = source(path, patient="who")
    members = [set(mine.patients(split) or ()) for split in ("train", "val", "test")]
    assert sum(map(len, members)) == len(set().union(*members)) == 6
    assert mine.remarks().facts[1] == "6 patients, each in one split."
    assert source(path).patients("train") is None


def test_a_column_says_the_split(tmp_path: Path) -> None:
    folds = ["train"] * 6 + ["validation"] * 2 + ["test"] * 4
    mine = source(write(tmp_path / "all.parquet", build_table(fold=folds)), split="fold")
    assert np.array_equal(mine.split("test").images, IMAGES[8:])
    patients = build_table(fold=folds, who=["one"] * 12)
    line = one_line(lambda: source(write(tmp_path / "b.parquet", patients), split="fold", patient="who").names("train"))
    assert "dataset.patient=who: the patient one is in train and val" in line


def test_labels_as_texts_as_numbers_and_none(tmp_path: Path) -> None:
    texts = write(tmp_path / "a" / "train.parquet", build_table(names=None, label=[NAMES[k] for k in LABELS]))
    assert source(texts).classes == tuple(sorted(NAMES))
    numbers = write(tmp_path / "b" / "train.parquet", build_table(names=None, label=LABELS + 9))
    assert source(numbers).classes == ("9", "10", "11")
    bare = source(numbers, label=None)
    assert bare.labelled_splits() == ()
    assert bare.split("train").labels is bare.task is None


def test_images_by_path_stay_inside_the_folder(tmp_path: Path) -> None:
    for name in ("inside", "outside"):
        place = tmp_path / "set" / "a.png" if name == "inside" else tmp_path / "b.png"
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(encode(IMAGES[0]))
    root = tmp_path / "set"
    cells = [{"bytes": None, "path": "a.png"}] * 2
    inside = source(write(root / "train.parquet", build_table(cells, names=None)), val_fraction=0.0)
    assert np.array_equal(inside.split("train").images[1], IMAGES[0])
    cells = [{"bytes": None, "path": "../b.png"}] * 2
    outside = source(write(root / "train.parquet", build_table(cells, names=None)), val_fraction=0.0)
    assert "its path leaves the folder of the data set" in one_line(lambda: outside.split("train"))


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({}, {"image": "picture"}, "no column picture; found image, label. Name the columns with dataset.image"),
        ({"label": [None] * 12}, {}, "label of row 0: expected a text or a whole number, found nothing."),
        ({"label": [0.5] * 12}, {}, "label of row 0: expected a text or a whole number, found float."),
        ({"label": [[0, 1]] * 12}, {}, "label of row 0: expected a text or a whole number, found list."),
        ({"label": [0] * 11 + [3]}, {}, "label of row 11: expected a class from 0 to 2, found 3."),
        ({"fold": ["train"] * 11 + ["dev"]}, {"split": "fold"}, "fold of row 11: expected train, val, test as split"),
        ({"names": None, "label": [1] * 12}, {}, "dataset.label=label: expected at least two classes, found 1."),
        ({"images": [b"no image"] * 12}, {}, "image of row 0: not a readable image (cannot identify image file"),
        ({"images": [None] * 12}, {}, "image of row 0: not a readable image (expected the bytes of an image file"),
        ({"images": [encode(IMAGES[0])[:60]] * 12}, {}, "image of row 0: not a readable image ("),
        ({"images": [np.zeros((9, 9), np.uint16)] * 12}, {}, "expected 8 bits per channel; export the images as files"),
    ],
)
def test_what_is_wrong_is_one_line(
    tmp_path: Path, change: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    path = write(tmp_path / "train.parquet", build_table(**change))
    assert message in one_line(lambda: source(path, val_fraction=0.0, **options).split("train"))


@pytest.mark.parametrize("ending", [".parquet", ".arrow"])
@pytest.mark.parametrize(
    "damage", [lambda content: b"", lambda content: content[: len(content) // 2], lambda _: b"x" * 99]
)
def test_damaged_files_are_one_line(tmp_path: Path, ending: str, damage: Callable[[bytes], bytes]) -> None:
    path = write(tmp_path / f"train{ending}", build_table())
    path.write_bytes(damage(path.read_bytes()))
    assert f"{path}: not an intact {ending} file (" in one_line(lambda: source(path).split("train"))


def test_folders_without_files_and_odd_names_are_one_line(tmp_path: Path) -> None:
    assert "no .parquet or .arrow file found" in one_line(lambda: source(tmp_path).names("train"))
    for name in ("train.parquet", "rest.parquet"):
        write(tmp_path / name, build_table())
    line = one_line(lambda: source(tmp_path).names("train"))
    assert "the name of rest.parquet says no split, those of other files do. Rename it" in line


def test_without_pyarrow_one_line_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrow_files, "find_spec", lambda name: None)
    line = one_line(source(tmp_path).content_hash, ConfigError)
    assert line == "dataset=parquet: needs pyarrow. Install it with pip install 'simclr-med[parquet]'."


def test_the_hash_is_that_of_the_files(tmp_path: Path) -> None:
    path = write(tmp_path / "a" / "train.parquet", build_table())
    first = source(path).content_hash()
    assert first == source(write(tmp_path / "b" / "train.parquet", build_table())).content_hash()
    assert first != source(write(tmp_path / "c" / "train.parquet", build_table(label=LABELS[::-1]))).content_hash()
    assert first.startswith("sha256:")
