"""Real sweeps: killed, run twice at once, in workers, with several processes per run. Results are identical."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import forked_commands
import pytest
from forked_commands import Forked

pytestmark = pytest.mark.process
QUICK = ("encoder=tiny", "logger=none", "trainer=cpu", "trainer.threads=1", "stage.batch_size=16")
GRID = (
    "stage=pretrain,baseline",
    "schedule.warmup_epochs=0",
    "stage.epochs=2",
    "init.augmentation=novel,simple",
    "trainer.limit_steps=3",
)
JOBS = 8  # two of each stage's four jobs share a run


def line(data: Path, runs: Path, *words: str) -> list[str]:
    where = ("dataset=npz", f"dataset.path={data}", f"paths.runs={runs}")
    return ["-m", *where, *QUICK, *words]


def done(*words: str, status: int = 0) -> str:
    finished = forked_commands.run(words)
    assert finished.returncode == status, finished.stderr
    return finished.stdout


def done_anew(*words: str, status: int = 0) -> str:
    """In a new Python, because the command starts processes itself."""
    line = [sys.executable, "-m", "simclr_med", *words]
    finished = subprocess.run(line, capture_output=True, text=True, timeout=300)
    assert finished.returncode == status, finished.stderr
    return finished.stdout


def results(runs: Path) -> dict[str, tuple[bytes, dict[str, float]]]:
    """Weights and metrics, those of speed left out, of every finished run by its place."""

    def lasting(path: Path) -> dict[str, float]:
        found = json.loads(path.read_text(encoding="utf-8"))["metrics"]
        return {name: value for name, value in found.items() if not name.endswith("images_per_s")}

    return {
        str(path.parent.relative_to(runs)): (
            (path.parent / "encoder.safetensors").read_bytes(),
            lasting(path),
        )
        for path in runs.glob("*/*/*/result.json")
    }


def outcomes(runs: Path) -> list[str]:
    """The outcome of every job of every sweep."""
    records = [json.loads(path.read_text(encoding="utf-8")) for path in runs.glob(".sweeps/*/jobs/*.json")]
    return [run["outcome"] for record in records for run in record["runs"]]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The data and the finished runs of the grid."""
    import numpy as np

    folder = tmp_path_factory.mktemp("sweep")
    generator, content = np.random.default_rng(0), {}
    for split, count in (("train", 40), ("val", 16), ("test", 12)):
        content[f"{split}_images"] = generator.integers(0, 256, (count, 28, 28, 3), dtype=np.uint8)
        content[f"{split}_labels"] = (np.arange(count) % 3)[:, None].astype(np.uint8)
    np.savez(folder / "cells.npz", **content)
    message = done(*line(folder / "cells.npz", folder / "runs", *GRID, "seed=0,1"))
    assert f"Sweep of {JOBS} jobs, 4 runs" in message
    assert len(results(folder / "runs")) == 4
    return folder / "cells.npz", folder / "runs"


def test_killed_sweep_resumes_with_identical_results(undisturbed: tuple[Path, Path], tmp_path: Path) -> None:
    data, whole = undisturbed
    command = line(data, tmp_path / "runs", *GRID, "seed=0,1")
    choose = random.Random(1)
    for _ in range(2):
        before = len(results(tmp_path / "runs"))
        process = Forked(command)
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline and len(results(tmp_path / "runs")) == before:
            time.sleep(0.01)
        time.sleep(choose.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert 0 < len(results(tmp_path / "runs")) < 4
    done(*command)
    assert results(tmp_path / "runs") == results(whole)
    again = done(*command)
    assert again.count("Already finished, skipping") == JOBS


def test_two_sweeps_at_once_share_their_runs(undisturbed: tuple[Path, Path], tmp_path: Path) -> None:
    data, whole = undisturbed
    command = line(data, tmp_path / "runs", *GRID, "seed=0,1")
    both = [Forked(command) for _ in range(2)]
    message = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], message
    assert outcomes(tmp_path / "runs").count("done") == 4
    assert outcomes(tmp_path / "runs").count("skipped") == 2 * JOBS - 4
    assert results(tmp_path / "runs") == results(whole)


def test_workers_share_the_cores_and_continue_after_a_failed_job(
    undisturbed: tuple[Path, Path], tmp_path: Path
) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    data, whole = undisturbed
    words = (*GRID, "data_fraction.samples=null,1000", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    command = [word for word in line(data, tmp_path / "runs", *words, "seed=0,1") if word != "trainer.threads=1"]
    message = done_anew(*command, status=1)
    assert outcomes(tmp_path / "runs").count("done") == 4
    assert outcomes(tmp_path / "runs").count("failed") == JOBS
    assert "data_fraction.samples=1000: only" in message
    found = [json.loads(path.read_text()) for path in (tmp_path / "runs").glob("*/*/*/result.json")]
    assert {run["provenance"]["threads"] for run in found} == {max(1, (os.cpu_count() or 1) // 2)}
    assert set(results(tmp_path / "runs")) == set(results(whole))


def test_sweep_of_ddp_runs(undisturbed: tuple[Path, Path], tmp_path: Path) -> None:
    data, _ = undisturbed
    command = [
        word
        for word in line(data, tmp_path / "runs", "stage=pretrain", "stage.epochs=1", "trainer=ddp_cpu")
        if word != "trainer=cpu"
    ]
    message = done_anew(*command, "seed=0,1")
    assert "Sweep of 2 jobs, 2 runs" in message
    assert sorted(path.rpartition("-")[0].rpartition("-")[2] for path in results(tmp_path / "runs")) == [
        "s0",
        "s1",
    ]
