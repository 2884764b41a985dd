"""One process and two give the same training: every monitor in float64, gradients in float32."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from simclr_med.metrics_csv import read_rows
from simclr_med.training import classifier
from simclr_med.training.simclr import METRICS

pytestmark = pytest.mark.process
Command = Callable[..., subprocess.CompletedProcess[str]]


def curve(command: Command, cells: Path, runs: Path, *more: str) -> list[dict[str, str]]:
    done = command(
        *("stage=pretrain", "dataset=npz", f"dataset.path={cells}", f"paths.runs={runs}", "encoder=tiny"),
        *("stage.epochs=3", "stage.batch_size=16", "logger=none", "stage.monitor_every=1", *more),
    )
    assert done.returncode == 0, done.stderr
    return read_rows(next(runs.glob("pretrain/*/*/metrics.csv")))


def test_every_monitor_agrees_in_float64(command: Command, forked: Command, cells: Path, tmp_path: Path) -> None:
    one = curve(forked, cells, tmp_path / "one", "trainer=cpu", "trainer.precision=64-true")
    two = curve(command, cells, tmp_path / "two", "trainer=ddp_cpu", "trainer.precision=64-true")
    assert len(one) == len(two) == 3
    for a, b in zip(one, two, strict=True):
        for name in set(METRICS) - {"train/images_per_s"}:
            assert float(a[name]) == pytest.approx(float(b[name]), abs=1e-4), name


def test_float32_first_step_has_the_same_gradients(
    command: Command, forked: Command, cells: Path, tmp_path: Path
) -> None:
    words = ("stage.epochs=1", "trainer.limit_steps=1", "optimizer=sgd", "optimizer.lr=1.0", "optimizer.momentum=0")
    plain = ("optimizer.nesterov=false", "keep=all", "schedule=constant", "trainer.precision=32-true")
    for name, run, trainer in (("one", forked, "cpu"), ("two", command, "ddp_cpu")):
        curve(run, cells, tmp_path / name, *words, *plain, f"trainer={trainer}")
    import safetensors.torch

    after = [
        safetensors.torch.load_file(next((tmp_path / name).glob("pretrain/*/*")) / "encoder.safetensors")
        for name in ("one", "two")
    ]
    from simclr_med.models.encoders import tiny
    from simclr_med.stages.network import seeded_init
    from simclr_med.streams import Stream

    with seeded_init(0, Stream.ENCODER):
        start = tiny().state_dict()
    # One step of plain SGD at rate 1 moves a weight by its gradient.
    for name, tensor in start.items():
        if "running" in name or "num_batches" in name:
            continue
        gradients = [tensor - weights[name] for weights in after]
        scale = gradients[0].abs().max().clamp_min(1e-6)
        assert (gradients[0] - gradients[1]).abs().max() / scale < 1e-4, name


@pytest.mark.parametrize("more", [(), ("stage.ema_decay=0.9", "stage.head_epochs=1", "stage.label_smoothing=0.1")])
def test_classifier_of_two_processes_is_that_of_one(
    command: Command, forked: Command, cells: Path, tmp_path: Path, more: tuple[str, ...]
) -> None:
    """25 of 33 labels are trained on, in batches of 13 and 12: the processes have unequal shares and class weights."""
    words = ("stage=baseline", "dataset=npz", f"dataset.path={cells}", "encoder=tiny", "logger=none", *more)
    words = (*words, "data_fraction.samples=33", "stage.select_by=auroc", "stage.batch_size=16")
    words = (*words, "stage.class_weights=balanced")
    words = (*words, "stage.epochs=3", "stage.min_steps=9", "schedule.warmup_epochs=0", "trainer.precision=64-true")
    tables = []
    for run, trainer in ((forked, "cpu"), (command, "ddp_cpu")):
        done = run(*words, "stage.resamples=0", f"trainer={trainer}", f"paths.runs={tmp_path / trainer}")
        assert done.returncode == 0, done.stderr
        tables.append(read_rows(next((tmp_path / trainer).glob("baseline/*/*/metrics.csv"))))
    one, two = tables
    assert [row["step"] for row in one] == [row["step"] for row in two] == ["3", "6", "9"]
    for a, b in zip(one, two, strict=True):
        for name in set(classifier.METRICS) - {"train/images_per_s"}:
            assert float(a[name]) == pytest.approx(float(b[name]), abs=1e-6), name


def name_patients(path: Path) -> str:
    """Write a CSV that gives the 40 training images of `cells` to 13 patients."""
    path.write_text("split,row,patient\n" + "".join(f"train,{row},p{row % 13}\n" for row in range(40)))
    return str(path)


def test_partners_and_masks_agree_in_float64(command: Command, forked: Command, cells: Path, tmp_path: Path) -> None:
    csv = name_patients(tmp_path / "patients.csv")
    words = (f"dataset.groups_csv={csv}", "stage.positives=patient", "stage.mask_same_patient=true")
    words = (*words, "trainer.precision=64-true", "stage.epochs=2", "trainer.limit_steps=1")
    one = curve(forked, cells, tmp_path / "one", *words, "trainer=cpu")
    two = curve(command, cells, tmp_path / "two", *words, "trainer=ddp_cpu")
    assert len(one) == len(two) == 2
    for a, b in zip(one, two, strict=True):
        for name in set(METRICS) - {"train/images_per_s"}:
            assert float(a[name]) == pytest.approx(float(b[name]), abs=1e-4), name


def test_parts_train_in_two_processes_without_banners_and_hints(command: Command, cells: Path, tmp_path: Path) -> None:
    """Batch norm is synchronised in both passes of every part; `tests/training/test_parts.py` compares gradients."""
    done = command(
        *("stage=pretrain", "dataset=npz", f"dataset.path={cells}", f"paths.runs={tmp_path}", "encoder=tiny"),
        *("stage.epochs=1", "schedule.warmup_epochs=0", "stage.batch_size=16", "logger=none", "trainer=ddp_cpu"),
        *("stage.accumulate=4", "stage.exact_accumulate=true", "stage.head.batch_norm=true", "trainer.limit_steps=1"),
        "stage.temperature=0.2",
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for noise in ("distributed", "MEMBER", "LeafSpec", "weights_only", "max_epochs", "Warning", "----"):
        assert noise not in done.stdout, noise
    assert "negatives come from all 16 images, statistics of batch norm from a micro-batch of 4." in done.stdout
    (row,) = read_rows(next(tmp_path.glob("pretrain/*/*/metrics.csv")))
    assert 0 < float(row["train/loss"]) < 5
