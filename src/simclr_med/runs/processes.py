"""One command in several processes: the process of rank 0 runs the command, the others take part in its trainings.

Rank 0 alone composes the config, opens runs and writes files. It hands each training to the others as a pickled file in
the run's folder, like the multiprocessing module to a spawned process. All other messages go through torch's store.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, Protocol

from simclr_med.atomic import write_bytes
from simclr_med.errors import RunError, UserError
from simclr_med.runs.connection import POLL_S, open_store, process_group, wait_for_key
from simclr_med.runs.launch import Launch
from simclr_med.runs.signals import exit_at_once
from simclr_med.safe_files import open_regular

READ_S = 1800.0  # seconds that the other processes may need to read the data
ANSWER_S = 10.0  # seconds that a process may need to say how its training ended, once the connection is closed
END_S = 60.0  # seconds that the others may need to read the exit code; they may still import Lightning
VISIBLE_S = 30.0  # seconds until the other nodes see a new file; NFS caches the content of folders


class Training(Protocol):
    """A training that every process builds from the same pickled object."""

    @property
    def backend(self) -> str:
        """The library of torch.distributed that connects the processes."""

    def prepare(self) -> None:
        """Read the data, before the processes connect."""

    def train(self, launch: Launch | None) -> Any:
        """Train together with the other processes."""


class FirstProcess:
    """The process of rank 0: it hands trainings to the other processes and takes part in them.

    Args:
        launch: of this command.
    """

    def __init__(self, launch: Launch) -> None:
        self.launch = launch
        self._store = open_store(launch)
        self._messages = count()
        self._lost: RunError | None = None

    def train(self, training: Training, folder: Path, own: Callable[[], None]) -> None:
        """Train together with the other processes.

        Args:
            training: for the other processes.
            folder: of the run, which the other processes must see.
            own: this process's part in the training.

        Raises:
            RunError: another process ended, or reported an error.
        """
        if self._lost is not None:
            raise self._lost
        number = next(self._messages)
        content = pickle.dumps(training)
        path = folder / f".training.{number}.tmp"
        write_bytes(path, content)
        try:
            message = {"path": str(path), "sha256": hashlib.sha256(content).hexdigest()}
            self._store.set(f"{number}", json.dumps(message))
            problems = self._collect(f"{number}/ready", READ_S)
            self._store.set(f"{number}/start", json.dumps(not problems))
        finally:
            path.unlink(missing_ok=True)
        if problems:
            raise RunError(problems[0]["text"])
        try:
            with process_group(self._store, self.launch, number, training.backend):
                own()
        except Exception as error:
            raise self._first_cause(number, error) from error

    def end(self, status: int) -> None:
        """Make the other processes exit with this command's exit code."""
        with suppress(RuntimeError, RunError):  # another process has ended already
            self._store.set(f"{next(self._messages)}", json.dumps({"status": status}))
            self._collect("ended", END_S if self._lost is None else POLL_S)

    def _first_cause(self, number: int, error: Exception) -> Exception:
        """Return the error to report: a user's error of any process, else the error of this one."""
        if isinstance(error, UserError):
            return error
        problems = self._collect(f"{number}/done", ANSWER_S)
        by_user = [problem["text"] for problem in problems if problem["is_user_error"]]
        return RunError(by_user[0]) if by_user else error

    def _collect(self, name: str, most_s: float) -> list[dict[str, Any]]:
        """Wait for an answer of each other process and return the problems among them.

        Raises:
            RunError: a process did not answer in time.
        """
        until = time.monotonic() + most_s
        problems = []
        for rank in range(1, self.launch.processes):
            if not wait_for_key(self._store, f"{name}/{rank}", until):
                self._lost = RunError(
                    f"{self.launch.launcher}: process {rank} of {self.launch.processes} ended during the run or does "
                    "not answer. Read its output, then repeat the command to resume."
                )
                raise self._lost
            answer = json.loads(self._store.get(f"{name}/{rank}"))
            problems += [answer] if answer else []
        return problems


def follow(launch: Launch) -> int:
    """Take part in the trainings of the process of rank 0 until its command ends, and return its exit code."""
    exit_at_once(signal.SIGTERM)
    exit_at_once(signal.SIGHUP)
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # else torch warns of a lost connection, in 20 lines
    try:
        store = open_store(launch)
        import lightning.pytorch  # noqa: F401  # takes seconds, during which rank 0 opens the run

        for number in count():
            wait_for_key(store, f"{number}")
            message = json.loads(store.get(f"{number}"))
            if "status" in message:
                store.set(f"ended/{launch.rank}", "null")
                return int(message["status"])
            _take_part(store, launch, number, Path(message["path"]), message["sha256"])
    except (RuntimeError, RunError):  # the process of rank 0 was killed, or reports the error itself
        return RunError.exit_code
    raise AssertionError("unreachable")


def _take_part(store: Any, launch: Launch, number: int, path: Path, sha256: str) -> None:
    """Build a training, say that it is ready, train, and say how it ended."""
    ready, done = f"{number}/ready/{launch.rank}", f"{number}/done/{launch.rank}"
    try:
        training = _read_training(path, sha256)
        training.prepare()
    except Exception as error:
        store.set(ready, _describe(error, launch))
        return
    store.set(ready, "null")
    wait_for_key(store, f"{number}/start")
    if not json.loads(store.get(f"{number}/start")):
        return
    try:
        with process_group(store, launch, number, training.backend):
            training.train(launch)
        store.set(done, "null")
    except Exception as error:
        store.set(done, _describe(error, launch))


def _read_training(path: Path, sha256: str) -> Training:
    """Read the file that the process of rank 0 wrote; its hash came through the store.

    Raises:
        RunError: this process does not see the file, because the folder is not on a shared disk.
    """
    until = time.monotonic() + VISIBLE_S
    while True:
        with suppress(OSError), open_regular(path) as file:
            content = file.read()
            if hashlib.sha256(content).hexdigest() == sha256:
                return pickle.loads(content)  # type: ignore[no-any-return]  # nosec B301: of the same command
        if time.monotonic() > until:
            raise RunError(
                f"paths.runs: the folder {path.parent} is not the same on all nodes. Choose a folder on a shared disk."
            )
        time.sleep(POLL_S)


def _describe(error: Exception, launch: Launch) -> str:
    """Return an error as a message to the process of rank 0."""
    is_user_error = isinstance(error, UserError)
    text = error.problems[0] if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    where = f"process {launch.rank} on {socket.gethostname()}"
    return json.dumps({"is_user_error": is_user_error, "text": f"{text} ({where})"})
