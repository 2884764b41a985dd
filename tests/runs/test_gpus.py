"""Workers on one machine claim different GPUs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from simclr_med.runs import gpus

WORKER = """
import os, sys
from simclr_med.runs import gpus
gpus.claim_gpus(int(sys.argv[1]))
first = os.environ.get(gpus.VISIBLE)
gpus.claim_gpus(int(sys.argv[1]))
assert os.environ.get(gpus.VISIBLE) == first
print(os.environ.get(gpus.VISIBLE), flush=True)
sys.stdin.read()
"""


def worker(folder: Path, visible: str, count: int) -> subprocess.Popen[str]:
    environment = {**os.environ, gpus.VISIBLE: visible, "XDG_RUNTIME_DIR": str(folder)}
    command = [sys.executable, "-c", WORKER, str(count)]
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def claimed(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_each_worker_holds_its_gpu_until_it_ends(tmp_path: Path) -> None:
    first, second = (worker(tmp_path, "0,1,2", 1) for _ in range(2))
    assert {claimed(first), claimed(second)} < {"0", "1", "2"}
    third = worker(tmp_path, "0,1,2", 1)
    third_gpu = claimed(third)
    third.kill()  # its locks go with it
    third.wait()
    fourth = worker(tmp_path, "0,1,2", 1)
    assert claimed(fourth) == third_gpu
    for process in (first, second, fourth):
        process.communicate()


def test_workers_share_gpus_when_there_are_too_few(tmp_path: Path) -> None:
    first = worker(tmp_path, "4,5", 2)
    assert claimed(first) == "4,5"
    second = worker(tmp_path, "4,5", 1)
    assert claimed(second) in ("4", "5")
    for process in (first, second):
        process.communicate()


def test_nothing_is_claimed_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("", "-1"):
        monkeypatch.setenv(gpus.VISIBLE, value)
        gpus.claim_gpus(1)
        assert os.environ[gpus.VISIBLE] == value
