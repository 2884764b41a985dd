"""The command line in forks of a server that has imported everything: a command then takes one second, not five.

A fork is a process of its own, with a command's signals, exit codes, files and output. Tests of the start itself, and
of several processes that train together, start a new Python instead.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn
from unittest.mock import patch

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(
    [
        "simclr_med.cli.session",
        *(f"simclr_med.stages.{stage}" for stage in ("pretrain", "supervised", "probe", "test")),
        *("simclr_med.plots.training", "simclr_med.stages.classifier", "simclr_med.stages.scoring"),
    ]
)
# A fork has none of its parent's other threads. The folders of the first test may be gone when the next one forks: the
# server must not know them.
_OF_SERVER = {**os.environ, "OMP_NUM_THREADS": "1"}


class Forked:
    """A running command, with the methods of `subprocess.Popen` that tests use.

    Args:
        words: flags and overrides.
        cwd: working folder; None for this process's.
        environment: all its variables; None for those of this process.
    """

    def __init__(self, words: Sequence[str], cwd: Path | None = None, environment: Mapping[str, str] | None = None):
        self.args = list(map(str, words))
        self._output = Path(tempfile.mkdtemp(prefix="forked-"))
        weakref.finalize(self, shutil.rmtree, self._output, ignore_errors=True)
        variables = dict(os.environ if environment is None else environment)
        arguments = (self.args, str(cwd or Path.cwd()), variables, str(self._output))
        self._process = _SERVER.Process(target=_become, args=arguments)
        with patch.dict(os.environ, _OF_SERVER, clear=True):
            self._process.start()

    @property
    def returncode(self) -> int | None:
        return self.poll()

    def poll(self) -> int | None:
        """Return the exit code, minus the signal's number if a signal ended the command; None while it runs."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        pid = self._process.pid
        if pid is not None and self.poll() is None:
            os.kill(pid, number)

    def wait(self, timeout: float = 300) -> int:
        self._process.join(timeout)
        code = self.poll()
        if code is None:
            self._process.kill()
            raise subprocess.TimeoutExpired(self.args, timeout)
        return code

    def communicate(self, timeout: float = 300) -> tuple[str, str]:
        """Wait for the command and return what it wrote to stdout and to stderr."""
        self.wait(timeout)
        out, err = ((self._output / name).read_text(encoding="utf-8") for name in ("out", "err"))
        return out, err


def run(
    words: Sequence[str], cwd: Path | None = None, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    command = Forked(words, cwd, environment)
    out, err = command.communicate()
    return subprocess.CompletedProcess(command.args, command.wait(), out, err)


def _become(words: list[str], cwd: str, environment: dict[str, str], output: str) -> NoReturn:
    """Turn the fork into the command."""
    for number, name in enumerate(("out", "err"), 1):
        os.dup2(os.open(Path(output, name), os.O_WRONLY | os.O_CREAT), number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", encoding="utf-8", closefd=False) for number in (1, 2))
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.argv[:] = ["simclr-med", *words]
    from simclr_med.cli.entry import main

    main()
    raise AssertionError("a command ends with its exit code")
