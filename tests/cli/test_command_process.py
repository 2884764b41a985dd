"""A command as a child process has the output, the exit code and the signals of a new Python, also as a fork."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from tempfile import TemporaryFile
from typing import Any, NoReturn

import pytest

from simclr_med.cli import command_process
from simclr_med.cli.command_process import ForkedCommand, call_command, capture_command
from simclr_med.runs.signals import terminate_on_signal

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks only on Linux")
WRONG = ("stage=pretrain", "stage.epochs=0")


@pytest.fixture
def forks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_process, "_can_fork", lambda: True)


def calls(monkeypatch: pytest.MonkeyPatch, function: Any) -> None:
    """Let a forked command call a function instead."""
    monkeypatch.setattr(command_process, "run_command", function)


@pytest.mark.parametrize("can_fork", [True, False])
def test_output_and_exit_code_are_those_of_the_command(can_fork: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_process, "_can_fork", lambda: can_fork)
    argv, handlers = list(sys.argv), signal.getsignal(signal.SIGTERM)
    done = capture_command(WRONG)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("stage.epochs=0: expected an integer >= 1")
    assert (sys.argv, signal.getsignal(signal.SIGTERM)) == (argv, handlers)


def test_a_process_with_threads_or_without_a_single_job_does_not_fork() -> None:
    assert not command_process._can_fork()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_fork_alone(forks: None, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    calls(monkeypatch, lambda argv: os.kill(os.getpid(), number))
    with terminate_on_signal() as stop:
        assert call_command(()) == -number
    assert stop.number is None


def test_ctrl_c_ends_the_fork_without_a_traceback(forks: None, monkeypatch: pytest.MonkeyPatch) -> None:
    calls(monkeypatch, lambda argv: os.kill(os.getpid(), signal.SIGINT))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        done = capture_command(())
    finally:
        signal.signal(signal.SIGINT, before)
    assert (done.returncode, done.stderr) == (130, "")


def test_ignored_signals_stay_ignored(forks: None, monkeypatch: pytest.MonkeyPatch) -> None:
    calls(monkeypatch, lambda argv: os.kill(os.getpid(), signal.SIGHUP) or 7)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert call_command(()) == 7
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_command_is_terminated_with_this_process(forks: None, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[ForkedCommand] = []

    def interrupted(self: ForkedCommand, timeout: float | None = None) -> int:
        if not started:
            started.append(self)
            raise KeyboardInterrupt
        return wait(self, timeout)

    wait = ForkedCommand.wait
    monkeypatch.setattr(ForkedCommand, "wait", interrupted)
    calls(monkeypatch, lambda argv: signal.pause())
    with pytest.raises(KeyboardInterrupt):
        call_command(())
    assert wait(started[0]) == -signal.SIGTERM


def test_a_command_that_does_not_end_in_time_is_still_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(argv: Any) -> NoReturn:
        signal.pause()
        raise AssertionError

    calls(monkeypatch, never)
    with TemporaryFile() as file:
        process = ForkedCommand((), (file, file))
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.05)
        process.kill()
        assert process.wait() == -signal.SIGKILL
