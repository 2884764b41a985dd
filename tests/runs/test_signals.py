"""A signal stops a run at once, with all its child processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time

import pytest

from simclr_med.runs.signals import terminate_on_signal


def test_sigterm_raises_system_exit_at_once() -> None:
    before = signal.getsignal(signal.SIGTERM)
    began = time.monotonic()
    soon = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM))
    with pytest.raises(SystemExit) as stop, terminate_on_signal() as received:
        _wait(soon)
    assert stop.value.code == 143
    assert received.number == signal.SIGTERM
    assert time.monotonic() - began < 10
    assert signal.getsignal(signal.SIGTERM) == before


def test_ctrl_c_is_recorded_and_the_handler_is_restored() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), terminate_on_signal() as received:
            _wait(threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)))
        assert received.number == signal.SIGINT
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def _wait(soon: threading.Timer) -> None:
    soon.start()
    time.sleep(20)


def test_child_processes_are_killed_on_an_error() -> None:
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    child.start()
    with pytest.raises(KeyboardInterrupt), terminate_on_signal():
        raise KeyboardInterrupt
    child.join(10)
    assert child.exitcode == -signal.SIGKILL


def test_child_processes_of_a_successful_run_continue() -> None:
    with terminate_on_signal():
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(0.5,))
        child.start()
    child.join(10)
    assert child.exitcode == 0


def test_other_threads_may_open_runs() -> None:
    seen: list[bool] = []

    def inside() -> None:
        with terminate_on_signal():
            seen.append(True)

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join(10)
    assert seen == [True]
