"""The folders of all runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

# Stages that leave no result of their own.
_STAGES_WITHOUT_RESULT = ("report", "study", "preview")


def find_run_folders(runs: Path) -> Iterator[Path]:
    """Yield the folders ``<runs>/<stage>/<dataset>/<run>`` in the order of their names; hidden folders are skipped.

    A folder of a stage or data set that cannot be listed is yielded itself, so that its runs are not missing silently.
    """
    try:
        stages = _list_folders(runs)
    except OSError:
        return
    for stage in stages:
        if stage.name in _STAGES_WITHOUT_RESULT:
            continue
        try:
            datasets = _list_folders(stage)
        except OSError:
            yield stage
            continue
        for dataset in datasets:
            try:
                folders = _list_folders(dataset)
            except OSError:
                yield dataset
                continue
            yield from filter(_may_be_run, folders)


def _may_be_run(folder: Path) -> bool:
    """Return whether a folder has a file of a run, or cannot be read."""
    for name in ("config.yaml", "result.json"):
        try:
            os.lstat(folder / name)
        except FileNotFoundError:
            continue
        except OSError:
            return True
        return True
    return False


def _list_folders(folder: Path) -> list[Path]:
    """Return the folders in a folder, sorted; a link that cannot be followed counts as one, and cannot be read."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if not entry.name.startswith(".") and _is_folder(entry))
    return [folder / name for name in names]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return True
