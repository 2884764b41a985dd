"""Workers of one machine take GPUs that no other has."""

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
print(os.environ.get(gpus.VISIBLE), flush=True)
sys.stdin.read()
"""


def worker(folder: Path, seen: str, count: int) -> subprocess.Popen[str]:
    environment = {**os.environ, gpus.VISIBLE: seen, "XDG_RUNTIME_DIR": str(folder)}
    command = [sys.executable, "-c", WORKER, str(count)]
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def told(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_each_worker_has_its_own_until_it_ends(tmp_path: Path) -> None:
    first, second = (worker(tmp_path, "0,1,2", 1) for _ in range(2))
    assert {told(first), told(second)} < {"0", "1", "2"}
    third = worker(tmp_path, "0,1,2", 1)
    taken = told(third)
    third.kill()  # its locks go with it
    third.wait()
    fourth = worker(tmp_path, "0,1,2", 1)
    assert told(fourth) == taken
    for process in (first, second, fourth):
        process.communicate()


def test_two_gpus_for_one_run_and_more_workers_than_gpus(tmp_path: Path) -> None:
    first = worker(tmp_path, "4,5", 2)
    assert told(first) == "4,5"
    second = worker(tmp_path, "4,5", 1)
    assert told(second) in ("4", "5")
    for process in (first, second):
        process.communicate()


def test_no_gpu_is_no_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    for nothing in ("", "-1"):
        monkeypatch.setenv(gpus.VISIBLE, nothing)
        gpus.claim_gpus(1)
        assert os.environ[gpus.VISIBLE] == nothing
