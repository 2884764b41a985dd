"""Stage select reads training images, avoids twins, and uses no labels, or those of the images labelled already."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simclr_med.config.validate import validate_config
from simclr_med.data.npz import Npz
from simclr_med.data.selected_images import hash_image
from simclr_med.errors import DataError, MissingEncoderError
from simclr_med.runs.identity import compute_config_hash
from simclr_med.selection_csv import SelectedImage, format_selection, read_selection

pytestmark = pytest.mark.usefixtures("small_pictures")
ROUNDS = ("init=random", "stage.rounds=[6,12,30]")


def read_lines(folder: Path) -> list[dict[str, str]]:
    with (folder / "selection.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("method", ["typiclust", "coverage", "random"])
def test_it_writes_the_order_and_a_contact_sheet(staged, result, noisy: Path, capsys: Any, method: str) -> None:
    folder = staged("select", *ROUNDS, f"stage.method={method}", "stage.pictures=12")
    lines = read_lines(folder)
    assert [line["rank"] for line in lines] == [str(rank) for rank in range(1, 31)]
    assert len({line["index"] for line in lines}) == 30
    assert {(line["split"], line["method"], line["file"]) for line in lines} == {("train", method, "")}
    assert result(folder)["metrics"] == {"train/images": 48, "train/selected": 30, "train/twins": 0}
    assert (folder / "figures" / "selection.png").read_bytes().startswith(b"\x89PNG")
    assert [line["round"] for line in lines] == (
        ["6"] * 6 + ["12"] * 6 + ["30"] * 18 if method == "typiclust" else [""] * 30
    )
    assert all(line["score"] for line in lines) == (method != "random")
    message = capsys.readouterr().out
    assert "Selection of noisy: done in" in message
    assert str(folder / "selection.csv") in message
    assert ("Encoder:" in message) == (method != "random"), "a random order needs no features"


def test_labels_and_other_splits_change_nothing(staged, arrays, tmp_path: Path) -> None:
    wrong = {name: 2 - values if "labels" in name else values for name, values in arrays().items()}
    wrong |= {f"{split}_images": arrays(seed=9)[f"{split}_images"] for split in ("val", "test")}
    texts = []
    for name, data in (("right", arrays()), ("wrong", wrong)):
        (tmp_path / name).mkdir()
        np.savez(tmp_path / name / "noisy.npz", **data)
        words = (*ROUNDS, f"paths.runs={tmp_path / name / 'runs'}")
        texts.append((staged("select", *words, path=tmp_path / name / "noisy.npz") / "selection.csv").read_text())
    assert texts[0] == texts[1]


def test_the_other_splits_stay_closed(staged, noisy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split, opened = Npz.split, set()
    monkeypatch.setattr(Npz, "split", lambda source, name: opened.add(name) or split(source, name))
    staged("select", *ROUNDS)
    assert opened == {"train"}


def test_of_copies_one_is_selected(staged, arrays, result, tmp_path: Path, capsys: Any) -> None:
    data = arrays()
    data["train_images"][24:] = data["train_images"][:24]
    np.savez(tmp_path / "copies.npz", **data)
    folder = staged("select", *ROUNDS, path=tmp_path / "copies.npz")
    rows = [int(line["index"]) % 24 for line in read_lines(folder)]
    assert len(rows) == len(set(rows)) == 24
    assert result(folder)["metrics"] == {"train/images": 48, "train/selected": 24, "train/twins": 24}
    assert "Only 24 images are selected: all other images are twins of these." in capsys.readouterr().out


def test_more_rounds_than_images_end_with_all_images(staged, capsys: Any) -> None:
    assert len(read_lines(staged("select", "init=random", "stage.rounds=[20,100]"))) == 48
    assert "stage.rounds=[20, 100]: noisy has only 48 training images." in capsys.readouterr().out


def test_the_default_encoder_is_pretrained(staged) -> None:
    with pytest.raises(MissingEncoderError):
        staged("select")


@pytest.fixture
def selection(staged) -> Path:
    return Path(staged("select", *ROUNDS, "stage.method=random", "seed=5") / "selection.csv")


FAST = {
    "probe": ("init=random",),
    "finetune": ("init=random", "stage.epochs=1", "stage.min_steps=0", "schedule.warmup_epochs=0"),
    "baseline": ("stage.epochs=1", "stage.min_steps=0", "schedule.warmup_epochs=0"),
}


@pytest.mark.parametrize("stage", FAST)
def test_stages_train_on_the_first_images(staged, result, selection: Path, stage: str) -> None:
    """The images of a random selection are those of a random draw with its seed, so that the runs are equal."""
    words = ("data_fraction.samples=12", *FAST[stage])
    chosen = staged(stage, *words, f"data_fraction.file={selection}")
    drawn = staged(stage, *words, "data_fraction.strategy=random", "data_fraction.seed=5")
    assert chosen != drawn
    assert "n12_random-" in chosen.name
    one, other = result(chosen), result(drawn)
    assert one["metrics"]["train/images"] == one["metrics"]["budget/labels"] == 12
    assert one["metrics"]["test/auroc"] == other["metrics"]["test/auroc"]
    assert one["config"]["data_fraction"]["selected_by"] == "random"


def test_the_identity_is_that_of_the_images(composed, noisy: Path, selection: Path, tmp_path: Path) -> None:
    def compute(*words: str) -> str:
        cfg = validate_config(composed("stage=probe", "dataset=npz", f"dataset.path={noisy}", *words))
        return compute_config_hash(cfg.plain, "data", "init")

    lines = selection.read_text(encoding="utf-8").splitlines(keepends=True)
    copy, shorter, swapped = (tmp_path / f"{name}.csv" for name in ("copy", "shorter", "swapped"))
    copy.write_text("".join(lines))
    shorter.write_text("".join(lines[:13]))
    swapped.write_text("".join([lines[0], lines[2], lines[1], *lines[3:]]))
    hashes = [
        compute("data_fraction.samples=12", f"data_fraction.file={file}")
        for file in (selection, copy, shorter, swapped)
    ]
    assert hashes[0] == hashes[1] == hashes[2]
    assert len({*hashes, compute("data_fraction.samples=12")}) == 3


def test_a_selection_of_another_data_set_is_one_line(staged, arrays, selection: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", **arrays(seed=3))
    words = ("init=random", "data_fraction.samples=12", f"data_fraction.file={selection}")
    with pytest.raises(DataError, match="12 of its first 12 images") as error:
        staged("probe", *words, path=tmp_path / "other.npz")
    assert len(error.value.problems) == 1


@pytest.fixture
def given(arrays, tmp_path: Path) -> Path:
    """A random selection of all images of `noisy`, without a run."""
    images = arrays()["train_images"]
    rows = np.random.default_rng(5).permutation(48).tolist()
    lines = [SelectedImage(row, hash_image(images[row]), "random") for row in rows]
    (tmp_path / "given.csv").write_text(format_selection(lines), encoding="utf-8")
    return tmp_path / "given.csv"


def continued(file: Path, method: str = "margin", samples: int = 12, last: int = 30) -> tuple[str, ...]:
    words = (f"stage.method={method}", f"data_fraction.file={file}", f"data_fraction.samples={samples}")
    return ("init=random", *words, f"stage.rounds=[{last}]", "stage.pictures=1")


@pytest.mark.parametrize("method", ["margin", "disagreement"])
def test_a_selection_is_continued(staged, result, given: Path, capsys: Any, method: str) -> None:
    first = [line.index for line in read_selection(given)[:12]]
    folder = staged("select", *continued(given, method), "stage.methods_with_labels.disagreement.members=3")
    lines = read_lines(folder)
    assert [int(line["index"]) for line in lines[:12]] == first
    assert len({line["index"] for line in lines}) == 30
    assert {line["method"] for line in lines} == {f"random-{method}"}
    assert [bool(line["score"]) for line in lines] == [False] * 12 + [True] * 18
    assert result(folder)["metrics"]["train/labelled"] == 12
    assert "biased by design" in result(folder)["provenance"]["protocol"]
    message = capsys.readouterr().out
    assert "biased by design" in message
    assert "30 (12 labelled already, 18 to label)" in message


def test_only_labels_of_labelled_images_are_used(staged, arrays, given: Path, tmp_path: Path) -> None:
    labelled = [line.index for line in read_selection(given)[:12]]
    right, others_wrong, learnt_wrong = arrays(), arrays(), arrays()
    others = np.setdiff1d(np.arange(48), labelled)
    others_wrong["train_labels"][others] += 1  # also a class that no labelled image has
    for split in ("val", "test"):
        others_wrong[f"{split}_labels"] = 2 - others_wrong[f"{split}_labels"]
    learnt_wrong["train_labels"][labelled] = (np.arange(12)[:, None] // 4).astype(np.uint8)
    texts = []
    for name, data in {"right": right, "others": others_wrong, "learnt": learnt_wrong}.items():
        (tmp_path / name).mkdir()
        np.savez(tmp_path / name / "noisy.npz", **data)
        words = (*continued(given), f"paths.runs={tmp_path / name / 'runs'}")
        texts.append((staged("select", *words, path=tmp_path / name / "noisy.npz") / "selection.csv").read_text())
    assert texts[0] == texts[1]
    assert texts[0] != texts[2], "the labels of the labelled images are learnt"


def test_labels_in_the_file_and_the_methods_are_kept(staged, given: Path) -> None:
    lines = [
        replace(line, method="random-margin", label="=ab"[i % 2 :]) for i, line in enumerate(read_selection(given))
    ]
    given.write_text(format_selection(lines[:20]), encoding="utf-8")
    folder = staged("select", *continued(given, samples=20))
    assert [line.label for line in read_selection(folder / "selection.csv")] == ["=ab", "ab"] * 10 + [""] * 10
    assert {line["method"] for line in read_lines(folder)} == {"random-margin"}, "each method is named once"


def test_nothing_left_to_label_is_one_line(staged, given: Path) -> None:
    with pytest.raises(DataError, match="no training image is left to label"):
        staged("select", *continued(given, samples=48, last=60))
