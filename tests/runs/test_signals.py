"""A signal stops a run at once, with all its child processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
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


def test_hangup_stops_as_sigterm_does() -> None:
    with pytest.raises(SystemExit) as stop, terminate_on_signal():
        _wait(threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGHUP)))
    assert stop.value.code == 129
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL


def test_ignored_hangup_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with terminate_on_signal() as received:
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        assert received.number is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_later_sigterm_does_not_disturb_the_end() -> None:
    ended: list[bool] = []

    def stop_twice() -> None:
        try:
            signal.raise_signal(signal.SIGHUP)
        finally:
            signal.raise_signal(signal.SIGTERM)
            ended.append(True)

    with pytest.raises(SystemExit), terminate_on_signal():
        stop_twice()
    assert ended == [True]


class Dropping:
    """Its end receives a signal, whose exception Python drops there."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGTERM)


def drop_a_stop() -> None:
    Dropping()
    time.sleep(20)


def test_stop_that_python_dropped_is_raised_again() -> None:
    began = time.monotonic()
    with pytest.raises(SystemExit) as stop, terminate_on_signal():
        drop_a_stop()
    assert stop.value.code == 143
    assert time.monotonic() - began < 10


INTERRUPTED = """
import os, signal, time
from simclr_med.runs.signals import exit_on_interrupt, terminate_on_signal
signal.signal(signal.SIGINT, signal.default_int_handler)
exit_on_interrupt()
def press():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(20)
"""
RUNNING = """
try:
    with terminate_on_signal():
        try:
            press()
        finally:
            press()
except KeyboardInterrupt:
    press()
"""
IMPORTING = """
with terminate_on_signal() as stop, stop.at_once():
    try:
        press()
    except BaseException:
        time.sleep(20)
"""


@pytest.mark.parametrize("code", ["press()", RUNNING, IMPORTING], ids=["outside", "twice in a run", "importing"])
def test_ctrl_c_leaves_no_traceback(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED + code], capture_output=True, text=True, timeout=15)
    assert (done.returncode, done.stderr) == (130, "")
