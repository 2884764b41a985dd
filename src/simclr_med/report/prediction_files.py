"""The predictions.npz of a run: task, labels and probabilities of the test split, and of the validation images."""

from __future__ import annotations

import hashlib
import math
import os
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, cast, get_args

import numpy as np

from simclr_med.metrics.classification import infer_task
from simclr_med.runs.fields import describe_error
from simclr_med.runs.file_hashes import changed_message
from simclr_med.safe_files import MIB, open_regular
from simclr_med.types import Task

MOST_BYTES = 64 * MIB  # of the file: 100,000 images with 160 classes
MOST_ARRAYS = 16
ROUNDING = 1e-4  # by which a probability may exceed [0, 1]
# The last 22 bytes of a zip file without a comment: signature, disks, entries, size of the directory, offset, comment.
_END = struct.Struct("<4s4HLLH")
_LOCATOR = 20  # bytes before it, where a file beyond 4 GiB refers to a second directory


class _ChangedError(Exception):
    """The file is not the one that the run recorded."""


def read_predictions(path: Path, recorded: str | None = None) -> tuple[Task, np.ndarray, np.ndarray]:
    """Return the task, the labels int64 [N, L] and the probabilities [N, K]; both arrays are read-only.

    The task is inferred from the arrays where an older file does not hold it.

    Args:
        path: of the file.
        recorded: its hash in result.json; None where none is recorded.

    Raises:
        ValueError: the file is missing, damaged, changed since it was recorded, larger than `MOST_BYTES`, compressed,
            or holds other arrays or values.
    """
    arrays = _load_arrays(path, recorded, {"labels": "iu", "probabilities": "f"}, {"task": "U"})
    labels, probabilities = arrays["labels"], arrays["probabilities"]
    if problem := _find_problem(labels, probabilities):
        raise ValueError(f"{path}: {problem}.")
    if "task" not in arrays:
        return infer_task(labels, probabilities), labels, probabilities
    task = str(arrays["task"])
    if task not in get_args(Task):
        raise ValueError(f"{path}: unknown task {task[:60]!r}.")
    return cast(Task, task), labels, probabilities


def read_validated(path: Path, recorded: str | None = None) -> tuple[np.ndarray, np.ndarray] | None:
    """Return labels [M, L] and probabilities [M, K] of the validation images that chose the model.

    None where the run saved none: nothing was chosen, or an earlier version wrote the file.

    Args:
        path, recorded: as in `read_predictions`.

    Raises:
        ValueError: as `read_predictions`.
    """
    arrays = _load_arrays(path, recorded, {}, {"val_labels": "iu", "val_probabilities": "f"})
    if len(arrays) < 2:
        return None
    labels, probabilities = arrays["val_labels"], arrays["val_probabilities"]
    if problem := _find_problem(labels, probabilities):
        raise ValueError(f"{path}: val_labels and val_probabilities: {problem}.")
    return labels, probabilities


def _load_arrays(
    path: Path, recorded: str | None, needed: Mapping[str, str], optional: Mapping[str, str]
) -> dict[str, np.ndarray]:
    """Return arrays of a file by their names; both mappings are name -> kinds of numpy's types.

    Raises:
        ValueError: as `read_predictions`.
    """
    try:
        with open_regular(path, MOST_BYTES) as file:
            if recorded is not None and recorded != f"sha256:{hashlib.sha256(file.read()).hexdigest()}":
                raise _ChangedError
            _check_directory(file)
            with zipfile.ZipFile(file) as archive:
                members = set(archive.namelist())
                wanted = {**needed, **{name: kinds for name, kinds in optional.items() if f"{name}.npy" in members}}
                return {name: _read_array(archive, name, kinds) for name, kinds in wanted.items()}
    except _ChangedError:
        raise ValueError(changed_message(path)) from None
    except KeyError as error:
        raise ValueError(f"{path}: cannot read labels and probabilities ({error.args[0]}).") from error
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, NotImplementedError, RuntimeError, MemoryError) as error:
        raise ValueError(f"{path}: cannot read labels and probabilities ({describe_error(error)}).") from error


def _check_directory(file: BinaryIO) -> None:
    """Check that the directory at the end of a zip file is short, before it is read whole.

    Raises:
        ValueError: it is not.
    """
    size = file.seek(0, os.SEEK_END)
    if size < _END.size:
        raise ValueError("not an .npz file")
    file.seek(max(0, size - _END.size - _LOCATOR))
    tail = file.read()
    locator = tail[: -_END.size]
    signature, _, _, _, entries, directory, _, comment = _END.unpack(tail[-_END.size :])
    if signature != b"PK\x05\x06" or comment or locator.startswith(b"PK\x06\x07"):
        raise ValueError("not an .npz file as numpy.savez writes it")
    if entries > MOST_ARRAYS or directory > MOST_ARRAYS * 1024:
        raise ValueError(f"more than {MOST_ARRAYS} arrays")
    file.seek(0)


def _read_array(archive: zipfile.ZipFile, name: str, kinds: str) -> np.ndarray:
    """Return an array of an .npz file. What its header claims is compared with the file before memory is allocated.

    Raises:
        KeyError: there is no such array.
        ValueError: it has another type of numbers than `kinds`, or the file is shorter than the array.
    """
    member = archive.getinfo(f"{name}.npy")
    if member.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{name} is compressed")
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"{name} has an unknown version of the .npy format")
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, is_fortran, dtype = read_header(stream)
        if dtype.kind not in kinds:
            raise ValueError(f"{name} is of type {dtype}")
        size = math.prod(shape) * dtype.itemsize
        if min(shape, default=0) < 0 or not 0 <= size <= MOST_BYTES:
            raise ValueError(f"{name} claims {size} bytes")
        content = stream.read(size)
    if len(content) != size:
        raise ValueError(f"{name} is cut off")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if is_fortran else "C")


def _find_problem(labels: np.ndarray, probabilities: np.ndarray) -> str | None:
    """Return what is wrong with the shapes or the values, or None."""
    columns = labels.shape[-1:]
    is_table = labels.ndim == probabilities.ndim == 2 and labels.size > 0 and probabilities.size > 0
    if not is_table or len(labels) != len(probabilities) or columns not in ((1,), probabilities.shape[-1:]):
        return (
            f"expected integer labels [N, 1] or [N, K] and probabilities [N, K], found {labels.dtype} "
            f"{list(labels.shape)} and {list(probabilities.shape)}"
        )
    if not -ROUNDING <= probabilities.min() <= probabilities.max() <= 1 + ROUNDING:  # NaN is not either
        return "expected probabilities from 0 to 1"
    highest = max(1, probabilities.shape[1] - 1) if columns == (1,) else 1
    return None if 0 <= labels.min() <= labels.max() <= highest else f"expected labels from 0 to {highest}"
