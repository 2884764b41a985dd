"""The predictions.npz of a run: task, labels and probabilities of the test split."""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from pathlib import Path
from typing import cast, get_args

import numpy as np

from simclr_med.metrics.classification import infer_task
from simclr_med.runs.file_hashes import changed_message
from simclr_med.safe_files import open_regular
from simclr_med.types import Task

# What zipfile and numpy raise for a damaged file.
_DAMAGE_ERRORS = (KeyError, EOFError, ValueError, RuntimeError, SyntaxError, zipfile.BadZipFile, zlib.error)


def read_predictions(path: Path, recorded: str | None = None) -> tuple[Task, np.ndarray, np.ndarray]:
    """Return the task, the labels int64 [N, L] and the probabilities [N, K].

    The task is inferred from the arrays where an older file does not hold it.

    Args:
        path: of the file.
        recorded: its hash in result.json; None where none is recorded.

    Raises:
        ValueError: the file is missing, damaged, changed since it was recorded, or holds other arrays.
    """
    try:
        with open_regular(path) as file:
            whole = file.read()
    except OSError as error:
        raise ValueError(f"{path}: cannot read labels and probabilities.") from error
    if recorded is not None and recorded != f"sha256:{hashlib.sha256(whole).hexdigest()}":
        raise ValueError(changed_message(path))
    try:
        with np.load(io.BytesIO(whole), allow_pickle=False) as content:
            labels, probabilities = content["labels"], content["probabilities"]
            task = str(content["task"]) if "task" in content else None
    except _DAMAGE_ERRORS as error:
        raise ValueError(f"{path}: cannot read labels and probabilities.") from error
    is_table = labels.ndim == probabilities.ndim == 2 and labels.dtype.kind in "iu"
    columns = labels.shape[-1:]
    if not is_table or len(labels) != len(probabilities) or columns not in ((1,), probabilities.shape[-1:]):
        raise ValueError(
            f"{path}: expected integer labels [N, 1] or [N, K] and probabilities [N, K], found {labels.dtype} "
            f"{list(labels.shape)} and {list(probabilities.shape)}."
        )
    if task is None:
        return infer_task(labels, probabilities), labels, probabilities
    if task not in get_args(Task):
        raise ValueError(f"{path}: unknown task {task!r}.")
    return cast(Task, task), labels, probabilities
