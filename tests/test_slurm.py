"""A real SLURM of two nodes: a sweep, and jobs that are requeued during their run, one of them on both nodes."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from simclr_med.metrics_csv import read_rows

TOOLS = ("slurmctld", "slurmd", "munged", "scontrol")
pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(not all(map(shutil.which, TOOLS)) or os.geteuid() != 0, reason="needs SLURM, munge and root"),
]
SCRIPT = Path(__file__).parent / "slurm" / "cluster.sh"
RUN = ("stage=pretrain", "dataset=synthetic", "encoder=tiny", "logger=none", "data_fraction=n500", "trainer=cpu")
RUN = (*RUN, "trainer.threads=1", "stage.batch_size=32", "stage.monitor_every=1000", "stage.checkpoint_every_s=0")
JOB = ("hydra/launcher=slurm", "hydra.launcher.gpus_per_node=null", "hydra.launcher.cpus_per_task=1")
JOB = (*JOB, "hydra.launcher.mem_gb=2", "hydra.launcher.timeout_min=20")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a user of the cluster."""
    folder = tmp_path_factory.mktemp("cluster")
    subprocess.run([SCRIPT, "start", folder], check=True, timeout=60)
    try:
        yield {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
    finally:
        subprocess.run([SCRIPT, "stop", folder], check=True, timeout=60)


def command(runs: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "simclr_med", *RUN, f"paths.runs={runs}", *words]


def slurm(environment: dict[str, str], *words: str) -> str:
    return subprocess.run(words, env=environment, check=True, capture_output=True, text=True, timeout=30).stdout


def weights(runs: Path, seed: int) -> bytes:
    (path,) = runs.glob(f"pretrain/synthetic/*-s{seed}-*/encoder.safetensors")
    return path.read_bytes()


def losses(runs: Path) -> list[float]:
    (path,) = runs.glob("pretrain/*/*/metrics.csv")
    return [float(row["train/loss"]) for row in read_rows(path)]


def epochs(runs: Path, seed: int) -> int:
    return sum(len(path.read_text().splitlines()) - 1 for path in runs.glob(f"pretrain/*/*-s{seed}-*/metrics.csv"))


def test_requeued_job_ends_with_identical_weights(cluster: dict[str, str], tmp_path: Path) -> None:
    length = "stage.epochs=40"
    runs = tmp_path / "runs"
    sweep = subprocess.Popen(
        command(runs, "-m", "seed=0,1", length, *JOB),
        env=cluster,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while epochs(runs, 0) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    job = slurm(cluster, "squeue", "--noheader", "--array", "--format=%i").splitlines()
    first = next(name for name in job if name.strip().endswith("_0")).strip()
    slurm(cluster, "scontrol", "requeue", first)
    before = epochs(runs, 0)
    assert before < 40
    while sweep.poll() is None and time.monotonic() < deadline:  # else SLURM holds a queued job back for two minutes
        subprocess.run(["scontrol", "update", f"JobId={first}", "StartTime=now"], env=cluster, capture_output=True)
        time.sleep(1)
    message, errors = sweep.communicate(timeout=120)
    assert sweep.returncode == 0, errors
    assert "Sweep of 2 jobs, 2 runs" in message
    logs = "\n".join(path.read_text() for path in runs.glob(".sweeps/*/.submitit/*/*_log.out"))
    assert "resuming from epoch" in logs
    assert epochs(runs, 0) == epochs(runs, 1) == 40
    subprocess.run(command(tmp_path / "alone", length, "seed=0"), check=True, capture_output=True, timeout=120)
    assert weights(runs, 0) == weights(tmp_path / "alone", 0)


def test_requeued_job_of_two_nodes_equals_one_process(cluster: dict[str, str], tmp_path: Path) -> None:
    words = ("stage.epochs=10", "trainer.precision=64-true")
    runs, log = tmp_path / "runs", tmp_path / "log"
    script = tmp_path / "job.sh"
    # The names of these nodes have no address.
    task = shlex.join(command(runs, *words, "trainer.nodes=2"))
    script.write_text(f"#!/bin/bash\nexport MASTER_ADDR=127.0.0.1\nsrun --kill-on-bad-exit=1 {task}\n")
    options = ("--nodes=2", "--ntasks-per-node=1", "--requeue", "--open-mode=append", f"--output={log}")
    job = slurm(cluster, "sbatch", "--parsable", *options, str(script)).strip()
    deadline = time.monotonic() + 180
    while epochs(runs, 0) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    slurm(cluster, "scontrol", "requeue", job)
    assert 3 <= epochs(runs, 0) < 10, log.read_text()
    while not list(runs.glob("pretrain/*/*/result.json")) and time.monotonic() < deadline:
        subprocess.run(["scontrol", "update", f"JobId={job}", "StartTime=now"], env=cluster, capture_output=True)
        time.sleep(1)
    subprocess.run(command(tmp_path / "alone", *words), check=True, capture_output=True, timeout=120)
    assert "resuming from epoch" in log.read_text()
    assert losses(runs) == pytest.approx(losses(tmp_path / "alone"), abs=1e-4)
    assert len(losses(runs)) == 10


def test_rejected_job_is_reported_in_one_line(cluster: dict[str, str], tmp_path: Path) -> None:
    refused = command(tmp_path / "runs", "-m", "seed=0,1", *JOB, "hydra.launcher.partition=nowhere")
    failed = subprocess.run(refused, env=cluster, capture_output=True, text=True, timeout=120)
    assert failed.returncode == 1
    lines = failed.stderr.strip().splitlines()
    assert any(line.startswith("The sweep ended early. Repeat the command to resume.") for line in lines)
    assert "Traceback" not in failed.stderr
