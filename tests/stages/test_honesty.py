"""The test split is opened by the final scoring alone, once, when everything that is chosen is on the disk."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simclr_med.data.npz import Npz

ROOT = Path(__file__).parents[2]
EPOCHS = 2
TRAIN = (
    f"stage.epochs={EPOCHS}",
    "stage.min_steps=0",
    "schedule.warmup_epochs=0",
    "stage.batch_size=16",
    "stage.resamples=20",
)
WORDS = {
    "probe": ("init=random", "stage.resamples=20"),
    "finetune": ("init=random", *TRAIN),
    "baseline": TRAIN,
}
CHOSEN = ("head.safetensors", "encoder.safetensors", "metrics.csv", "checkpoints/best.ckpt")


class Watched(Npz):
    """A data set that counts how often its test images are read, and keeps what the run's folder held before."""

    def __init__(self, path: Path, runs: Path) -> None:
        super().__init__("noisy", str(path), None, None)
        self.runs = runs
        self.read = 0
        self.there: dict[str, bytes] | None = None

    def split(self, split: Any) -> Any:
        self._look(split)
        self.read += split == "test"
        return super().split(split)

    def labels(self, split: Any) -> Any:
        self._look(split)
        return super().labels(split)

    def _look(self, split: str) -> None:
        if split == "test" and self.there is None:
            self.there = content(next(self.runs.glob("*/noisy/*")))


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_these_are_all_the_stages_that_learn_from_labels(composed) -> None:
    """One more must be added above; pretraining never opens the test split at all. A student has its own test below."""
    stages = [path.stem for path in (ROOT / "conf" / "stage").glob("*.yaml")]
    assert {stage for stage in stages if "budgets" in composed(f"stage={stage}").stage} == {*WORDS, "distill"}


@pytest.mark.parametrize("stage", WORDS)
def test_everything_chosen_is_on_the_disk_before_the_test_split_is_opened_and_does_not_change(
    staged, noisy: Path, tmp_path: Path, stage: str
) -> None:
    source = Watched(noisy, tmp_path / "runs")
    folder = staged(stage, *WORDS[stage], source=source)
    before, after = source.there, content(folder)
    assert before is not None
    expected = {name for name in CHOSEN if name in after}
    assert expected == set(CHOSEN[:1] if stage == "probe" else CHOSEN)
    assert {name: before.get(name) for name in expected} == {name: after[name] for name in expected}
    assert not {"result.json", "predictions.npz"} & set(before)
    if stage != "probe":
        assert len(list(csv.DictReader(before["metrics.csv"].decode().splitlines()))) == EPOCHS
    assert source.read == 1, "the images are read once"


def test_student_opens_the_test_split_last_and_the_validation_split_never(staged, noisy: Path, tmp_path: Path) -> None:
    teacher = staged("baseline", *TRAIN, "data_fraction.samples=20", f"paths.runs={tmp_path / 'teachers'}")
    words = [word for word in TRAIN if "min_steps" not in word]
    words += ["data_fraction.samples=20", f"stage.teacher={teacher}"]
    source = Watched(noisy, tmp_path / "runs")
    folder = staged("distill", *words, source=source)
    before, after = source.there, content(folder)
    assert before is not None
    assert {name: before.get(name) for name in CHOSEN[:3]} == {name: after[name] for name in CHOSEN[:3]}
    assert not {"result.json", "predictions.npz"} & set(before)
    assert source.read == 1, "the images are read once"
    staged("distill", *words, f"paths.runs={tmp_path / 'again'}", source=WithoutValidation(noisy))


class WithoutValidation(Npz):
    """A data set whose validation split raises when it is touched."""

    def __init__(self, path: Path) -> None:
        super().__init__("noisy", str(path), None, None)

    def split(self, split: Any) -> Any:
        assert split != "val", "the validation split is opened"
        return super().split(split)

    def labels(self, split: Any) -> Any:
        assert split != "val", "the validation split is opened"
        return super().labels(split)


# Of the 7, 7 and 6 images of the classes, 2 each choose the epoch. The last epoch needs no choice; the probe has folds.
@pytest.mark.parametrize(
    ("stage", "words", "held_out"),
    [
        ("probe", (), 0),
        ("finetune", (), 0),
        ("baseline", (), 0),
        ("finetune", ("stage.select_by=auroc",), 6),
        ("baseline", ("stage.select_by=loss",), 6),
    ],
)
def test_a_budget_uses_no_label_of_the_validation_split(
    staged, noisy: Path, result, stage: str, words: tuple[str, ...], held_out: int
) -> None:
    words = (*WORDS[stage], "data_fraction.samples=20", *words)
    folder = staged(stage, *words, source=WithoutValidation(noisy))
    found = result(folder)["metrics"]
    assert (found["budget/labels"], found["train/images"] + found["val/images"]) == (20, 20)
    assert found["val/images"] == held_out
    assert ("val/accuracy" in found) == (stage == "probe" or held_out > 0)
    with pytest.raises(AssertionError, match="the validation split is opened"):
        staged(stage, *words, "data_fraction.validation=split", source=WithoutValidation(noisy))


@pytest.mark.parametrize("stage", WORDS)
def test_the_validation_split_is_counted_where_it_chooses(staged, result, stage: str) -> None:
    found = result(staged(stage, *WORDS[stage]))["metrics"]
    assert (found["train/images"], found["val/images"], found["budget/labels"]) == (48, 24, 72)
    split = result(staged(stage, *WORDS[stage], "data_fraction.samples=20", "data_fraction.validation=split"))
    assert [split["metrics"][name] for name in ("train/images", "val/images", "budget/labels")] == [20, 24, 44]


@pytest.mark.parametrize("stage", ["probe", "baseline"])
def test_another_test_split_gives_the_same_model(staged, arrays, result, tmp_path: Path, stage: str) -> None:
    """Same training and validation images; the test split's are others, with labels in another order."""
    one, other = arrays(), arrays(seed=9)
    changed = {**one, "test_images": other["test_images"], "test_labels": other["test_labels"][::-1]}
    folders = []
    for name, data in (("one", one), ("two", changed)):
        (tmp_path / name).mkdir()
        np.savez(tmp_path / name / "cells.npz", **data)
        words = (*WORDS[stage], f"paths.runs={tmp_path / name / 'runs'}")
        folders.append(staged(stage, *words, path=tmp_path / name / "cells.npz"))
    assert (folders[0] / "head.safetensors").read_bytes() == (folders[1] / "head.safetensors").read_bytes()
    found = [result(folder)["metrics"] for folder in folders]
    chosen = [{name: value for name, value in metrics.items() if not name.startswith("test/")} for metrics in found]
    assert chosen[0] == chosen[1]
    assert found[0]["test/nll"] != found[1]["test/nll"]
