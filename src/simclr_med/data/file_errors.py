"""The message for a file that cannot be opened or read."""

from __future__ import annotations

import errno
from pathlib import Path

from simclr_med.errors import DataError


def describe_read_error(file: Path, error: OSError) -> DataError:
    """Return the error that names the file, the reason and the remedy in one sentence each."""
    if isinstance(error, FileNotFoundError):
        return DataError(f"{file}: file not found. Check the path.")
    if isinstance(error, IsADirectoryError):
        return DataError(f"{file}: expected a file, found a folder. Check the path, or use dataset=folder.")
    if error.errno == errno.EINVAL:  # of `safe_files`
        return DataError(f"{file}: expected a regular file, found a pipe, socket or device. Check the path.")
    if error.errno == errno.EFBIG:  # of `safe_files`
        return DataError(f"{file}: {error.strerror}, too large for this kind of file. Replace or remove it.")
    return DataError(f"{file}: cannot be read ({error.strerror}). Check the path and its permissions.")
