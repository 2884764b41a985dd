"""The errors that a user sees. Each holds problems of one line."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

# What to do about a file that cannot be written. Only a full disk or quota needs space.
_ADVICE = {
    errno.ENOSPC: "Free disk space",
    errno.EDQUOT: "Free disk space within your quota",
    errno.EROFS: "Make this disk writable",
    errno.EACCES: "Change the permissions",
    errno.EPERM: "Change the permissions",
    errno.EIO: "Check this disk",
    errno.EMFILE: "Raise the limit of open files (ulimit -n)",
}


def write_advice(error: OSError | None) -> str:
    """Return what to do about a failed write, as the start of a sentence; error is None if the reason is unknown."""
    return _ADVICE.get(0 if error is None else error.errno or 0, "Check the folder and its disk")


class UserError(Exception):
    """A problem that the user can solve. It is printed without a traceback, one line per problem.

    Args:
        problems: of the form ``<key>=<value>: <what is wrong>. <what to do>.``
    """

    exit_code = 1

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems

    def __reduce__(self) -> tuple[type[UserError], tuple[Any, ...]]:
        return type(self), self.problems


class ConfigError(UserError):
    """A mistake on the command line or in a YAML file, found before anything runs."""

    exit_code = 2


class DataError(UserError):
    """A data file is missing, damaged or has another layout."""


class CheckpointError(UserError):
    """Weights are damaged, unsafe to load, or of another network."""


class RunError(UserError):
    """A run cannot be found, opened, written or finished."""


class BusyError(RunError):
    """Another process is running this."""


class MissingTeacherError(RunError):
    """No finished run has the fields of a student's teacher."""


@dataclass(frozen=True)
class WantedEncoder:
    """The fields of the pretraining run that ``init=pretrained`` looks for.

    Attributes:
        dataset, augmentation, encoder, seed: of the run.
        size: of its images in pixels; None fits any.
        start: initial weights of the run: ``random``, ``imagenet``, ``timm``, ``checkpoint``, or the name of the
            data set that its encoder had been pretrained on before.
        model: of ``encoder=timm``; None for another encoder.
        head_layers: of the run's projection head; None fits any.
    """

    dataset: str
    augmentation: str
    encoder: str
    size: int | None
    seed: int
    start: str
    model: str | None = None
    head_layers: int | None = None

    def __str__(self) -> str:
        return " ".join(f"{key}={value}" for key, value in asdict(self).items() if value is not None)


class MissingEncoderError(RunError):
    """No finished pretraining run has the wanted fields.

    Args:
        wanted: the fields.
        runs: folder of all runs.
        candidates: folders of the finished pretraining runs on that data set.
    """

    def __init__(self, wanted: WantedEncoder, runs: Path, candidates: Sequence[Path] = ()) -> None:
        found = [f"  {folder}" for folder in candidates]
        super().__init__(
            f"init=pretrained: no finished pretraining run under {runs} has {wanted}.",
            *([f"Finished pretraining runs on {wanted.dataset}:", *found] if found else []),
        )
        self.wanted = wanted
        self.runs = runs
        self.candidates = tuple(candidates)

    def __reduce__(self) -> tuple[type[UserError], tuple[Any, ...]]:
        return type(self), (self.wanted, self.runs, self.candidates)
