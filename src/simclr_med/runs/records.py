"""The record of a run for lists: what it is, its state and its scores, from its JSON and YAML files alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from simclr_med.runs.config_files import check_config, read_config
from simclr_med.runs.fields import LONGEST_NAME, LONGEST_TEXT, Fields, describe_error, make_printable
from simclr_med.runs.run_folders import find_run_folders
from simclr_med.runs.settings import flatten_settings, read_budget
from simclr_med.safe_files import read_json

# Metrics of a run on validation images, the first that it recorded is its score.
VALIDATION = {"val/auroc": "validation AUROC", "val/probe_auroc": "validation AUROC of a probe"}
MOST_METRICS = 20_000
SHORT = 7  # hex digits of a hash that stand for a run in a list


@dataclass(frozen=True)
class RunRecord:
    """One run.

    Attributes:
        folder: of the run.
        state: finished, unfinished or failed.
        config: as the run recorded it; `check_config` has checked it.
        budget: the label budget, followed by data_fraction.validation where that is not the default.
        settings: what of the config affects the result, as text by full key, with the options of the groups.
        start: kind of the initial weights, and where they come from: ``random``, ``pretrained cells novel``.
        started_from: folder name of the run that saved the initial weights, or None where none is recorded.
        changed_at: when the state was written, seconds since 1970.
        metrics: the finite ones, by ``split/metric``.
        wall_s: duration of a finished run, or None.
        message: of a failed run.
    """

    folder: Path
    state: Literal["finished", "unfinished", "failed"]
    config: Mapping[str, Any]
    budget: str
    settings: Mapping[str, str]
    start: str
    started_from: str | None
    changed_at: float
    metrics: Mapping[str, float] = field(default_factory=dict)
    wall_s: float | None = None
    message: str = ""

    @property
    def stage(self) -> str:
        return str(self.config["stage"]["name"])

    @property
    def dataset(self) -> str:
        return str(self.config["dataset"]["name"])

    @property
    def seed(self) -> int:
        return int(self.config["seed"])

    @property
    def seeds(self) -> str:
        """The seed, followed by that of the encoder where it was pretrained or has another seed: ``0/2``."""
        init = self.config["init"]
        other = init.get("seed") if init["name"] in ("pretrained", "random") and not init.get("run") else None
        is_same = other is None or (init["name"] == "random" and other == self.seed)
        return str(self.seed) if is_same else f"{self.seed}/{other}"

    @property
    def id(self) -> str:
        """The first digits of the hash at the end of the folder's name."""
        return self.folder.name.rpartition("-")[2][:SHORT]

    @property
    def validation(self) -> float | None:
        """The score on validation images that runs are sorted and chosen by, or None."""
        return next((self.metrics[name] for name in VALIDATION if name in self.metrics), None)

    @property
    def is_classifier(self) -> bool:
        """Whether the run saved a classifier that can predict."""
        return (self.folder / "head.safetensors").is_file()


# Groups that a list shows in a column of their own, or that do not affect a result.
_OWN_COLUMNS = ("stage", "dataset", "data_fraction", "trainer", "logger", "init")


def read_records(runs: Path) -> tuple[list[RunRecord], list[str]]:
    """Return the records of all runs in a folder, and a line for each run that cannot be read."""
    records, problems = [], []
    for folder in find_run_folders(runs):
        try:
            records.append(read_record(folder))
        except (OSError, ValueError) as error:
            problems.append(make_printable(f"{folder}: cannot be read ({describe_error(error)})."))
    return records, problems


def read_record(folder: Path) -> RunRecord:
    """Read the record of one run.

    Raises:
        OSError, ValueError: a file is missing, unreadable, or lacks what every run writes.
    """
    if str(folder) != make_printable(str(folder)):
        raise ValueError("the name of the folder has control characters")
    path = folder / "result.json"
    if path.exists() or path.is_symlink():
        return _finished(folder, Fields.from_record(read_json(path)))
    common = _describe(folder, read_config(folder / "config.yaml"))
    path = folder / "failure.json"
    if path.exists():
        return RunRecord(**common, state="failed", changed_at=path.stat().st_mtime, message=_message(path))
    files = (folder / name for name in ("config.yaml", "metrics.csv"))
    changed_at = max(file.stat().st_mtime for file in files if file.exists())
    return RunRecord(**common, state="unfinished", changed_at=changed_at)


def _finished(folder: Path, result: Fields) -> RunRecord:
    # Results of earlier versions do not hold the config.
    has_config = result.has("config")
    config = check_config(result.content["config"]) if has_config else read_config(folder / "config.yaml")
    common = _describe(folder, config)
    recorded = result.fields("provenance").fields("init").text_or_none("run")
    return RunRecord(
        **common | {"started_from": recorded or common["started_from"]},
        state="finished",
        changed_at=(folder / "result.json").stat().st_mtime,
        metrics=_finite(result.fields("metrics").content),
        wall_s=result.fields("timing").number_or_none("wall_s", 0, 1e10) if result.has("timing") else None,
    )


def _describe(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a record that its config gives.

    Raises:
        ValueError: a value is out of range, or there are too many.
    """
    fields = Fields(config)
    start, run = _configured_start(fields.fields("init"))
    names = {
        group: str(node["name"])
        for group, node in config.items()
        if isinstance(node, dict) and "name" in node and group not in _OWN_COLUMNS
    }
    return {
        "folder": folder,
        "config": config,
        "budget": " ".join(filter(None, read_budget(fields.fields("data_fraction")))),
        "settings": {**flatten_settings(config), **names, "init": start},
        "start": start,
        "started_from": run,
    }


def _configured_start(init: Fields) -> tuple[str, str | None]:
    """Return the initial weights of a config in words, and the name of the run that saved them, if it names one."""
    kind = init.text("name")
    if kind == "checkpoint":
        return f"checkpoint {Path(init.text('path', LONGEST_TEXT)).name}", None
    if run := init.text_or_none("run", LONGEST_TEXT) if kind in ("pretrained", "model") else None:
        return f"{kind} {Path(run).name}", Path(run).name
    if kind != "pretrained":
        return kind, None
    words = (kind, init.text_or_none("dataset") or "", init.text_or_none("augmentation") or "")
    return " ".join(filter(None, words)), None


def _finite(metrics: Mapping[str, Any]) -> dict[str, float]:
    if len(metrics) > MOST_METRICS:
        raise ValueError(f"metrics: {len(metrics)} entries: expected at most {MOST_METRICS}")
    return {
        make_printable(str(name))[:LONGEST_NAME]: float(value)
        for name, value in metrics.items()
        if type(value) in (int, float) and abs(value) < 1e300 and math.isfinite(value)
    }


def _message(path: Path) -> str:
    """Return the first line of the message of a failure.json."""
    try:
        message = Fields.from_record(read_json(path)).content.get("message")
    except (OSError, ValueError):
        message = None
    return make_printable(message.strip().partition("\n")[0]) if isinstance(message, str) else "failure.json is damaged"
