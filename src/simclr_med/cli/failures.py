"""The wording of errors that a run or a sweep raises, and their output on the terminal."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.errors import HydraException, InstantiationException
from omegaconf.errors import OmegaConfBaseException

from simclr_med.errors import ConfigError, UserError
from simclr_med.runs.sweep import RunOutcome

MOST_SHOWN = 200  # characters of a path in a message
LONGEST = 2_000  # characters of a message; a value of any length may be a part of it


class ProblemPrinter:
    """Prints errors to stderr, one line per problem. The jobs of a sweep share config errors: those print once."""

    def __init__(self) -> None:
        self._printed: set[str] = set()

    def report(self, error: Exception) -> RunOutcome:
        """Print an error and return it as the outcome of a failed run."""
        problems, status = describe_error(error)
        for problem in problems:
            if status != ConfigError.exit_code or problem not in self._printed:
                print(problem, file=sys.stderr, flush=True)
            self._printed.add(problem)
        return RunOutcome("failed", status, "\n".join(problems))


def describe_error(error: Exception) -> tuple[list[str], int]:
    """Return the problems of an error, one line each, and the exit code."""
    if isinstance(error, InstantiationException) and isinstance(error.__cause__, OSError):
        error = error.__cause__
    if isinstance(error, UserError):
        problems, status = error.problems, error.exit_code
    elif isinstance(error, (HydraException, OmegaConfBaseException)):
        problems, status = (describe_unexpected(error),), ConfigError.exit_code
    elif isinstance(error, OSError) and error.filename is not None:
        place = str(error.filename)
        shown = place if len(place) <= MOST_SHOWN else f"{place[:MOST_SHOWN]}..."
        problems, status = (f"{shown}: {error.strerror or error}. Check the path.",), UserError.exit_code
    else:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(frame.filename).name}, line {frame.lineno}"
        problems = (f"{describe_unexpected(error)} ({place}). This is a bug. Please report it with the command.",)
        status = 1
    return list(map(as_line, problems)), status


def as_line(problem: str) -> str:
    """Return a message as one line, without the middle of a long one."""
    line = " ".join(problem.splitlines()).strip()
    return line if len(line) <= LONGEST else f"{line[: LONGEST // 2]} ... {line[-LONGEST // 2 :]}"


def describe_unexpected(error: Exception, config: Mapping[str, Any] | None = None) -> str:
    """Return one line for an error that is not a UserError.

    Args:
        error: of a library, or a bug.
        config: of the run, as plain values, whose keys may be a part of the remedy; None names the keys of pretraining.
    """
    if isinstance(error, InstantiationException) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # the target's own error says more than Hydra's
    first = first_line(error)
    if isinstance(error, MemoryError) or "out of memory" in first or "can't allocate memory" in first:
        return f"Out of memory ({first}). {_save_memory(config)}"
    return f"{type(error).__name__}: {first}"


def _save_memory(config: Mapping[str, Any] | None) -> str:
    """Return what needs less memory, by the keys that the run has."""

    def is_used(key: str) -> bool:
        group, _, name = key.partition(".")
        return config is None or name in config[group]

    lower = " or ".join(filter(is_used, ("stage.batch_size", "dataset.size")))
    if not lower:
        return "Use a machine with more."
    return f"Lower {lower}{', or raise stage.accumulate' * is_used('stage.accumulate')}."


def first_line(error: object) -> str:
    """Return the first line of an error's message, or its class name if it has no message."""
    lines = str(error).replace(", set env var HYDRA_FULL_ERROR=1 to see chained exception", "").strip().splitlines()
    return lines[0].rstrip(":") if lines else type(error).__name__
