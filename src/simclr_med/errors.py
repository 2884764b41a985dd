"""The errors that a user sees, each a list of one-line problems. A leaf."""

from __future__ import annotations


class UserError(Exception):
    """Something that the user can mend: printed one line a problem, never with a traceback.

    Args:
        problems: one sentence each, in the form ``<key>=<value>: must be <rule>. <remedy>.``
    """

    exit_code = 1

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems

    def __reduce__(self) -> tuple[type[UserError], tuple[str, ...]]:
        return type(self), self.problems


class ConfigError(UserError):
    """A bad command line or YAML; found before anything is read or written."""

    exit_code = 2


class DataError(UserError):
    """A data file that is missing, damaged or not of the layout asked for."""


class CheckpointError(UserError):
    """Weights that are damaged, unsafe, or of another network."""


class RunError(UserError):
    """A run that cannot be found, opened, written or finished."""


class BusyError(RunError):
    """Another process does this run just now."""


class MissingEncoderError(RunError):
    """No finished pretraining run fits what a run wants to start from."""
