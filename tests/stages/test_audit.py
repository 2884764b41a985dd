"""The audit finds what is planted, says so in one page, and its list makes the data set safe."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from simclr_med.errors import DataError

Content = dict[str, np.ndarray]


def drawn(count: int, seed: int, bright: np.ndarray | None = None) -> np.ndarray:
    """Smooth random images, uint8 [count, 28, 28]; the left half of some is brighter."""
    generator = np.random.default_rng(seed)
    coarse = np.kron(generator.normal(size=(count, 7, 7)), np.ones((1, 4, 4)))
    fine = np.kron(generator.normal(size=(count, 14, 14)), np.ones((1, 2, 2)))
    images = 128 + 25 * coarse + 15 * fine
    if bright is not None:
        images[bright, :, :14] += 60
        images[bright, :, 14:] -= 60
    return np.clip(images, 1, 254).astype(np.uint8)


@pytest.fixture
def content() -> Content:
    """120, 40 and 40 images of two classes that are easy to tell apart."""
    made: Content = {}
    for number, (split, count) in enumerate((("train", 120), ("val", 40), ("test", 40))):
        labels = np.arange(count) % 2
        made[f"{split}_images"] = drawn(count, number, labels == 1)
        made[f"{split}_labels"] = labels[:, None].astype(np.uint8)
    return made


@pytest.fixture
def audited(staged, tmp_path: Path) -> Callable[..., Path]:
    def run(content: Content, *words: str, name: str = "scans") -> Path:
        np.savez(tmp_path / f"{name}.npz", **content)
        return staged("audit", *words, path=tmp_path / f"{name}.npz")

    return run


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def found(folder: Path, kind: str) -> list[tuple[str, ...]]:
    keys = ("split", "index", "other_split", "other_index")
    return [tuple(row[key] for key in keys) for row in rows(folder / "findings.csv") if row["kind"] == kind]


def plant(content: Content) -> None:
    content["test_images"][7] = np.roll(content["train_images"][31], 1, axis=1)
    content["test_images"][4] = content["train_images"][11]  # classes 0 and 1
    content["val_images"][9] = 0
    content["train_images"][20] = 90


def test_what_is_planted_is_found_shown_and_left_out(audited, result, content: Content, capsys) -> None:
    plant(content)
    folder = audited(content)
    assert found(folder, "near_duplicate") == [("test", "7", "train", "31")]
    assert found(folder, "exact_duplicate") == [("test", "4", "train", "11")]
    assert found(folder, "opposite_labels") == [("test", "4", "train", "11")]
    assert found(folder, "constant") == [("train", "20", "", ""), ("val", "9", "", "")]
    recorded = result(folder)
    assert recorded["metrics"] == {"train/images": 120, "val/images": 40, "test/images": 40, "test/images_with_twin": 2}
    assert recorded["tables"]["test_twins"] == [4, 7]
    assert recorded["tables"]["findings"]["near_duplicate"] == 1
    excluded = [(row["split"], row["index"], row["reason"]) for row in rows(folder / "exclude.csv")]
    assert excluded == [
        ("train", "11", "twin in test"),
        ("train", "20", "constant image"),
        ("train", "31", "twin in test"),
        ("val", "9", "constant image"),
    ]
    first = "Is this set safe to use? No: 2 of 40 test images (5.0%) have an exact or near duplicate"
    assert first in capsys.readouterr().out
    page = (folder / "audit.html").read_text(encoding="utf-8")
    assert page.index(first) < page.index("What was checked")
    assert f"dataset.exclude={folder / 'exclude.csv'}" in page
    assert all(f"<h2>{title}" in page for title in ("Near duplicates (1)", "Exact duplicates (1)"))
    assert not re.search(r"(src|href)=\"(?!data:|findings\.csv|exclude\.csv)", page), "nothing is loaded"


def test_without_the_listed_images_the_set_is_safe(audited, result, content: Content, capsys) -> None:
    plant(content)
    first = audited(content)
    second = audited(content, f"dataset.exclude={first / 'exclude.csv'}")
    assert second != first
    assert "Is this set safe to use? Yes: nothing was found that distorts scores." in capsys.readouterr().out
    assert result(second)["metrics"]["train/images"] == 117
    assert result(second)["provenance"]["data_hash"] != result(first)["provenance"]["data_hash"]
    listed = [[(row["split"], row["index"]) for row in rows(folder / "exclude.csv")] for folder in (first, second)]
    assert listed[0] == listed[1], "the new list takes the place of the old one"


def test_rows_of_a_second_list_are_those_of_the_whole_set(audited, content: Content, tmp_path: Path) -> None:
    plant(content)
    own = tmp_path / "own.csv"
    own.write_text("split,index\ntrain,3\ntrain,40\n")
    folder = audited(content, f"dataset.exclude={own}")
    listed = {(row["split"], row["index"]) for row in rows(folder / "exclude.csv")}
    assert listed == {("train", row) for row in ("3", "11", "20", "31", "40")} | {("val", "9")}
    assert found(folder, "exact_duplicate") == [("test", "4", "train", "10")], "rows of what was audited"


def test_a_set_without_faults_is_safe(audited, result, content: Content, capsys) -> None:
    folder = audited(content)
    assert result(folder)["tables"]["level"] == "safe"
    assert "Yes: nothing was found that distorts scores." in capsys.readouterr().out
    assert rows(folder / "exclude.csv") == []
    assert "dataset.exclude" not in (folder / "audit.html").read_text(encoding="utf-8")


def test_patients_of_a_csv(audited, result, content: Content, tmp_path: Path) -> None:
    file = tmp_path / "patients.csv"
    file.write_text("split,index,patient\ntrain,1,p\ntrain,2,p\nval,3,p\ntest,4,p\ntest,5,q\ntest,6,q\nval,1,\n")
    folder = audited(content, f"stage.groups_csv={file}")
    assert found(folder, "shared_group") == [
        ("test", "4", *other)
        for other in (
            ("train", "1"),
            ("train", "2"),
            ("val", "3"),
        )
    ]
    assert result(folder)["tables"]["level"] == "unsafe"
    assert {row["reason"] for row in rows(folder / "exclude.csv")} == {"same patient or group in test"}
    file.write_text("split,index,patient\ntest,40,p\n")
    with pytest.raises(DataError, match=r"stage.groups_csv=.*: test has no row 40\."):
        audited(content, f"stage.groups_csv={file}", "overwrite=true")


def test_slices_of_patients_in_several_splits(audited, content: Content, capsys) -> None:
    """Two or three relatives with one label each: the nearest image knows the label, and no line separates them."""
    generator = np.random.default_rng(0)
    patients = drawn(240, 5).astype(float)
    member = generator.integers(0, 240, 600)
    images = np.clip(patients[member] + 12 * (drawn(600, 6).astype(float) - 128) / 25, 1, 254).astype(np.uint8)
    labels = (generator.permutation(240) % 2)[member][:, None].astype(np.uint8)
    edges = {"train": slice(0, 420), "val": slice(420, 480), "test": slice(480, 600)}
    content = {f"{split}_images": images[part] for split, part in edges.items()}
    content |= {f"{split}_labels": labels[part] for split, part in edges.items()}
    folder = audited(content)
    signs = [row["detail"] for row in rows(folder / "findings.csv") if row["kind"] == "shared_source"]
    assert len(signs) == 2
    assert "the nearest image of another split has the right label" in signs[1]
    assert "No: images of the same patients seem to stand in several splits" in capsys.readouterr().out


def test_data_without_labels_and_with_several_labels(audited, content: Content, capsys) -> None:
    plant(content)
    bare = {key: array for key, array in content.items() if key.endswith("images")}
    folder = audited(bare, name="bare")
    assert found(folder, "near_duplicate") == [("test", "7", "train", "31")]
    assert found(folder, "opposite_labels") == found(folder, "label_error") == []
    several = bare | {
        key: np.concatenate([array, 1 - array], axis=1) for key, array in content.items() if key.endswith("labels")
    }
    capsys.readouterr()
    folder = audited(several, name="several")
    assert "Labels are not checked: that needs one class for each image" in capsys.readouterr().out
    assert found(folder, "opposite_labels") == [("test", "4", "train", "11")]


def test_labels_of_one_image_a_class_are_not_checked(audited, content: Content, capsys) -> None:
    few = {"train_images": content["train_images"][:3], "train_labels": np.arange(3, dtype=np.uint8)[:, None]}
    folder = audited(few, name="few")
    assert "Labels are not checked: that needs two images of a class." in capsys.readouterr().out
    assert found(folder, "label_error") == []


def test_a_split_without_any_of_the_labels(audited, content: Content) -> None:
    for split in ("train", "val", "test"):
        labels = content[f"{split}_labels"]
        content[f"{split}_labels"] = np.concatenate([labels, 1 - labels], axis=1) * (split != "test")
    assert found(audited(content, name="several"), "class_shift") == []


def test_features_of_an_encoder_check_the_labels(audited, result, content: Content, staged, tmp_path: Path) -> None:
    plant(content)
    np.savez(tmp_path / "scans.npz", **content)
    words = ("stage.epochs=1", "stage.batch_size=16", "schedule.warmup_epochs=0")
    encoder = staged("pretrain", *words, path=tmp_path / "scans.npz") / "encoder.safetensors"
    folder = audited(content, "init=checkpoint", f"init.path={encoder}")
    assert result(folder)["provenance"]["features"] == "encoder, whitened, and pixels"
    assert found(folder, "near_duplicate") == [("test", "7", "train", "31")]


def test_a_finished_audit_is_found_again_and_other_data_are_another_run(audited, content: Content) -> None:
    one = audited(content)
    content["test_labels"][0] = 1
    assert audited(content) != one


def test_names_cannot_break_the_page(audited, content: Content) -> None:
    plant(content)
    folder = audited(content, "dataset.class_names=['<script>alert(1)</script>','=cmd']")
    page = (folder / "audit.html").read_text(encoding="utf-8")
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)" in page
