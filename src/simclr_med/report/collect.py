"""All runs in a folder as one table with a row per run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from simclr_med.errors import RunError
from simclr_med.report.methods import add_method_names
from simclr_med.report.recorded_metrics import SPLITS
from simclr_med.report.results import DamagedRunError, Result, read_result
from simclr_med.report.teachers import follow_teacher
from simclr_med.runs.run_folders import find_run_folders

MOST_CLASSES = 100  # of a run whose results by class are shown


@dataclass(frozen=True)
class Collection:
    """The runs in a folder.

    Attributes:
        runs: the folder.
        table: a row per run; the columns of `to_row` and `methods.add_method_names`, and one per metric.
        damaged: a sentence for each run that cannot be read.
        versions: the protocol versions of the finished runs.
    """

    runs: Path
    table: pd.DataFrame
    damaged: list[str]
    versions: list[int]

    def select_finished(self, *stages: str) -> pd.DataFrame:
        """Return the finished runs of these stages."""
        table = self.table
        return table[(table["state"] == "finished") & table["stage"].isin(stages)]


def collect_runs(runs: Path, datasets: Sequence[str] = (), mixed: bool = False) -> Collection:
    """Read the configuration and the result of every run; no weights, no predictions.

    Args:
        runs: folder of all runs.
        datasets: names of the data sets to keep; empty keeps all. Pretraining runs of other data sets are still used
            to name the methods that start from them.
        mixed: accept runs of several protocol versions.

    Raises:
        RunError: there are no runs, or they have several protocol versions.
    """
    results: list[Result] = []
    damaged: list[str] = []
    for folder in find_run_folders(runs):
        try:
            results.append(read_result(folder))
        except DamagedRunError as error:
            damaged.append(str(error))
    kept = [result for result in results if not datasets or result.dataset in datasets]
    if not kept:
        raise RunError(_describe_no_runs(runs, datasets, results, damaged))
    versions = sorted({result.protocol_version for result in kept if result.protocol_version is not None})
    if len(versions) > 1 and not mixed:
        raise RunError(
            f"stage.mixed=false: found runs of protocol versions {', '.join(map(str, versions))}, whose results are "
            "not comparable. Repeat the older runs with overwrite=true, or set stage.mixed=true."
        )
    by_name = {result.folder.name: result for result in results}
    table = pd.DataFrame([to_row(follow_teacher(result, by_name)) for result in kept])
    pretraining = {result.folder.name: result for result in results if result.stage == "pretrain"}
    return Collection(runs.absolute(), add_method_names(table, pretraining), damaged, versions)


def to_row(result: Result) -> dict[str, Any]:
    """Return a run as a row of the table."""
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
        "selected_by": result.selected_by,
        "init": result.init,
        "settings": result.settings,
        "wall_s": result.wall_s,
        "images_per_s": result.images_per_s,
        "energy_kwh": result.energy_kwh,
        "co2e_kg": result.co2e_kg,
        "protocol_version": result.protocol_version,
        "data_hash": result.data_hash,
        "predictions_hash": result.predictions_hash,
        "classes": result.classes,
        "class_counts": result.class_counts,
        "test_images": result.test_images,
        "intervals": result.intervals,
        "model": result.model,
        "family": result.family,
        "message": result.message,
        **_select_metrics(result),
    }


def _select_metrics(result: Result) -> dict[str, float]:
    """Return the metrics that become columns: of the splits, and of each class where the classes are few."""
    most_parts = 3 if len(result.classes) <= MOST_CLASSES else 2
    names = (name for name in result.metrics if name.partition("/")[0] in SPLITS and name.count("/") < most_parts)
    return {name: result.metrics[name] for name in names}


def _describe_no_runs(runs: Path, datasets: Sequence[str], results: Sequence[Result], damaged: Sequence[str]) -> str:
    existing = sorted({result.dataset for result in results})[:20]
    wanted = f" of {', '.join(datasets)} (there are runs of {', '.join(existing)})" if existing else ""
    broken = f"; {len(damaged)} cannot be read" if damaged else ""
    return (
        f"paths.runs={runs}: found no runs{wanted} under {runs.absolute()}{broken}. Start some runs first, or choose "
        "another folder."
    )
