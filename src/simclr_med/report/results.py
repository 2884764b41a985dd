"""The record of one run, read from its config.yaml, result.json and failure.json."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import yaml

from simclr_med.runs.identity import OPERATIONAL, budget_name, validation_of_budget

# PyYAML's loader in C, where it is installed, is fifteen times faster; it matters for a thousand runs.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# Keys that differ between runs of one method, or that have a column of their own.
_OWN_COLUMNS = (
    "seed",
    "data_fraction.seed",
    "data_fraction.samples",
    "data_fraction.percent",
    "data_fraction.per_class",
)

# The setting data_fraction.validation of a run with the default of its budget: a curve of budgets ends with the full
# split, whose default is another one.
DEFAULT_VALIDATION = "default"

State = Literal["finished", "unfinished", "failed"]


class DamagedRunError(ValueError):
    """A file of a run cannot be read; the message says which and why."""


@dataclass(frozen=True)
class EncoderInit:
    """The initial weights of a run's encoder.

    Attributes:
        kind: random, pretrained, imagenet, checkpoint or model.
        run: folder name of the pretraining run, or None.
        dataset, augmentation, seed, start: of the pretraining run, as in the config; None where the config has none.
            The seed of random weights is that of the weights.
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
    """One run in any state.

    Attributes:
        folder: of the run.
        state: finished, unfinished or failed.
        stage, dataset, encoder, augmentation: names of the options; the augmentation is the stage's own.
        size: side of the images in pixels; None where the config has none.
        budget: label budget: n100, pct1, per_class10 or full; followed by the value of data_fraction.validation where
            that is not the default, as in "n100 split".
        seed: of the run.
        init: initial weights of its encoder.
        settings: every other key that affects the result, by its full name.
        metrics: by ``split/metric``; NaN where the recorded value is not finite.
        wall_s, images_per_s: its timing; None where it is not recorded.
        protocol_version, data_hash: of a finished run.
        classes: names by label.
        model: (stage, data set) of the classifier that stage=test scored.
        message: error message of a failed run.
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
    init: EncoderInit
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
    """Read the record of one run.

    Raises:
        DamagedRunError: a file cannot be read, or lacks what every run writes.
    """
    try:
        config: Any = yaml.load((folder / "config.yaml").read_text(encoding="utf-8"), _Loader)
        common = _read_config(folder, config)
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise DamagedRunError(f"{folder / 'config.yaml'}: {_describe_error(error)}") from error
    if (folder / "result.json").exists():
        try:
            return _build_finished(common, json.loads((folder / "result.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedRunError(f"{folder / 'result.json'}: {_describe_error(error)}") from error
    if (folder / "failure.json").exists():
        return Result(**common, state="failed", message=_read_failure_message(folder / "failure.json"))
    return Result(**common, state="unfinished")


def load_result_json(folder: Path) -> dict[str, Any]:
    """Return a finished run's result.json."""
    return dict(json.loads((folder / "result.json").read_text(encoding="utf-8")))


def _read_config(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    size = config["dataset"].get("size")
    fraction: Any = SimpleNamespace(**config["data_fraction"])
    # Protocol version 1 had no such key and always chose on the validation split.
    validation = str(config["data_fraction"].get("validation", "split"))
    is_default = validation == validation_of_budget(fraction.samples, fraction.percent, fraction.per_class)
    settings = _flatten_settings(config)
    settings["data_fraction.validation"] = DEFAULT_VALIDATION if is_default else validation
    return {
        "folder": folder,
        "stage": str(config["stage"]["name"]),
        "dataset": str(config["dataset"]["name"]),
        "encoder": str(config["encoder"]["name"]),
        "augmentation": str(config["augmentation"]["name"]),
        "size": None if size is None else int(size),
        "budget": budget_name(fraction) + ("" if is_default else f" {validation}"),
        "seed": int(config["seed"]),
        "init": _parse_init(config["init"]),
        "settings": settings,
    }


def _parse_init(node: Mapping[str, Any]) -> EncoderInit:
    kind = str(node["name"])
    if kind == "checkpoint":
        return EncoderInit(kind, path=str(node["path"]))
    if kind == "random" and node.get("seed") is not None:
        return EncoderInit(kind, seed=int(node["seed"]))
    if kind != "pretrained":
        return EncoderInit(kind)
    if node.get("run") is not None:
        return EncoderInit(kind, run=Path(str(node["run"])).name)
    return EncoderInit(
        kind,
        dataset=str(node["dataset"]),
        augmentation=str(node["augmentation"]),
        seed=int(node["seed"]),
        start=str(node["start"]),
    )


def _flatten_settings(config: Mapping[str, Any]) -> dict[str, str]:
    """Return every key that affects a result and has no column of its own; values as JSON."""
    settings: dict[str, str] = {}

    def walk(prefix: str, node: Mapping[str, Any]) -> None:
        for key, value in node.items():
            full = f"{prefix}.{key}" if prefix else str(key)
            if key in OPERATIONAL.get(prefix, ()) or full in _OWN_COLUMNS or key == "_target_":
                continue
            if isinstance(value, Mapping):
                walk(full, value)
            elif key != "name" or prefix == "augmentation":
                settings[full] = json.dumps(value)

    walk("", config)
    return settings


def _build_finished(common: dict[str, Any], recorded: Mapping[str, Any]) -> Result:
    timing, provenance = recorded["timing"], recorded["provenance"]
    init: EncoderInit = common.pop("init")
    if provenance["init"].get("run") is not None:
        init = replace(init, run=provenance["init"]["run"], path=None)
    if init.kind == "random" and int(recorded["protocol_version"]) < 2:
        init = replace(init, seed=common["seed"])  # init.seed was not used
    model = provenance.get("model")
    return Result(
        **common,
        init=init,
        state="finished",
        metrics={str(name): _to_finite(value) for name, value in recorded["metrics"].items()},
        wall_s=_to_float(timing.get("wall_s")),
        images_per_s=_to_float(timing.get("images_per_s")),
        protocol_version=int(recorded["protocol_version"]),
        data_hash=str(provenance["data_hash"]),
        classes=_read_classes(recorded.get("tables", {})),
        model=None if model is None else (str(model["stage"]), str(model["dataset"])),
    )


def _read_classes(tables: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the class names, and check that the confusion matrix and the reliability bins fit them.

    Raises:
        ValueError: the tables do not fit the classes.
    """
    names = tables.get("classes", [])
    if not isinstance(names, list):
        raise ValueError(f"tables.classes={names!r}: expected a list of names")
    if "confusion_matrix" in tables:
        shape, count = np.array(tables["confusion_matrix"], dtype=np.int64).shape, len(names)
        if shape not in ((count, count), (count, 2, 2)):
            raise ValueError(f"tables.confusion_matrix: shape {shape} does not fit {count} classes")
    if "reliability" in tables:
        bins = [np.array(tables["reliability"][key], dtype=np.float64) for key in ("count", "confidence", "accuracy")]
        if bins[0].ndim != 1 or any(column.shape != bins[0].shape for column in bins):
            raise ValueError("tables.reliability: expected columns of equal length")
    return tuple(map(str, names))


def _to_finite(value: Any) -> float:
    number = float(value)
    return number if math.isfinite(number) else math.nan


def _to_float(value: Any) -> float | None:
    return None if value is None else float(value)


def _read_failure_message(path: Path) -> str:
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["message"]).strip().partition("\n")[0]
    except (OSError, ValueError, KeyError, TypeError):
        return "failure.json cannot be read"


def _describe_error(error: Exception) -> str:
    text = " ".join(str(error).split())[:120]
    return f"key {text} is missing" if isinstance(error, KeyError) else text or type(error).__name__
