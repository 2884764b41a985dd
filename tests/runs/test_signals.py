"""A run that is told to stop stops at once, with all its processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time

import pytest

from simclr_med.runs.signals import terminate_on_signal


def test_sigterm_leaves_from_the_middle_of_anything() -> None:
    before = signal.getsignal(signal.SIGTERM)
    began = time.monotonic()
    soon = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM))
    with pytest.raises(SystemExit) as stop, terminate_on_signal():
        _wait(soon)
    assert stop.value.code == 143
    assert time.monotonic() - began < 10
    assert signal.getsignal(signal.SIGTERM) == before


def _wait(soon: threading.Timer) -> None:
    soon.start()
    time.sleep(20)


def test_children_do_not_outlive_it() -> None:
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    child.start()
    with pytest.raises(KeyboardInterrupt), terminate_on_signal():
        raise KeyboardInterrupt
    child.join(10)
    assert child.exitcode == -signal.SIGKILL


def test_children_of_a_run_that_ends_well_go_on() -> None:
    with terminate_on_signal():
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(0.5,))
        child.start()
    child.join(10)
    assert child.exitcode == 0


def test_another_thread_may_open_runs() -> None:
    seen: list[bool] = []

    def inside() -> None:
        with terminate_on_signal():
            seen.append(True)

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join(10)
    assert seen == [True]
