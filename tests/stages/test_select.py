"""Stage select reads training images alone, uses no labels, avoids twins, and what it writes is trained on."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simclr_med.config.validate import validate_config
from simclr_med.data.npz import Npz
from simclr_med.errors import DataError, MissingEncoderError
from simclr_med.runs.identity import compute_config_hash

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
