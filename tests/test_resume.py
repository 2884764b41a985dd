"""A killed pretraining run resumes with identical weights and metrics."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import forked_commands
import pytest
from forked_commands import Forked

from simclr_med.metrics_csv import read_rows
from simclr_med.training.devices import resolve_precision

pytestmark = pytest.mark.process
EPOCHS = 80


def words(cells: Path, runs: Path, precision: str = "32-true") -> list[str]:
    return [
        *("stage=pretrain", "dataset=npz", f"dataset.path={cells}"),
        *(f"paths.runs={runs}", "encoder=tiny", f"stage.epochs={EPOCHS}", "stage.batch_size=16", "logger=none"),
        *("stage.checkpoint_every_s=0", "stage.monitor_every=20", "trainer=cpu", "trainer.threads=1"),
        f"trainer.precision={precision}",
    ]


def done(command: list[str]) -> str:
    """Return what a successful command printed."""
    ended = forked_commands.run(command)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def folder(runs: Path) -> Path:
    return next(runs.glob("pretrain/*/*"))


def lasting(path: Path) -> list[dict[str, str]]:
    timed = ("wall_s", "train/images_per_s")
    return [{key: value for key, value in row.items() if key not in timed} for row in read_rows(path)]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_resume_after_kills_gives_identical_weights(cells: Path, tmp_path: Path, precision: str) -> None:
    if precision == "bf16-mixed" and resolve_precision("auto", "cpu") != precision:
        pytest.skip("this CPU does not compute bfloat16")
    done(words(cells, tmp_path / "whole", precision))
    choose = random.Random(0)
    killed = 0
    for _ in range(5):
        runs = tmp_path / "killed"
        process = Forked(words(cells, runs, precision))
        # Kill some epochs after the run has begun (or resumed), wherever in the epoch that falls.
        table = next(iter(runs.glob("pretrain/*/*/metrics.csv")), None)
        before = len(read_rows(table)) if table else 0
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            table = next(iter(runs.glob("pretrain/*/*/metrics.csv")), None)
            if table and len(read_rows(table)) >= before + 1:
                break
            time.sleep(0.01)
        time.sleep(choose.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
    assert killed == 5
    assert "resuming from epoch" in done(words(cells, runs, precision))
    one, two = folder(tmp_path / "whole"), folder(runs)
    assert (one / "encoder.safetensors").read_bytes() == (two / "encoder.safetensors").read_bytes()
    assert lasting(one / "metrics.csv") == lasting(two / "metrics.csv")
    assert [int(row["epoch"]) for row in read_rows(two / "metrics.csv")] == list(range(EPOCHS))
    assert done(words(cells, runs, precision)).startswith("Already finished, skipping")


def test_eight_processes_share_one_run(cells: Path, tmp_path: Path) -> None:
    line = [*words(cells, tmp_path / "runs")]
    line[line.index(f"stage.epochs={EPOCHS}")] = "stage.epochs=2"
    several = [Forked(line) for _ in range(8)]
    message = [process.communicate(timeout=300)[0] for process in several]
    assert [process.returncode for process in several] == [0] * 8
    assert sum("Pretraining on cells" in text for text in message) == 1
    assert sum("Already finished, skipping" in text for text in message) == 7
