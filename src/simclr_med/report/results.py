"""One run's folder as one record, from its config.yaml, result.json and failure.json."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import yaml

from simclr_med.runs.identity import OPERATIONAL, budget_name

# The loader in C where PyYAML has it: fifteen times faster, which a thousand runs feel.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# Keys that tell the runs of one setting apart, or that have a column of their own.
_OWN = ("seed", "data_fraction.seed", "data_fraction.samples", "data_fraction.percent", "data_fraction.per_class")

State = Literal["finished", "unfinished", "failed"]


class DamagedRunError(ValueError):
    """A run's folder whose files cannot be read; says which and why."""


@dataclass(frozen=True)
class Start:
    """Where a run's encoder started.

    Attributes:
        kind: random, pretrained, imagenet, checkpoint or model.
        run: name of the pretraining run's folder, or None.
        dataset, augmentation, seed, start: of that run, as the config names them; None where nothing is add_method_names.
        path: of a checkpoint, or None.
    """

    kind: str
    run: str | None = None
    dataset: str | None = None
    augmentation: str | None = None
    seed: int | None = None
    start: str | None = None
    path: str | None = None


@dataclass(frozen=True)
class Result:
    """One run, finished or not.

    Attributes:
        folder: of the run.
        state: how far it came.
        stage, dataset, encoder, augmentation: names of the options; the augmentation is the stage's own.
        size: side of the images in pixels, None where the config names none.
        budget: n100, pct1, per_class10 or full.
        seed: of the run.
        start: of its encoder.
        settings: what else decides the result, by its full key.
        metrics: by ``split/metric``; NaN where what was recorded is no finite number.
        wall_s, images_per_s: its timing; None where it has none.
        protocol_version, data_hash: what a finished run recorded.
        classes: names by label.
        model: (stage, data set) of the classifier that stage=test scored.
        message: why a failed run failed.
    """

    folder: Path
    state: State
    stage: str
    dataset: str
    encoder: str
    augmentation: str
    size: int | None
    budget: str
    seed: int
    start: Start
    settings: dict[str, str]
    metrics: dict[str, float] = field(default_factory=dict)
    wall_s: float | None = None
    images_per_s: float | None = None
    protocol_version: int | None = None
    data_hash: str | None = None
    classes: tuple[str, ...] = ()
    model: tuple[str, str] | None = None
    message: str = ""


def read_result(folder: Path) -> Result:
    """The record of one run.

    Raises:
        DamagedRunError: a file is there that cannot be read, or that lacks what every run writes.
    """
    try:
        config: Any = yaml.load((folder / "config.yaml").read_text(encoding="utf-8"), _Loader)
        common = _of_config(folder, config)
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise DamagedRunError(f"{folder / 'config.yaml'}: {_told(error)}") from error
    if (folder / "result.json").exists():
        try:
            return _finished(common, json.loads((folder / "result.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedRunError(f"{folder / 'result.json'}: {_told(error)}") from error
    if (folder / "failure.json").exists():
        return Result(**common, state="failed", message=_reason(folder / "failure.json"))
    return Result(**common, state="unfinished")


def content(folder: Path) -> dict[str, Any]:
    """A finished run's whole result.json."""
    return dict(json.loads((folder / "result.json").read_text(encoding="utf-8")))


def _of_config(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    size = config["dataset"].get("size")
    fraction: Any = SimpleNamespace(**config["data_fraction"])
    return {
        "folder": folder,
        "stage": str(config["stage"]["name"]),
        "dataset": str(config["dataset"]["name"]),
        "encoder": str(config["encoder"]["name"]),
        "augmentation": str(config["augmentation"]["name"]),
        "size": None if size is None else int(size),
        "budget": budget_name(fraction),
        "seed": int(config["seed"]),
        "start": _start(config["init"]),
        "settings": _settings(config),
    }


def _start(init: Mapping[str, Any]) -> Start:
    kind = str(init["name"])
    if kind == "checkpoint":
        return Start(kind, path=str(init["path"]))
    if kind != "pretrained":
        return Start(kind)
    if init.get("run") is not None:
        return Start(kind, run=Path(str(init["run"])).name)
    return Start(kind, None, str(init["dataset"]), str(init["augmentation"]), int(init["seed"]), str(init["start"]))


def _settings(config: Mapping[str, Any]) -> dict[str, str]:
    """Every key that decides a result and has no column of its own, flat, values as JSON."""
    found: dict[str, str] = {}

    def walk(prefix: str, node: Mapping[str, Any]) -> None:
        for key, value in node.items():
            full = f"{prefix}.{key}" if prefix else str(key)
            if key in OPERATIONAL.get(prefix, ()) or full in _OWN or key == "_target_":
                continue
            if isinstance(value, Mapping):
                walk(full, value)
            elif key != "name" or prefix == "augmentation":
                found[full] = json.dumps(value)

    walk("", config)
    return found


def _finished(common: dict[str, Any], recorded: Mapping[str, Any]) -> Result:
    timing, provenance = recorded["timing"], recorded["provenance"]
    start: Start = common.pop("start")
    if provenance["init"].get("run") is not None:
        start = Start(start.kind, provenance["init"]["run"], start.dataset, start.augmentation, start.seed, start.start)
    model = provenance.get("model")
    return Result(
        **common,
        start=start,
        state="finished",
        metrics={str(name): _finite(value) for name, value in recorded["metrics"].items()},
        wall_s=_number(timing.get("wall_s")),
        images_per_s=_number(timing.get("images_per_s")),
        protocol_version=int(recorded["protocol_version"]),
        data_hash=str(provenance["data_hash"]),
        classes=_classes(recorded.get("tables", {})),
        model=None if model is None else (str(model["stage"]), str(model["dataset"])),
    )


def _classes(tables: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the classes; of a run that scored any, its tables must fit them.

    Raises:
        ValueError: they do not.
    """
    names = tables.get("classes", [])
    if not isinstance(names, list):
        raise ValueError(f"tables.classes must be a list of names, not {names!r}")
    if "confusion_matrix" in tables:
        shape, count = np.array(tables["confusion_matrix"], dtype=np.int64).shape, len(names)
        if shape not in ((count, count), (count, 2, 2)):
            raise ValueError(f"tables.confusion_matrix of shape {shape} must fit {count} classes")
    if "reliability" in tables:
        bins = [np.array(tables["reliability"][key], dtype=np.float64) for key in ("count", "confidence", "accuracy")]
        if bins[0].ndim != 1 or any(column.shape != bins[0].shape for column in bins):
            raise ValueError("tables.reliability must have columns of one length")
    return tuple(map(str, names))


def _finite(value: Any) -> float:
    number = float(value)
    return number if math.isfinite(number) else math.nan


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _reason(path: Path) -> str:
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["message"]).strip().partition("\n")[0]
    except (OSError, ValueError, KeyError, TypeError):
        return "its failure.json cannot be read"


def _told(error: Exception) -> str:
    first = " ".join(str(error).split())[:120]
    return f"lacks {first}" if isinstance(error, KeyError) else first or type(error).__name__
