"""Another command of this program as a child process: a fork of this process where that is safe, else a new Python.

A fork starts with all imports of this process. Like a new Python, it can be killed without ending this process.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from tempfile import TemporaryFile
from typing import IO, Any, NoReturn, Protocol

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from simclr_med.cli.main import run_command
from simclr_med.runs.gpus import visible_gpus
from simclr_med.runs.signals import STEP, block_signals, reset_signals

ENDING_S = 15.0  # seconds that a terminated command has to save a checkpoint


class CommandProcess(Protocol):
    """A command that runs as a child process, with the methods of `subprocess.Popen`."""

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code; minus the signal's number if a signal ended the command.

        Args:
            timeout: seconds to wait; None waits until the command ends.

        Raises:
            subprocess.TimeoutExpired: the command still runs after this time.
        """

    def terminate(self) -> None:
        """Send SIGTERM."""

    def kill(self) -> None:
        """Send SIGKILL."""


class ForkedCommand:
    """A command in a fork of this process.

    Args:
        argv: flags and overrides.
        output: files for stdout and stderr; None inherits those of this process.
    """

    def __init__(self, argv: Sequence[str], output: tuple[IO[Any], IO[Any]] | None = None) -> None:
        self._argv = tuple(argv)
        self._process = multiprocessing.get_context("fork").Process(target=_run, args=(self._argv, output))
        with block_signals():  # the fork has the parent's handlers until it calls reset_signals
            self._process.start()

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(self._argv, timeout or 0.0)
        return self._process.exitcode

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()


def call_command(argv: Sequence[str], output: tuple[IO[Any], IO[Any]] | None = None) -> int:
    """Run a command of this program and return its exit code; an interrupt of this process also ends the command.

    Args:
        argv: flags and overrides.
        output: files for stdout and stderr; None inherits those of this process.
    """
    process = _start(argv, output)
    try:
        return process.wait()
    except BaseException:
        process.terminate()
        try:
            process.wait(ENDING_S)
        except subprocess.TimeoutExpired:
            process.kill()
        raise


def capture_command(argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a command of this program and return its exit code, stdout and stderr.

    Args:
        argv: flags and overrides.
    """
    with TemporaryFile() as out, TemporaryFile() as err:
        code = call_command(argv, (out, err))
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode("utf-8"))
    return subprocess.CompletedProcess(argv, code, *texts)


def _start(argv: Sequence[str], output: tuple[IO[Any], IO[Any]] | None) -> CommandProcess:
    if _can_fork():
        return ForkedCommand(argv, output)
    stdout, stderr = output or (None, None)
    environment = {**os.environ, STEP: "1"}
    return subprocess.Popen([sys.executable, "-m", "simclr_med", *argv], stdout=stdout, stderr=stderr, env=environment)


def _can_fork() -> bool:
    """Whether a fork of this process can compute.

    A fork has only the thread that calls it. If OpenMP used other threads before, for example in an earlier job of a
    sweep, it waits for them forever. Libraries of macOS do not support forks, and neither do drivers of GPUs.
    """
    runs_one_job = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.RUN
    return sys.platform == "linux" and runs_one_job and threading.active_count() == 1 and not visible_gpus()


def _run(argv: Sequence[str], output: tuple[IO[Any], IO[Any]] | None) -> NoReturn:
    """Run a command in a fork and exit with its code."""
    if output is not None:
        for number, file in enumerate(output, 1):
            os.dup2(file.fileno(), number)
        sys.stdout, sys.stderr = (
            os.fdopen(number, "w", encoding="utf-8", errors="backslashreplace", closefd=False) for number in (1, 2)
        )
    os.environ[STEP] = "1"
    reset_signals()
    sys.exit(run_command(argv))
