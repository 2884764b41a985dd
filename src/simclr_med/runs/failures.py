"""How a run fails: the file failure.json, and the words for the user."""

from __future__ import annotations

import errno
import sys
import traceback
from pathlib import Path
from typing import Any

from simclr_med.atomic import write_json
from simclr_med.errors import RunError, UserError, write_advice


def write_failure(folder: Path, error: BaseException, config: Any) -> None:
    """Write failure.json; if that fails too, print one line instead.

    Args:
        folder: of the run.
        error: that ended it.
        config: of the run, as plain values.
    """
    content = {
        "message": str(error) or type(error).__name__,
        "traceback": "".join(traceback.format_exception(error)),
        "config": config,
    }
    try:
        write_json(folder / "failure.json", content)
    except OSError as disk_error:  # often the disk itself made the run fail, and the user knows already
        if not isinstance(error, (UserError, OSError)):
            print(f"{disk_error.filename}: could not be written ({disk_error.strerror}).", file=sys.stderr)


def reword_error(error: BaseException, folder: Path) -> RunError | None:
    """Return the error that the user reads instead of this one; None if its own words say enough.

    Args:
        error: that ended the run; one of another training process has its traceback as text.
        folder: of the run.
    """
    if isinstance(error, OSError) and _is_write_error(error, folder):
        return RunError(
            f"{error.filename or folder}: could not be written ({error.strerror}). Earlier "
            f"checkpoints are kept. {write_advice(error)}, then repeat the command to resume."
        )
    if "Traceback (most recent call last)" in str(error):
        kind, _, message = str(error).strip().splitlines()[-1].partition(": ")
        if not kind.startswith("simclr_med.errors."):
            message = f"{kind}: {message} (traceback in {folder / 'failure.json'})"
        return RunError(message)
    return None


def _is_write_error(error: OSError, folder: Path) -> bool:
    """Return whether an error is about writing into a run's folder; a failed write may name no file."""
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
    return is_full or (isinstance(error.filename, str) and folder in Path(error.filename).absolute().parents)
