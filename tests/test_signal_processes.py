"""A signal stops a run soon, with its own exit code. The repeated command resumes."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import forked_commands
import pytest

from simclr_med.metrics_csv import read_rows

pytestmark = pytest.mark.process


def with_ctrl_c() -> None:
    """Handle signals as in a terminal. A shell that runs the tests in the background ignores some."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_stopped_run_resumes(cells: Path, tmp_path: Path, sent: int, code: int) -> None:
    runs = tmp_path / "runs"
    line = [
        *(sys.executable, "-m", "simclr_med", "stage=pretrain", "dataset=npz", f"dataset.path={cells}"),
        *(f"paths.runs={runs}", "encoder=tiny", "stage.batch_size=16", "logger=none", "trainer=cpu"),
        *("stage.checkpoint_every_s=0", "stage.epochs=150", "stage.monitor_every=150", "trainer.threads=1"),
    ]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=with_ctrl_c)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not list(runs.glob("pretrain/*/*/checkpoints/last.ckpt")):
        time.sleep(0.05)
    began = time.monotonic()
    process.send_signal(sent)
    _, message = process.communicate(timeout=60)
    assert time.monotonic() - began < 10
    assert process.returncode == code, message
    assert message.startswith("Stopped by a signal. Repeat the command to resume: ")
    done = forked_commands.run(line[3:])
    assert done.returncode == 0, done.stderr
    assert "resuming from epoch" in done.stdout
    (table,) = runs.glob("pretrain/*/*/metrics.csv")
    assert [int(row["epoch"]) for row in read_rows(table)] == list(range(150))
