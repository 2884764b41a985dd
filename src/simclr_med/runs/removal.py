"""Delete runs. A run that another process works on, or that another run starts from, stays."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from simclr_med.errors import RunError, write_advice
from simclr_med.runs.lock import hold_lock
from simclr_med.runs.records import RunRecord


def find_dependents(record: RunRecord, others: Sequence[RunRecord]) -> list[RunRecord]:
    """Return the runs that start from the weights of this one.

    A run that is not finished may name them by fields alone. It counts if the fields fit, whatever other run fits too.
    """
    name = record.folder.name
    return [
        other
        for other in others
        if other.folder != record.folder and (other.started_from == name or _looks_for(other, record))
    ]


def remove_run(record: RunRecord, runs: Path) -> None:
    """Delete the folder of a run, under its lock.

    Raises:
        BusyError: another process works on it.
        RunError: a file cannot be deleted.
    """
    with ExitStack() as held:
        for lock in sorted((runs.absolute() / ".locks").glob(f"{record.folder.name.rpartition('-')[2]}*.lock")):
            held.enter_context(hold_lock(lock, record.folder, wait=False))
        try:
            # result.json goes first: an interrupted removal must not leave a run that looks finished.
            (record.folder / "result.json").unlink(missing_ok=True)
            shutil.rmtree(record.folder)
        except OSError as error:
            raise RunError(
                f"{error.filename or record.folder}: cannot be deleted ({error.strerror}). {write_advice(error)}."
            ) from error


def folder_bytes(folder: Path) -> int:
    """Return the size of all files under a folder."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _looks_for(other: RunRecord, record: RunRecord) -> bool:
    init = other.config["init"]
    if other.state == "finished" or init["name"] != "pretrained" or init.get("run") or record.stage != "pretrain":
        return False
    wanted = [init.get(key) for key in ("dataset", "augmentation", "encoder", "seed")]
    config = record.config
    return wanted == [config["dataset"]["name"], config["augmentation"]["name"], config["encoder"]["name"], record.seed]
