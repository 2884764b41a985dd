"""Choose among the records of runs: by name, by the values of keys, and by their validation scores."""

from __future__ import annotations

import difflib
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from simclr_med.errors import ConfigError, RunError
from simclr_med.runs.names import shown_path
from simclr_med.runs.records import RunRecord

# Keys of a filter besides those of the config.
_COLUMNS = ("stage", "dataset", "state", "budget", "seed", "init")
# Settings that another column shows.
_HIDDEN = ("augmentation.ops", "augmentation.name", "data_fraction.validation")
_SEEDS = ("seed", "init.seed", "data_fraction.seed", "dataset.split_seed")


def column_values(record: RunRecord) -> dict[str, str]:
    """Return the values of a run that a filter compares, by key: the columns of a list and every setting."""
    columns = {
        "stage": record.stage,
        "dataset": record.dataset,
        "state": record.state,
        "budget": record.budget,
        "seed": str(record.seed),
        "init": record.start,
    }
    return {**{key: value.strip('"') for key, value in record.settings.items()}, **columns}


def filter_records(records: Sequence[RunRecord], filters: Mapping[str, str]) -> list[RunRecord]:
    """Return the runs that have one of the wanted values of every key.

    Args:
        records: of all runs.
        filters: key -> values separated by commas; ``init=pretrained`` also fits ``pretrained cells novel``.

    Raises:
        ConfigError: no run has the key, or none has the value.
    """
    values = [column_values(record) for record in records]
    known = sorted({*_COLUMNS, *(key for one in values for key in one)})
    for key, wanted in filters.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            remedy = f"Did you mean {near[0]}?" if near else f"Use a key of the config, or {', '.join(_COLUMNS)}."
            raise ConfigError(f"{key}={wanted}: no run has this key. {remedy}")
        if not any(_fits(one.get(key), wanted) for one in values):
            there = sorted({one[key] for one in values if key in one})
            raise ConfigError(f"{key}={wanted}: no run has this value. There are {', '.join(there[:12]) or 'none'}.")
    return [
        record
        for record, one in zip(records, values, strict=True)
        if all(_fits(one.get(key), wanted) for key, wanted in filters.items())
    ]


def find_named(records: Sequence[RunRecord], name: str) -> RunRecord:
    """Return the run that a user names: by its folder, the name of its folder, or the first digits of its hash.

    Raises:
        RunError: none fits, or several do.
    """
    path = Path(os.path.expanduser(name)).absolute()
    found = [record for record in records if path == record.folder or name == record.folder.name]
    found = found or [record for record in records if record.folder.name.rpartition("-")[2].startswith(name)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise RunError(f"{name}: no such run. List them with simclr-med runs.")
    raise RunError(
        f"{name}: {len(found)} runs fit. Write more of the name:",
        *(f"  {shown_path(record.folder)}" for record in found),
    )


def sort_records(records: Sequence[RunRecord]) -> list[RunRecord]:
    """Return the runs by data set, those with the best validation score first; the newest first among the rest."""

    def rank(record: RunRecord) -> tuple[str, bool, float, float]:
        score = record.validation
        return record.dataset, score is None, -(score or 0.0), -record.changed_at

    return sorted(records, key=rank)


def find_differences(records: Sequence[RunRecord]) -> list[dict[str, str]]:
    """Return what sets each run apart from the others of its stage and data set: key -> value.

    A value that more than half of them share is left out, and so are the keys of a group whose options differ: the
    option stands for them. A key is written without its group where no other one ends alike.
    """
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for place, record in enumerate(records):
        groups[record.stage, record.dataset].append(place)
    found: list[dict[str, str]] = [{} for _ in records]
    for places in groups.values():
        settings = [records[place].settings for place in places]
        keys = list(dict.fromkeys(key for one in settings for key in one if key not in _HIDDEN))
        counts = {key: Counter(one.get(key, "") for one in settings) for key in keys}
        varying = [key for key in keys if len(counts[key]) > 1]
        shown = [key for key in varying if "." not in key or key.partition(".")[0] not in varying]
        ends = Counter(key.rpartition(".")[2] for key in shown)
        for key in shown:
            usual, count = counts[key].most_common(1)[0]
            name = key.rpartition(".")[2] if ends[key.rpartition(".")[2]] == 1 else key
            for place, one in zip(places, settings, strict=True):
                value = one.get(key, "")
                if value and not (value == usual and 2 * count > len(settings)):
                    found[place][name] = value.strip('"')
    return found


@dataclass(frozen=True)
class Candidate:
    """Runs of one configuration that differ in their seeds alone.

    Attributes:
        best: the run with the highest validation score.
        mean: of the validation scores.
        scores: of all runs, the highest first.
    """

    best: RunRecord
    mean: float
    scores: tuple[float, ...]


def rank_candidates(records: Sequence[RunRecord]) -> list[Candidate]:
    """Return the configurations of one data set, the one with the highest mean validation score first.

    Only the runs with the most labels are compared: under another budget the score comes from other images.
    """
    scored = [record for record in records if record.validation is not None]
    most = max((_labels(record) for record in scored), default=0.0)
    groups: dict[str, list[RunRecord]] = defaultdict(list)
    for record in scored:
        if _labels(record) == most:
            fixed = {key: value for key, value in record.settings.items() if key not in _SEEDS}
            groups[f"{record.stage} {sorted(fixed.items())}"].append(record)
    candidates = []
    for group in groups.values():
        ranked = sorted(group, key=lambda record: -(record.validation or 0.0))
        scores = tuple(record.validation or 0.0 for record in ranked)
        candidates.append(Candidate(ranked[0], fmean(scores), scores))
    return sorted(candidates, key=lambda candidate: -candidate.mean)


def _labels(record: RunRecord) -> float:
    """Return the labels that a run used; pretraining runs used none."""
    trained = record.metrics.get("train/images", 0.0) + record.metrics.get("val/images", 0.0)
    return record.metrics.get("budget/labels", trained)


def _fits(value: str | None, wanted: str) -> bool:
    """Return whether a value is one of those wanted, or starts with one of them as a whole word."""
    return value is not None and any(value == one or value.startswith(f"{one} ") for one in wanted.split(","))
