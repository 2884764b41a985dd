"""The Weights & Biases run of a real command has the config, names, history and exit code."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import forked_commands
import pytest
import wandb_log
import yaml
from forked_commands import Forked

from simclr_med.metrics_csv import read_rows

pytestmark = pytest.mark.process
Command = Callable[..., "subprocess.CompletedProcess[str]"]
SMALL = ("stage=pretrain", "encoder=tiny", "stage.batch_size=16", "trainer=cpu", "trainer.threads=1")
OURS = (
    "Device: ",
    "stage=pretrain dataset=",
    "3 epochs of 2 steps, ",
    "Pretraining on",
    "Run: ",
    "Picture: ",
    "W&B: ",
    "resuming from ",
    "┌",
    "│",
    "└",
    "Job ",
    "Sweep of 2 jobs, 2 runs",
    "Sweep:",
)


@pytest.fixture(autouse=True)
def clean_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Set an empty home and temporary folder without credentials, so that files outside the run are found."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for name, place in (("HOME", "home"), ("TMPDIR", "tmp")):
        (tmp_path / place).mkdir()
        monkeypatch.setenv(name, str(tmp_path / place))


def only_log(folder: Path) -> wandb_log.Logged:
    (path,) = folder.glob("wandb/*run-*/*.wandb")
    return wandb_log.read(path)


def recorded(folder: Path) -> dict[str, list[float]]:
    """Return the metrics of metrics.csv without empty cells."""
    table = read_rows(folder / "metrics.csv")
    names = [name for name in table[0] if name not in ("epoch", "step", "wall_s")]
    return {name: [float(row[name]) for row in table if row[name]] for name in names}


def assert_same_history(folder: Path, log: wandb_log.Logged) -> None:
    for name, values in recorded(folder).items():
        assert log.column(name) == pytest.approx(values, rel=1e-6), name  # Lightning converts to float32
    assert log.column("_step") == log.column("epoch") == list(range(len(read_rows(folder / "metrics.csv"))))


def test_two_jobs_of_a_multirun_are_two_complete_runs(command: Command, cells: Path, tmp_path: Path) -> None:
    more = ("dataset=npz", f"dataset.path={cells}", "seed=0,1", "stage.epochs=3", "stage.monitor_every=2")
    done = command("-m", *SMALL, *more)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert [line for line in done.stdout.splitlines() if not line.startswith(OURS)] == []
    folders = sorted(tmp_path.glob("runs/pretrain/cells/*"))
    logs = [only_log(folder) for folder in folders]
    assert len({log.run.run_id for log in logs}) == 2
    for seed, (folder, log) in enumerate(zip(folders, logs, strict=True)):
        config = yaml.safe_load((folder / "config.yaml").read_text())
        assert {name: log.config[name] for name in config} == config
        around = log.config["environment"]
        assert (around["device"], around["threads"], around["processes"]) == ("cpu", 1, 1)
        assert {"python", "torch", "lightning", "simclr-med"} <= set(around["versions"])
        assert log.config["config_hash"].startswith(folder.name[-10:])
        assert log.run.display_name == f"pretrain-cells-{folder.name[-10:]}"
        assert (log.run.project, log.run.run_group, log.run.job_type) == ("simclr-med", "pretrain-cells", "pretrain")
        assert list(log.run.tags) == ["cells", "microscopy", "tiny", "full", f"seed{seed}"]
        assert log.exit_code == 0
        assert_same_history(folder, log)
        assert [row["_step"] for row in log.history if "val/knn_accuracy" in row] == [1, 2]
        place = next(folder.glob("wandb/offline-run-*"))
        assert f"W&B:      offline; upload it with: wandb sync {place}" in done.stdout.splitlines()
    # All files are inside the runs; the data set's hash is in the tests' cache.
    outside = [path for name in ("home", "tmp", "work") for path in (tmp_path / name).rglob("*") if path.is_file()]
    assert [path for path in outside if "wandb" in str(path)] == []


def test_run_killed_twice_is_one_wandb_run(cells: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    line = [
        *(*SMALL, "dataset=npz", f"dataset.path={cells}"),
        *(f"paths.runs={runs}", "stage.epochs=40", "stage.checkpoint_every_s=0", "stage.monitor_every=20"),
    ]
    for epochs in (3, 6):
        process = Forked(line)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            table = next(iter(runs.glob("pretrain/*/*/metrics.csv")), None)
            if table and len(read_rows(table)) >= epochs:
                break
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    (folder,) = runs.glob("pretrain/*/*")
    assert len(list(folder.glob("wandb/offline-run-*"))) == 2
    identity = (folder / "wandb" / "run_id").read_text().strip()
    done = forked_commands.run(line)
    assert done.returncode == 0, done.stderr
    assert "resuming from epoch" in done.stdout
    log = only_log(folder)
    assert (log.run.run_id, log.exit_code) == (identity, 0)
    assert_same_history(folder, log)
    assert len(log.history) == 40
    (place,) = folder.glob("wandb/offline-run-*")
    assert f"W&B:      offline; upload it with: wandb sync {place}" in done.stdout.splitlines()


def test_failed_job_is_a_failed_run_of_its_own(forked: Command, cells: Path, tmp_path: Path) -> None:
    more = ("dataset=npz", f"dataset.path={cells}", "stage.epochs=2", "stage.collapse.gradient_norm=1e9", "seed=0,1")
    done = forked("-m", *SMALL, *more)
    assert done.returncode == 1
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == 2 * ["Collapse in epoch 1"]
    logs = [only_log(folder) for folder in tmp_path.glob("runs/pretrain/cells/*")]
    assert [log.exit_code for log in logs] == [1, 1]
    assert [log.column("_step") for log in logs] == [[0], [0]]  # the collapsed epoch is logged
    assert len({log.run.run_id for log in logs}) == 2


def test_interrupted_run_is_a_failed_run_and_a_silent_server_is_abandoned(cells: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        environment = {**os.environ, "WANDB_API_KEY": 40 * "a", "WANDB_BASE_URL": address}
        runs = tmp_path / "runs"
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "simclr_med", *SMALL, "dataset=npz", f"dataset.path={cells}"),
                *(f"paths.runs={runs}", "stage.epochs=5000", "stage.monitor_every=5000"),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background shell ignores SIGINT
            env=environment,
        )
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            table = next(iter(runs.glob("pretrain/*/*/metrics.csv")), None)
            if table and len(read_rows(table)) >= 2:
                break
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        printed, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    lines = printed.splitlines()
    assert lines[2].startswith("5,000 epochs of 2 steps, ")
    first = next(line for line in lines[3:] if not line.startswith("Run: "))
    assert first == f"W&B:      logging offline: {address} did not respond within 5 s."
    (folder,) = runs.glob("pretrain/*/*")
    log = only_log(folder)
    assert log.exit_code == 1
    assert_same_history(folder, log)


def test_tensorboard_equals_metrics_csv(forked: Command, cells: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    more = ("dataset=npz", f"dataset.path={cells}", "stage.epochs=3", "stage.monitor_every=2", "logger=tensorboard")
    done = forked(*SMALL, *more)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    (folder,) = tmp_path.glob("runs/pretrain/cells/*")
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    expected = recorded(folder)
    assert set(events.Tags()["scalars"]) == {"epoch", *expected}
    for name, values in expected.items():
        assert [event.value for event in events.Scalars(name)] == pytest.approx(values, rel=1e-6), name
    assert not (folder / "wandb").exists()
