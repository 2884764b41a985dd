"""Finetuning: the epoch that is kept, the end of training, and a run that is cut short anywhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from simclr_med.errors import CheckpointError, DataError, RunError
from simclr_med.metrics_csv import read_rows
from simclr_med.models.checkpoints import load_checkpoint
from simclr_med.models.encoders import tiny
from simclr_med.training.callbacks import checkpoint

QUICK = ("schedule.warmup_epochs=0", "stage.min_steps=0", "stage.batch_size=16", "stage.resamples=0")
LONG = (*QUICK, "stage.epochs=30", "stage.patience=2", "stage.patience_steps=0", "stage.checkpoint_every_s=0")


class Killed(Exception):
    """Stands for a signal: whatever comes after the file that was just written does not happen."""


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch, staged: Callable[..., Path]) -> Callable[..., None]:
    """Run a stage that ends right after the state of an epoch has been saved under a name."""
    write = checkpoint.AtomicCheckpointIO.save_checkpoint

    def run(name: str, epoch: int, *words: str, **more: Any) -> None:
        def write_and_die(self: Any, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
            write(self, checkpoint, path, storage_options)
            if Path(path).name == name and checkpoint["epoch"] == epoch:
                raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(checkpoint.AtomicCheckpointIO, "save_checkpoint", write_and_die)
            with pytest.raises(Killed):
                staged(*words, **more)

    return run


def lasting(folder: Path) -> list[dict[str, str]]:
    timed = ("wall_s", "train/images_per_s")
    return [{key: value for key, value in row.items() if key not in timed} for row in read_rows(folder / "metrics.csv")]


def waited(values: list[float], patience: int) -> int:
    """How many epochs there are until no better one has come for so many."""
    best, since = -np.inf, 0
    for count, value in enumerate(values, start=1):
        best, since = (value, 0) if value > best else (best, since + 1)
        if since == patience:
            return count
    return len(values)


@pytest.mark.process
def test_cut_short_after_any_epoch_it_ends_as_if_nothing_had_happened(staged, killed, tmp_path: Path, capsys) -> None:
    """Also when patience had ended it, and nothing but the scoring was left."""
    words = ("baseline", *LONG, "seed=1")
    whole = staged(*words)
    epochs = len(read_rows(whole / "metrics.csv"))
    assert 3 <= epochs < 30, "patience should end this run"
    for epoch in range(epochs):
        runs = f"paths.runs={tmp_path / str(epoch)}"
        killed("last.ckpt", epoch, *words, runs)
        capsys.readouterr()
        again = staged(*words, runs)
        assert f"resuming from epoch {epoch + 1} of 30" in capsys.readouterr().out
        assert lasting(again) == lasting(whole), epoch
        for name in ("predictions.npz", "encoder.safetensors", "head.safetensors"):
            assert (again / name).read_bytes() == (whole / name).read_bytes(), (epoch, name)


@pytest.mark.process
def test_interrupted_run_with_every_option_ends_like_an_uninterrupted_one(staged, killed, tmp_path: Path) -> None:
    """Its epochs end within a pass, its head trains first, and its weights are averaged."""
    words = ("baseline", *LONG, "stage.epochs=4", "stage.patience=null", "stage.min_steps=20", "stage.head_epochs=2")
    words = (*words, "stage.ema_decay=0.8", "stage.label_smoothing=0.1", "stage.encoder_lr=0.5")
    whole = staged(*words, "data_fraction.samples=30")
    assert [row["step"] for row in read_rows(whole / "metrics.csv")] == ["5", "10", "15", "20"]
    for epoch in range(4):
        runs = f"paths.runs={tmp_path / str(epoch)}"
        killed("last.ckpt", epoch, *words, "data_fraction.samples=30", runs)
        again = staged(*words, "data_fraction.samples=30", runs)
        assert lasting(again) == lasting(whole), epoch
        for name in ("predictions.npz", "encoder.safetensors", "head.safetensors"):
            assert (again / name).read_bytes() == (whole / name).read_bytes(), (epoch, name)


def test_averaged_weights_are_saved(staged, result) -> None:
    folder = staged("baseline", *QUICK, "stage.epochs=2", "stage.patience=null", "stage.ema_decay=0.5")
    saved = load_checkpoint(folder / "checkpoints" / "best.ckpt")["state_dict"]
    for file in ("encoder", "head"):
        for name, tensor in safetensors.torch.load_file(folder / f"{file}.safetensors").items():
            assert torch.equal(tensor, saved[f"averaged.module.{file}.{name}"]), name
    assert not torch.equal(saved["head.weight"], saved["averaged.module.head.weight"])
    own = result(folder)["metrics"]
    again = staged("test", f"stage.run={folder}", "stage.resamples=0")
    assert result(again)["metrics"]["test/auroc"] == own["test/auroc"]


def test_few_images_are_trained_for_the_least_number_of_steps(staged, result, capsys) -> None:
    words = (
        "baseline",
        *QUICK,
        "stage.epochs=4",
        "stage.patience=1",
        "data_fraction.samples=10",
        "stage.select_by=loss",
    )
    folder = staged(*words, "stage.min_steps=18", "stage.patience_steps=100")
    said = "An epoch has 5 steps (stage.min_steps / stage.epochs): it passes over the 7 training images 5 times."
    assert said in capsys.readouterr().out
    assert [row["step"] for row in read_rows(folder / "metrics.csv")] == ["5", "10", "15", "20"]
    found = result(folder)["metrics"]
    assert (found["train/steps"], found["train/epochs"]) == (20, 4)
    assert found["train/best_step"] == 5 * found["train/best_epoch"]


def test_every_image_is_trained_on_in_batches_of_equal_size(staged) -> None:
    folder = staged("baseline", *QUICK, "stage.epochs=1", "stage.batch_size=40")
    assert [row["step"] for row in read_rows(folder / "metrics.csv")] == ["2"]


def test_batches_with_no_image_for_a_process_are_refused(staged) -> None:
    message = r"stage\.batch_size=2: batches of 2 images are too few for 4 processes\. Raise it"
    with pytest.raises(DataError, match=message):
        staged("baseline", *QUICK[:2], "stage.batch_size=2", "stage.epochs=1", "trainer.devices=4")


@pytest.mark.parametrize(("warmup", "first"), [(0, 0), (2, 2), (2.5, 2)])
def test_weights_of_the_warm_up_are_not_kept(staged, result, warmup: float, first: int) -> None:
    folder = staged("baseline", *LONG, "stage.epochs=8", f"schedule.warmup_epochs={warmup}", "optimizer.lr=0.01")
    values = [float(row["val/auroc"]) for row in read_rows(folder / "metrics.csv")][first:]
    found = result(folder)["metrics"]
    assert found["train/best_epoch"] == first + int(np.argmax(values)) + 1
    assert len(values) == waited(values, 2)


def test_cut_short_between_the_best_and_the_last_state(staged, killed, tmp_path: Path) -> None:
    words = ("baseline", *LONG, "seed=0", "stage.patience=null", "stage.epochs=4")
    whole = staged(*words)
    values = [float(row["val/auroc"]) for row in read_rows(whole / "metrics.csv")]
    # The first epoch is always the best so far, whatever the machine; with this seed a later one is too.
    better = [0, *(epoch for epoch in range(1, 4) if values[epoch] > max(values[:epoch]))]
    for epoch in better:
        runs = f"paths.runs={tmp_path / str(epoch)}"
        killed("best.ckpt", epoch, *words, runs)
        again = staged(*words, runs)
        assert lasting(again) == lasting(whole)
        assert (again / "predictions.npz").read_bytes() == (whole / "predictions.npz").read_bytes()


@pytest.mark.parametrize(("select_by", "sign"), [("auroc", 1), ("accuracy", 1), ("loss", -1)])
def test_the_epoch_that_validation_likes_best_is_kept(staged, result, select_by: str, sign: int) -> None:
    """By the recorded table: where training ends, which epoch is best, and that its weights are the exported ones."""
    folder = staged("baseline", *LONG, f"stage.select_by={select_by}", "optimizer.lr=0.01")
    table = read_rows(folder / "metrics.csv")
    values = [sign * float(row[f"val/{select_by}"]) for row in table]
    assert waited(values, 2) == len(values)
    best = int(np.argmax(values))
    assert 1 <= len(values) - 1 - best <= 2
    found = result(folder)["metrics"]
    assert found["train/best_epoch"] == best + 1
    assert found["train/epochs"] == len(values)
    assert result(folder)["provenance"]["protocol"].endswith("the epoch with the best validation score is kept")
    for name in ("val/loss", "val/accuracy", "val/auroc"):
        assert found[name] == float(table[best][name])
    saved = load_checkpoint(folder / "checkpoints" / "best.ckpt")
    assert saved["epoch"] == best
    for file in ("encoder", "head"):
        for name, tensor in safetensors.torch.load_file(folder / f"{file}.safetensors").items():
            assert torch.equal(tensor, saved["state_dict"][f"{file}.{name}"]), name


def test_without_patience_every_epoch_is_trained(staged, result) -> None:
    folder = staged("baseline", *LONG, "stage.epochs=5", "stage.patience=null", "optimizer.lr=1e-9")
    assert len(read_rows(folder / "metrics.csv")) == 5
    assert not (folder / "checkpoints" / "last.ckpt").exists()


def test_a_score_that_validation_leaves_undefined_keeps_the_last_epoch_and_says_so(
    staged, arrays, result, tmp_path: Path, capsys
) -> None:
    data = arrays()
    data["val_labels"][:] = 0
    np.savez(tmp_path / "one.npz", **data)
    folder = staged("baseline", *QUICK, "stage.epochs=2", path=tmp_path / "one.npz")
    printed = capsys.readouterr().out
    assert "val/auroc is not defined on the validation images: the last epoch is kept." in printed
    assert "kept epoch" in printed
    assert result(folder)["provenance"]["protocol"].endswith("together; the last epoch is kept")
    found = result(folder)["metrics"]
    assert found["train/best_epoch"] == 2
    assert "val/auroc" not in found
    assert "test/auroc" in found


@pytest.mark.parametrize("word", ["stage.class_weights=balanced", "stage.layer_decay=0.5"])
def test_options_that_change_the_training(staged, arrays, tmp_path: Path, word: str) -> None:
    data = arrays()
    data["train_labels"][:30] = 0
    np.savez(tmp_path / "uneven.npz", **data)
    words = ("baseline", *QUICK, "stage.epochs=1")
    one, two = (staged(*words, *more, path=tmp_path / "uneven.npz") for more in ((), (word,)))
    assert one != two
    assert (one / "encoder.safetensors").read_bytes() != (two / "encoder.safetensors").read_bytes()


def test_balanced_weights_of_a_balanced_subset_change_nothing(staged) -> None:
    words = ("baseline", *QUICK, "stage.epochs=1", "data_fraction.per_class=8")
    one, two = (staged(*words, *more) for more in ((), ("stage.class_weights=balanced",)))
    assert one != two
    with np.load(one / "predictions.npz") as first, np.load(two / "predictions.npz") as second:
        np.testing.assert_allclose(first["probabilities"], second["probabilities"], atol=1e-6)


def test_every_image_of_a_small_budget_is_one_batch(staged, result, capsys) -> None:
    folder = staged("baseline", *QUICK, "stage.epochs=1", "stage.batch_size=128", "data_fraction.samples=10")
    assert "stage.batch_size=128 is larger than the 10 training images; using 10." in capsys.readouterr().out
    assert [row["step"] for row in read_rows(folder / "metrics.csv")] == ["1"]
    assert result(folder)["metrics"]["train/images"] == 10


def test_a_budget_trains_on_all_its_images_and_keeps_the_last_epoch(staged, result, capsys) -> None:
    folder = staged("baseline", *QUICK, "stage.epochs=3", "stage.patience=1", "data_fraction.samples=12")
    found = result(folder)["metrics"]
    assert (found["train/images"], found["val/images"], found["budget/labels"]) == (12, 0, 12)
    assert (found["train/best_epoch"], found["train/epochs"]) == (3, 3)
    assert not any(name.startswith("val/") and name != "val/images" for name in found)
    assert not (folder / "checkpoints" / "best.ckpt").exists()
    assert "not defined" not in capsys.readouterr().out


def test_the_last_epoch_can_be_kept_beside_a_validation_split(staged, result) -> None:
    folder = staged("baseline", *QUICK, "stage.epochs=3", "stage.patience=1", "stage.select_by=last")
    found, table = result(folder)["metrics"], read_rows(folder / "metrics.csv")
    assert (found["val/images"], found["train/best_epoch"], len(table)) == (0, 3, 3)
    assert found["val/auroc"] == float(table[-1]["val/auroc"])


def test_a_budget_that_is_too_small_to_hold_an_image_out_keeps_the_last_epoch(staged, result, capsys) -> None:
    words = ("stage.epochs=3", "stage.patience=1", "stage.select_by=auroc", "data_fraction.per_class=1")
    folder = staged("baseline", *QUICK, *words)
    assert "No class has enough of the 3 labelled images to hold one out" in capsys.readouterr().out
    found = result(folder)["metrics"]
    assert (found["train/images"], found["val/images"], found["train/best_epoch"]) == (3, 0, 3)


def test_two_images_of_one_class_are_too_few_to_hold_one_out(staged, arrays, tmp_path: Path) -> None:
    data = arrays()
    data["train_labels"][:] = 0
    np.savez(tmp_path / "one.npz", **data)
    words = ("baseline", *QUICK, "stage.epochs=1", "stage.select_by=auroc", "data_fraction.samples=2")
    words += ("dataset.class_names=[a,b,c]",)
    with pytest.raises(DataError, match=r"selects 2 of 48 and holds 1 of them out for validation\. Increase") as caught:
        staged(*words, path=tmp_path / "one.npz")
    assert "\n" not in str(caught.value)


def test_a_multi_label_budget_holds_a_quarter_out(staged, arrays, result, tmp_path: Path) -> None:
    np.savez(tmp_path / "several.npz", **arrays(columns=4))
    words = ("baseline", *QUICK, "stage.epochs=1", "stage.select_by=auroc", "data_fraction.samples=20")
    found = result(staged(*words, path=tmp_path / "several.npz"))["metrics"]
    assert (found["train/images"], found["val/images"]) == (15, 5)


@pytest.mark.parametrize("lacking", ["val_labels", "test_labels", "test_images", "val_images"])
def test_a_split_that_the_end_needs_is_missed_before_training(staged, arrays, tmp_path: Path, lacking: str) -> None:
    data = arrays()
    del data[lacking]
    np.savez(tmp_path / "bare.npz", **data)
    split = lacking.split("_")[0]
    message = f"images and labels in train, val, test are required for stage=baseline; missing in {split}. Add"
    with pytest.raises(DataError, match=message) as caught:
        staged("baseline", *QUICK, "stage.epochs=1", path=tmp_path / "bare.npz")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("runs/baseline/*/*/metrics.csv"))


def test_training_that_diverges_is_one_line_and_nothing_bad_is_kept(staged, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"Diverged in epoch 1: .* Lower optimizer\.lr") as caught:
        staged("baseline", *QUICK, "stage.epochs=4", "optimizer.lr=1e30")
    assert "\n" not in str(caught.value)
    (folder,) = tmp_path.glob("runs/baseline/*/*")
    assert read_rows(folder / "metrics.csv") == []
    assert not list(folder.glob("checkpoints/*.ckpt"))


@pytest.mark.parametrize("stage", ["probe", "baseline"])
def test_one_class_is_none_to_learn(staged, arrays, tmp_path: Path, stage: str) -> None:
    np.savez(tmp_path / "one.npz", **arrays(classes=1))
    with pytest.raises(DataError, match=f"two classes or more are required for stage={stage}, found 0 alone") as caught:
        staged(stage, "init=random", path=tmp_path / "one.npz")
    assert "\n" not in str(caught.value)


def test_weights_of_another_encoder_are_one_line(staged, tmp_path: Path) -> None:
    from torchvision.models import resnet18

    torch.save(resnet18().state_dict(), tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match="expected weights of") as caught:
        staged("finetune", *QUICK, "stage.epochs=1", "init=checkpoint", f"init.path={tmp_path / 'weights.pth'}")
    assert "\n" not in str(caught.value)


def test_frozen_layers_stay_and_a_resumed_run_with_clipping_ends_alike(staged, killed, tmp_path: Path, capsys) -> None:
    words = (*QUICK, "stage.checkpoint_every_s=0", "stage.freeze=1", "stage.layer_decay=0.5", "seed=1")
    words = ("baseline", *words, "trainer.gradient_clip_val=0.5")
    whole = staged(*words, "stage.epochs=3")
    assert "parameters of the encoder are frozen (stage.freeze)" in capsys.readouterr().out
    runs = f"paths.runs={tmp_path / 'again'}"
    killed("last.ckpt", 0, *words, "stage.epochs=3", runs)
    again = staged(*words, "stage.epochs=3", runs)
    assert "resuming from epoch 1 of 3" in capsys.readouterr().out
    shorter = staged(*words, "stage.epochs=1")
    files = [safetensors.torch.load_file(folder / "encoder.safetensors") for folder in (whole, again, shorter)]
    assert all(torch.equal(value, files[1][key]) for key, value in files[0].items())
    same = {key for key, value in files[0].items() if torch.equal(value, files[2][key])}
    groups = tiny().layer_groups()
    assert set(groups[0]) <= same
    assert not same & {name for group in groups[1:] for name in group}
