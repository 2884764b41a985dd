"""Probe, finetune, baseline and test on the real command line: kills, company, several budgets at once, errors."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import forked_commands
import numpy as np
import pytest
import torch
from forked_commands import Forked

from simclr_med.config.medmnist_info import load_medmnist_table
from simclr_med.metrics_csv import read_rows
from simclr_med.models.encoders import resnet

pytestmark = pytest.mark.process
QUICK = ("encoder=tiny", "logger=none", "trainer=cpu", "trainer.threads=1")
TRAIN = ("schedule.warmup_epochs=0", "stage.batch_size=16", "stage.min_steps=0", "stage.patience_steps=0")


@pytest.fixture
def noisy(tmp_path: Path) -> Path:
    """Images without structure (96, 48, 48): validation scores vary at random, and early stopping ends a run."""
    generator, content = np.random.default_rng(0), {}
    for split, count in (("train", 96), ("val", 48), ("test", 48)):
        content[f"{split}_images"] = generator.integers(0, 256, (count, 28, 28, 3), dtype=np.uint8)
        content[f"{split}_labels"] = (np.arange(count) % 3)[:, None].astype(np.uint8)
    np.savez(tmp_path / "noisy.npz", **content)
    return tmp_path / "noisy.npz"


def line(stage: str, data: Path, runs: Path, *words: str) -> list[str]:
    where = ("dataset=npz", f"dataset.path={data}", f"paths.runs={runs}")
    return [f"stage={stage}", *where, *QUICK, *words]


def done(*words: str) -> str:
    finished = forked_commands.run(words)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def folder(runs: Path, stage: str) -> Path:
    (found,) = runs.glob(f"{stage}/*/*")
    return found


def lasting(run: Path) -> list[dict[str, str]]:
    timed = ("wall_s", "train/images_per_s")
    return [{key: value for key, value in row.items() if key not in timed} for row in read_rows(run / "metrics.csv")]


def result(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "result.json").read_text(encoding="utf-8")))


def killed_once(command: list[str], when: Callable[[], bool], later_s: float) -> bool:
    """Start a command and kill it some time after a condition has come true; whether it was still running then."""
    process = Forked(command)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None and not when():
        time.sleep(0.005)
    time.sleep(later_s)
    process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def test_a_finetune_killed_at_any_moment_ends_with_the_same_predictions(noisy: Path, tmp_path: Path) -> None:
    done(*line("pretrain", noisy, tmp_path / "first", "stage.epochs=2", "stage.batch_size=16"))
    weights = folder(tmp_path / "first", "pretrain") / "encoder.safetensors"
    # The intervals of many resamples make the scoring long enough to be killed in.
    words = ("init=checkpoint", f"init.path={weights}", *TRAIN, "stage.epochs=300", "stage.patience=12")
    words = (*words, "stage.checkpoint_every_s=0", "stage.resamples=3000")
    whole_runs, runs = tmp_path / "whole", tmp_path / "killed"
    done(*line("finetune", noisy, whole_runs, *words))
    whole = folder(whole_runs, "finetune")
    epochs = len(lasting(whole))
    assert 13 <= epochs < 300, "patience should end this run"
    command = line("finetune", noisy, runs, *words)

    def table() -> int:
        return sum(len(read_rows(path)) for path in runs.glob("finetune/*/*/metrics.csv"))

    choose = random.Random(0)
    for _ in range(2):
        before = table()
        assert killed_once(command, lambda: table() > before, choose.uniform(0, 0.1))  # noqa: B023
    assert 0 < table() < epochs
    for _ in range(2):  # while it is being scored, all epochs done
        for path in runs.glob("finetune/*/*/predictions.npz"):
            path.unlink()
        assert killed_once(command, lambda: any(runs.glob("finetune/*/*/predictions.npz")), 0.05)
        assert table() == epochs
        assert not any(runs.glob("finetune/*/*/result.json"))
    message = done(*command)
    again = folder(runs, "finetune")
    assert f"resuming from epoch {epochs} of 300" in message
    for name in ("predictions.npz", "encoder.safetensors", "head.safetensors"):
        assert (again / name).read_bytes() == (whole / name).read_bytes(), name
    assert lasting(again) == lasting(whole)
    assert result(again)["metrics"] == result(whole)["metrics"]
    assert result(again)["intervals"] == result(whole)["intervals"]
    before = {path: path.stat().st_mtime_ns for path in again.rglob("*")}
    assert done(*command).startswith("Already finished, skipping: ")
    assert {path: path.stat().st_mtime_ns for path in again.rglob("*")} == before


def test_two_probes_at_once_share_their_features(noisy: Path, tmp_path: Path) -> None:
    words = ("init=random", "stage.solver=sgd", "stage.solvers.sgd.epochs=2", "stage.resamples=0")
    seeds = range(2)
    commands = [line("probe", noisy, tmp_path / "runs", *words, f"stage.solvers.sgd.epochs={2 + k}") for k in seeds]
    both = [Forked(command) for command in commands]
    message = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert not any("damaged" in text for text in message)
    assert len(list((tmp_path / "runs" / ".features").glob("*.safetensors"))) == 3
    for k in seeds:
        done(*line("probe", noisy, tmp_path / f"alone{k}", *words, f"stage.solvers.sgd.epochs={2 + k}"))
        (alone,) = (tmp_path / f"alone{k}").glob("probe/*/*")
        together = tmp_path / "runs" / alone.relative_to(tmp_path / f"alone{k}")
        assert (together / "predictions.npz").read_bytes() == (alone / "predictions.npz").read_bytes()


@pytest.mark.parametrize("stage", ["probe", "baseline"])
def test_several_budgets_and_seeds_are_the_single_commands(noisy: Path, tmp_path: Path, stage: str) -> None:
    words = ("init=random", "stage.resamples=20", *(() if stage == "probe" else (*TRAIN, "stage.epochs=2")))
    several = line(stage, noisy, tmp_path / "several", *words, "stage.budgets=[20,per_class5]", "stage.seeds=[0,3]")
    message = done(*several)
    assert message.count("test accuracy") == message.count("test AUROC") == 4 + 1  # a line for each run, and the means
    for budget, seed in (("data_fraction.samples=20", 3), ("data_fraction.per_class=5", 0)):
        done(*line(stage, noisy, tmp_path / "single", *words, budget, f"seed={seed}"))
    runs = {path.relative_to(tmp_path / "single") for path in (tmp_path / "single").glob(f"{stage}/*/*")}
    assert len(runs) == 2
    assert len(list((tmp_path / "several").glob(f"{stage}/*/*"))) == 4
    for run in runs:
        one, two = tmp_path / "single" / run, tmp_path / "several" / run
        assert (one / "predictions.npz").read_bytes() == (two / "predictions.npz").read_bytes()
        assert result(one)["metrics"] == result(two)["metrics"]
        assert result(one)["intervals"] == result(two)["intervals"]
    assert done(*several).startswith("Already finished, skipped: 4 of 4 runs")


def test_scoring_again_gives_the_runs_own_figures(noisy: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    done(*line("baseline", noisy, runs, *TRAIN, "stage.epochs=2"))
    own = folder(runs, "baseline")
    message = done(*line("test", noisy, runs, f"stage.run={own}"))
    assert "Baseline of noisy on noisy" in message
    found = result(folder(runs, "test"))
    assert {name: result(own)["metrics"][name] for name in found["metrics"]} == found["metrics"]
    assert found["intervals"] == result(own)["intervals"]


@pytest.mark.parametrize("flag", ["chestmnist", "retinamnist"])
def test_multi_label_and_ordinal_sets_from_end_to_end(tmp_path: Path, flag: str) -> None:
    info = load_medmnist_table()[flag]
    generator, classes = np.random.default_rng(0), len(info["label"])
    multi = info["task"].startswith("multi-label")
    content = {}
    for split, count in (("train", 40), ("val", 30), ("test", 30)):
        shape = (count, 28, 28) if info["n_channels"] == 1 else (count, 28, 28, 3)
        labels = generator.integers(0, 2, (count, classes)) if multi else np.arange(count)[:, None] % classes
        content[f"{split}_images"] = generator.integers(0, 256, shape, dtype=np.uint8)
        content[f"{split}_labels"] = labels.astype(np.uint8)
    np.savez(tmp_path / f"{flag}.npz", **content)
    data = (f"dataset={flag}", "dataset.verify=false", f"paths.data={tmp_path}", f"paths.runs={tmp_path / 'runs'}")
    start = (*data, *QUICK)
    done(*start, "stage=pretrain", "stage.epochs=1", "stage.batch_size=16")
    for stage, words in (("probe", ()), ("finetune", (*TRAIN, "stage.epochs=1"))):
        done(*start, f"stage={stage}", *words, "stage.resamples=20")
        found = result(folder(tmp_path / "runs", stage))
        assert found["provenance"]["init"]["kind"] == "pretrained"
        assert {"test/accuracy", "test/auroc", "test/macro_f1"} <= set(found["metrics"])
        with np.load(folder(tmp_path / "runs", stage) / "predictions.npz") as kept:
            assert kept["probabilities"].shape == (30, classes)
            assert kept["labels"].shape == (30, classes if multi else 1)


def refused(status: int, words: list[str], **environment: str) -> str:
    """The one line of an error."""
    failed = forked_commands.run(words, environment={**os.environ, **environment})
    assert failed.returncode == status, failed.stderr
    (message,) = failed.stderr.splitlines()
    return message


def test_mistakes_are_one_line(noisy: Path, tmp_path: Path) -> None:
    runs, weights = tmp_path / "runs", tmp_path / "weights.pth"
    torch.save(resnet(18).state_dict(), weights)
    start = ("init=random", "stage.budgets=[20,some]")
    assert refused(2, line("probe", noisy, runs, *start)).startswith("stage.budgets=some: expected ")
    assert not runs.exists()
    message = refused(1, line("probe", noisy, runs, "init=checkpoint", f"init.path={weights}"))
    assert "expected weights of" in message
    assert "resnet18 with the stock stem" in message
    assert refused(1, line("finetune", noisy, runs)).startswith("init=pretrained: no finished pretraining run under ")
    with np.load(noisy) as content:
        multi = {
            name: np.repeat(array, 4, axis=1) % 2 if "labels" in name else array for name, array in content.items()
        }
    np.savez(tmp_path / "multi.npz", **multi)
    message = refused(1, line("probe", tmp_path / "multi.npz", runs, "init=random", "data_fraction.per_class=5"))
    assert message.startswith(
        "data_fraction.per_class=5: needs one label per image, but the data set has several labels per image."
    )
    offline = line("finetune", noisy, runs, "encoder=resnet18", "init=imagenet", "init.url=http://127.0.0.1:9")
    offline.remove("encoder=tiny")
    message = refused(1, offline, TORCH_HOME=str(tmp_path / "torch"))
    assert message.startswith(
        f"init=imagenet: no weights at {tmp_path / 'torch/hub/checkpoints/resnet18-f37072fd.pth'}"
    )
    message = refused(1, line("test", noisy, runs, f"stage.run={tmp_path}"))
    assert message.startswith(f"stage.run={tmp_path}: not the folder of a finished ")
