"""A finished run's classifier put together again: the same figures, wherever the runs lie now, or one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from run_folders import forget_hashes

from simclr_med.errors import CheckpointError, DataError, RunError
from simclr_med.models.encoders import tiny
from simclr_med.models.head_files import LoadedHead
from simclr_med.models.heads import linear_head
from simclr_med.stages.saved_model import SavedModel, check_classes, load_saved_model

TRAIN = ("schedule.warmup_epochs=0", "stage.min_steps=0", "stage.batch_size=16", "stage.resamples=30", "stage.epochs=1")
WORDS = {"probe": ("init=pretrained", "stage.resamples=30"), "finetune": ("init=pretrained", *TRAIN)}


@pytest.fixture
def pretrained(staged) -> Path:
    return staged("pretrain", "stage.epochs=1", "stage.batch_size=16")


@pytest.mark.parametrize("stage", WORDS)
def test_its_own_figures_exactly_also_where_the_runs_have_been_moved(
    staged, result, pretrained: Path, tmp_path: Path, stage: str
) -> None:
    first = staged(stage, *WORDS[stage])
    moved = tmp_path / "moved"
    shutil.move(tmp_path / "runs", moved)
    run = moved / first.relative_to(tmp_path / "runs")
    again = staged("test", f"stage.run={run}", "stage.resamples=30")
    own, found = result(run), result(again)
    with np.load(again / "predictions.npz") as these, np.load(run / "predictions.npz") as those:
        assert set(those) - set(these) == {"val_probabilities", "val_labels"}  # those of the choices
        assert all(these[name].tobytes() == those[name].tobytes() for name in these)
    assert {name: own["metrics"][name] for name in found["metrics"]} == found["metrics"]
    assert {"test/accuracy", "test/auroc", "test/recall/2"} <= set(found["metrics"])
    assert own["intervals"] == found["intervals"]
    assert found["provenance"]["model"] == {"stage": stage, "dataset": "noisy"}


def test_a_probe_of_another_sets_encoder_in_another_folder_of_runs(
    staged, result, arrays, pretrained: Path, tmp_path: Path
) -> None:
    """Named by init.run=, which says nothing of the data set that the encoder was pretrained on."""
    np.savez(tmp_path / "other.npz", **arrays(seed=1))
    for runs in ("runs", "elsewhere"):
        words = (f"paths.runs={tmp_path / runs}", "stage.resamples=0")
        first = staged("probe", f"init.run={pretrained}", *words, path=tmp_path / "other.npz")
        again = staged("test", f"stage.run={first}", *words, path=tmp_path / "other.npz")
        assert result(again)["metrics"]["test/nll"] == result(first)["metrics"]["test/nll"]


def test_another_set_with_the_same_classes_of_other_size_and_colours(staged, result, arrays, tmp_path: Path) -> None:
    first = staged("baseline", *TRAIN)
    np.savez(tmp_path / "grey.npz", **arrays(channels=1, size=40, seed=1))
    again = staged("test", f"stage.run={first}", "stage.resamples=0", path=tmp_path / "grey.npz")
    with np.load(again / "predictions.npz") as content:
        assert content["probabilities"].shape == (24, 3)
    assert result(again)["dataset"] == "grey"
    assert not (again / "head.safetensors").exists()


def test_a_file_of_test_images_alone(staged, result, arrays, tmp_path: Path) -> None:
    """As another hospital's set comes: nothing to train on."""
    np.savez(tmp_path / "outside.npz", **{k: array for k, array in arrays().items() if k.startswith("test_")})
    model = staged("probe", "init=random", "stage.resamples=0")
    folder = staged("test", f"stage.run={model}", "stage.resamples=0", path=tmp_path / "outside.npz")
    found = result(folder)["metrics"]
    assert {"test/accuracy", "test/auroc"} <= set(found)
    assert found == {name: result(model)["metrics"][name] for name in found}


def test_a_probe_of_a_file_that_was_named_from_another_working_directory(
    staged, result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(tiny().state_dict(), tmp_path / "weights.pth")
    monkeypatch.chdir(tmp_path)
    first = staged("probe", "init=checkpoint", "init.path=weights.pth", "stage.resamples=0")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    again = staged("test", f"stage.run={first}", "stage.resamples=0")
    assert result(again)["metrics"]["test/nll"] == result(first)["metrics"]["test/nll"]


def test_a_probes_encoder_that_has_changed_is_one_line(staged, tmp_path: Path) -> None:
    weights = tmp_path / "weights.pth"
    for seed in (0, 1):
        torch.manual_seed(seed)
        torch.save(tiny().state_dict(), weights)
        if seed == 0:
            first = staged("probe", "init=checkpoint", f"init.path={weights}", "stage.resamples=0")
    with pytest.raises(CheckpointError, match="have changed") as caught:
        staged("test", f"stage.run={first}")
    assert "\n" not in str(caught.value)
    weights.unlink()
    with pytest.raises(RunError, match=r"init\.path="):
        load_saved_model(first)


def test_a_head_that_is_gone_or_damaged_is_one_line(staged, tmp_path: Path) -> None:
    first = staged("probe", "init=random", "stage.resamples=0")
    (first / "head.safetensors").write_bytes(b"\0" * 100)
    for message in ("has changed since the run finished", "not an intact classifier"):
        with pytest.raises(CheckpointError, match=message) as caught:
            staged("test", f"stage.run={first}")
        assert "\n" not in str(caught.value)
        if message.startswith("has changed"):
            forget_hashes(first)
    (first / "head.safetensors").unlink()
    with pytest.raises(RunError, match=r"this run has no classifier \(head\.safetensors\)"):
        staged("test", f"stage.run={first}")


def test_a_config_that_is_gone_or_damaged_is_one_line(staged) -> None:
    folder = staged("probe", "init=random", "stage.resamples=0")
    for spoil in (lambda path: path.write_text("a: ["), lambda path: path.write_text("a: 1"), Path.unlink):
        spoil(folder / "config.yaml")
        with pytest.raises(CheckpointError, match=r"config\.yaml: .*overwrite=true") as caught:
            load_saved_model(folder)
        assert "\n" not in str(caught.value)


def test_runs_that_hold_no_classifier_are_one_line(staged, tmp_path: Path) -> None:
    (tmp_path / "pretraining").mkdir()
    (tmp_path / "pretraining" / "result.json").write_text(json.dumps({"config_hash": "abc"}))
    with pytest.raises(RunError, match="Give a probe, finetune, baseline or distill run"):
        staged("test", f"stage.run={tmp_path / 'pretraining'}")
    for folder in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(RunError, match="not the folder of a finished run") as caught:
            staged("test", f"stage.run={folder}")
        assert "\n" not in str(caught.value)


def model(*classes: str, task: str = "multi-class") -> SavedModel:
    head = LoadedHead(linear_head(8, len(classes)), classes, task)  # type: ignore[arg-type]
    return SavedModel(None, head, "probe", "cells")  # type: ignore[arg-type]


def test_classes_that_fit() -> None:
    assert check_classes(model("a", "b"), ["a", "b"], "binary-class", "new") == []
    assert check_classes(model("0", "1"), ["0", "1"], "ordinal-regression", "new") == []
    for known, given in ((("a", "b"), ["0", "1"]), (("0", "1"), ["a", "b"])):
        (note,) = check_classes(model(*known), given, "multi-class", "new")
        assert note.startswith("classes are matched by number")


@pytest.mark.parametrize("given", [["b", "a"], ["a"], ["a", "b", "c"], ["0", "1", "2"], ["a", "c"], []])
def test_classes_that_do_not_fit(given: list[str]) -> None:
    with pytest.raises(DataError, match=r"expected the model's classes \(a, b\)") as caught:
        check_classes(model("a", "b"), given, "multi-class", "new")
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match=r"expected the model's classes \(0, 1\)"):
        check_classes(model("0", "1"), ["a", "b", "c"], "multi-class", "new")


@pytest.mark.parametrize(
    ("known", "given"), [("multi-class", "multi-label, binary-class"), ("multi-label, binary-class", "binary-class")]
)
def test_labels_that_mean_something_else(known: str, given) -> None:
    """Numbered classes of one count: a softmax's answers are no answers for each label by itself."""
    with pytest.raises(DataError, match=r"its task is .*, the model's is") as caught:
        check_classes(model("0", "1", task=known), ["0", "1"], given, "new")
    assert "\n" not in str(caught.value)
