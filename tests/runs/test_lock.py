"""A lock whose file was removed is lost, and this is noticed."""

from __future__ import annotations

import multiprocessing
import shutil
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from simclr_med.errors import RunError
from simclr_med.runs.lock import hold_lock


def test_removed_lock_file_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / ".locks" / "a.lock"
    with hold_lock(path, tmp_path) as lock:
        lock.check()
        shutil.rmtree(path.parent)
        assert not lock.is_held()
        with pytest.raises(RunError, match="was removed during the run") as error:
            lock.check()
    assert len(error.value.problems) == 1


def test_process_that_lost_its_lock_leaves_the_new_one_alone(tmp_path: Path) -> None:
    path = tmp_path / ".locks" / "a.lock"
    with ExitStack() as old:
        first = old.enter_context(hold_lock(path, tmp_path))
        shutil.rmtree(path.parent)
        with hold_lock(path, tmp_path, wait=False) as second:
            old.close()
            assert not first.is_held()
            assert second.is_held()
            assert path.with_suffix(".owner").exists()


def wait_for_lock(path: Path, folder: Path) -> None:
    with hold_lock(path, folder):
        (folder / "entered").touch()


def test_waiting_process_survives_the_removal(tmp_path: Path, capfd) -> None:
    path = tmp_path / ".locks" / "a.lock"
    with hold_lock(path, tmp_path):
        waiting = multiprocessing.get_context("fork").Process(target=wait_for_lock, args=(path, tmp_path))
        waiting.start()
        deadline = time.monotonic() + 20
        said = ""
        while "Waiting for" not in said and time.monotonic() < deadline:
            said += capfd.readouterr().out
            time.sleep(0.02)
        shutil.rmtree(path.parent)
        waiting.join(20)
        assert waiting.exitcode == 0
        assert (tmp_path / "entered").exists()
