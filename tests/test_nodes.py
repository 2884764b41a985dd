"""A command in two processes, each of them a node, which a launcher started on the loopback address."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import forked_commands
import pytest

from simclr_med.metrics_csv import read_rows
from simclr_med.training.simclr import METRICS

pytestmark = pytest.mark.process
PRETRAIN = ("stage=pretrain", "encoder=tiny", "stage.batch_size=16", "logger=none", "trainer=cpu", "trainer.threads=1")
NODES = 2


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def start(*words: str, folders: tuple[Path, ...] = ()) -> list[subprocess.Popen[str]]:
    """Start one process a node, with the variables that torchrun sets; rank 0 serves the store."""
    port = free_port()
    started = []
    for rank in range(NODES):
        variables = {"RANK": rank, "WORLD_SIZE": NODES, "LOCAL_WORLD_SIZE": 1, "LOCAL_RANK": 0, "GROUP_RANK": rank}
        environment = {
            **os.environ,
            **{name: str(value) for name, value in variables.items()},
            "TORCHELASTIC_RUN_ID": "none",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, "-m", "simclr_med", *words]
        folder = folders[rank] if folders else None
        started.append(
            subprocess.Popen(
                command, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        )
    return started


def end(processes: list[subprocess.Popen[str]]) -> tuple[list[int], list[str], list[str]]:
    """Wait for all processes and return their exit codes, and what each wrote to stdout and to stderr."""
    written = [process.communicate(timeout=180) for process in processes]
    return [process.returncode for process in processes], [out for out, _ in written], [err for _, err in written]


def table(runs: Path) -> Path:
    return next(iter(runs.glob("pretrain/*/*/metrics.csv")), runs / "missing")


def wait_for_epochs(runs: Path, epochs: int) -> None:
    deadline = time.monotonic() + 120
    while not (table(runs).exists() and len(read_rows(table(runs))) >= epochs):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_two_agents_of_torchrun_equal_one_process(cells: Path, tmp_path: Path) -> None:
    words = (*PRETRAIN, "dataset=npz", f"dataset.path={cells}", "stage.epochs=3", "trainer.precision=64-true")
    words = (*words, "stage.monitor_every=1")
    port, environment = free_port(), {**os.environ, "OMP_NUM_THREADS": "1"}
    agent = (sys.executable, "-m", "torch.distributed.run", f"--nnodes={NODES}", "--nproc-per-node=1")
    agents = [
        subprocess.Popen(
            [
                *(*agent, f"--node-rank={rank}", "--master-addr=127.0.0.1", f"--master-port={port}"),
                *("-m", "simclr_med", *words, f"paths.runs={tmp_path / 'two'}", "trainer.nodes=2"),
            ],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(NODES)
    ]
    codes, printed, errors = end(agents)
    assert codes == [0, 0], errors
    assert sum("Pretraining on cells" in text for text in printed) == 1
    assert forked_commands.run([*words, f"paths.runs={tmp_path / 'one'}"]).returncode == 0
    single, double = read_rows(table(tmp_path / "one")), read_rows(table(tmp_path / "two"))
    assert len(single) == len(double) == 3
    for a, b in zip(single, double, strict=True):
        for name in set(METRICS) - {"train/images_per_s"}:
            assert float(a[name]) == pytest.approx(float(b[name]), abs=1e-4), name
    assert table(tmp_path / "one").parent.name == table(tmp_path / "two").parent.name


def test_killed_node_ends_the_other_and_the_run_resumes(cells: Path, tmp_path: Path) -> None:
    line = (*PRETRAIN, "dataset=npz", f"dataset.path={cells}", "stage.epochs=20", "stage.monitor_every=10")
    line = (*line, "stage.checkpoint_every_s=0", "trainer.nodes=2")
    assert end(start(*line, f"paths.runs={tmp_path / 'whole'}"))[0] == [0, 0]
    runs = tmp_path / "killed"
    words = (*line, f"paths.runs={runs}")
    for epochs, rank, number, codes in ((2, 1, signal.SIGKILL, [1, -9]), (6, 0, signal.SIGTERM, [143, 143])):
        processes = start(*words)
        wait_for_epochs(runs, epochs)
        processes[rank].send_signal(number)
        found, _, errors = end(processes)
        assert found == codes, errors
        assert len(errors[0].splitlines()) == 1, errors
        assert errors[1] == ""
    codes, printed, errors = end(start(*words))
    assert codes == [0, 0], errors
    assert "resuming from epoch" in printed[0]
    assert printed[1] == ""
    whole, killed = table(tmp_path / "whole").parent, table(runs).parent
    assert (whole / "encoder.safetensors").read_bytes() == (killed / "encoder.safetensors").read_bytes()
    codes, printed, _ = end(start(*words))
    assert codes == [0, 0]
    assert printed[0].startswith("Already finished, skipping")


def test_wrong_number_of_processes_and_other_data_are_one_line(cells: Path, tmp_path: Path) -> None:
    codes, _, errors = end(start(*PRETRAIN, "dataset=synthetic", "trainer.nodes=4", f"paths.runs={tmp_path}"))
    assert codes == [2, 2]
    assert errors[0].startswith("trainer.nodes=4 trainer.devices=1: expected 4 x 1 processes, 1 on each node; ")
    assert [len(text.splitlines()) for text in errors] == [1, 0]
    other = tmp_path / "other"
    other.mkdir()
    words = (*PRETRAIN, "dataset=npz", f"dataset.path={cells.name}", "trainer.nodes=2", f"paths.runs={tmp_path}")
    codes, _, errors = end(start(*words, folders=(cells.parent, other)))
    assert codes == [1, 1]
    assert "process 1 on" in errors[0]
    assert [len(text.splitlines()) for text in errors] == [1, 0]
