"""All runs under a folder as one table, a row a run."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from simclr_med.errors import RunError
from simclr_med.report.methods import named
from simclr_med.report.results import DamagedError, Result, Start, read_result

# Stages that leave no result of their own.
_NOT_RUNS = ("report", "study", "preview")


@dataclass(frozen=True)
class Collection:
    """What lies under a folder of runs.

    Attributes:
        runs: the folder.
        table: a row a run; the columns of `columns`, those of `methods.named`, and one for each metric.
        damaged: what could not be read, a sentence each.
        versions: the protocol versions of the finished runs.
    """

    runs: Path
    table: pd.DataFrame
    damaged: list[str]
    versions: list[int]

    def finished(self, *stages: str) -> pd.DataFrame:
        """The finished runs of these stages."""
        table = self.table
        return table[(table["state"] == "finished") & table["stage"].isin(stages)]


def collect_runs(runs: Path, datasets: Sequence[str] = (), mixed: bool = False) -> Collection:
    """Read every run's folder; no weights, no predictions.

    Args:
        runs: folder of all runs.
        datasets: names of those to keep; none given keeps all. Pretraining runs that a kept one starts from are known
            whatever their data set.
        mixed: take runs of several protocol versions together.

    Raises:
        RunError: there are no runs, or they are of several protocol versions.
    """
    found: list[Result] = []
    damaged: list[str] = []
    for folder in find_run_folders(runs):
        try:
            found.append(read_result(folder))
        except DamagedError as error:
            damaged.append(str(error))
    kept = [result for result in found if not datasets or result.dataset in datasets]
    if not kept:
        there = sorted({result.dataset for result in found})
        only = f" of {', '.join(datasets)} (there are runs of {', '.join(there)})" if there else ""
        broken = f" and {len(damaged)} that cannot be read" if damaged else ""
        raise RunError(
            f"paths.runs={runs}: must hold runs{only}; there are none under {runs.absolute()}{broken}. "
            "Make some first, or name another folder."
        )
    versions = sorted({result.protocol_version for result in kept if result.protocol_version is not None})
    if len(versions) > 1 and not mixed:
        told = ", ".join(map(str, versions))
        raise RunError(
            f"stage.mixed=false: must be true to take runs of protocol versions {told} together, whose results cannot "
            "be compared. Do the older ones again with overwrite=true, or set stage.mixed=true."
        )
    table = pd.DataFrame([columns(result) for result in kept])
    return Collection(runs.absolute(), named(table, _pretraining(found)), damaged, versions)


def find_run_folders(runs: Path) -> Iterator[Path]:
    """``<runs>/<stage>/<dataset>/<run>``, in the order of their names; hidden folders are none."""
    for stage in _inside(runs):
        if stage.name in _NOT_RUNS:
            continue
        for dataset in _inside(stage):
            for folder in _inside(dataset):
                if (folder / "config.yaml").exists() or (folder / "result.json").exists():
                    yield folder


def columns(result: Result) -> dict[str, Any]:
    """A run as a row."""
    start: Start = result.start
    return {
        "folder": result.folder,
        "state": result.state,
        "stage": result.stage,
        "dataset": result.dataset,
        "size": result.size,
        "encoder": result.encoder,
        "augmentation": result.augmentation,
        "budget": result.budget,
        "seed": result.seed,
        "start": start,
        "settings": result.settings,
        "wall_s": result.wall_s,
        "images_per_s": result.images_per_s,
        "protocol_version": result.protocol_version,
        "data_hash": result.data_hash,
        "classes": result.classes,
        "model": result.model,
        "message": result.message,
        **result.metrics,
    }


def _pretraining(found: Sequence[Result]) -> Mapping[str, Result]:
    """By the folder's name, which ends in the run's hash."""
    return {result.folder.name: result for result in found if result.stage == "pretrain"}


def _inside(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    except OSError:
        return []
    return [folder / name for name in names]
