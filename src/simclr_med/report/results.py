"""The record of one run, read from its config.yaml, result.json and failure.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from os.path import lexists
from pathlib import Path
from typing import Any, Literal

from simclr_med.report.recorded_metrics import parse_intervals, parse_metrics
from simclr_med.report.result_tables import ResultTables, parse_tables
from simclr_med.runs.config_files import read_config
from simclr_med.runs.fields import LONGEST_TEXT, Fields, describe_error, make_printable
from simclr_med.runs.identity import encoder_name
from simclr_med.runs.settings import OF_BUDGET, flatten_settings, read_budget
from simclr_med.safe_files import read_json

State = Literal["finished", "unfinished", "failed"]


class DamagedRunError(ValueError):
    """A file of a run cannot be read; the message says which and why, in one printable line."""


@dataclass(frozen=True)
class EncoderInit:
    """The initial weights of a run's encoder.

    Attributes:
        kind: random, pretrained, imagenet, timm, checkpoint or model.
        run: folder name of the pretraining run, or None.
        dataset, augmentation, seed, start: of the pretraining run, as in the config; None where the config has none.
            The seed of random weights is that of the weights.
        path: of a checkpoint, or None.
        model: of timm, whose pretrained weights the encoder or its pretraining starts from; None for other weights.
    """

    kind: str
    run: str | None = None
    dataset: str | None = None
    augmentation: str | None = None
    seed: int | None = None
    start: str | None = None
    path: str | None = None
    model: str | None = None


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
        selected_by: method of stage=select that selected the images of the budget; empty for a random draw.
        metrics: by ``split/metric``; NaN where the recorded value is not finite.
        intervals: 95 % intervals (low, high) of some metrics over test images.
        wall_s, images_per_s: its timing; None where it is not recorded.
        energy_kwh, co2e_kg: estimates of codecarbon; None where they are not recorded.
        protocol_version, data_hash: of a finished run.
        predictions_hash: recorded hash of predictions.npz; None where none is recorded.
        classes: names by label.
        class_counts: test images of each class or with each label; empty where the run recorded no confusion matrix.
        test_images: their number; 0 where it is not recorded.
        model: (stage, data set) of the classifier that stage=test scored.
        teacher: folder name of the run whose classifier stage=distill learned from, or None.
        family: name of the corruptions after which stage=test scored the images, or None.
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
    selected_by: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    wall_s: float | None = None
    images_per_s: float | None = None
    energy_kwh: float | None = None
    co2e_kg: float | None = None
    protocol_version: int | None = None
    data_hash: str | None = None
    predictions_hash: str | None = None
    classes: tuple[str, ...] = ()
    class_counts: tuple[int, ...] = ()
    test_images: int = 0
    model: tuple[str, str] | None = None
    teacher: str | None = None
    family: str | None = None
    message: str = ""


def read_result(folder: Path) -> Result:
    """Read the record of one run.

    Raises:
        DamagedRunError: a file cannot be read, lacks what every run writes, or has a field outside its range.
    """
    if str(folder) != make_printable(str(folder)):
        raise DamagedRunError(f"{make_printable(str(folder))}: the folder's name has control characters. Rename it.")
    try:
        config = read_config(folder / "config.yaml")
        common = _parse_config(folder, config)
    except (OSError, ValueError) as error:
        raise DamagedRunError(f"{folder / 'config.yaml'}: {describe_error(error)}") from error
    if lexists(folder / "result.json"):
        try:
            return _parse_finished(common, Fields.from_record(read_json(folder / "result.json")))
        except (OSError, ValueError) as error:
            raise DamagedRunError(f"{folder / 'result.json'}: {describe_error(error)}") from error
    if lexists(folder / "failure.json"):
        return Result(**common, state="failed", message=_read_failure_message(folder / "failure.json"))
    return Result(**common, state="unfinished")


def read_tables(folder: Path) -> ResultTables:
    """Read the tables of a finished run. They are not part of `Result`, because those of many classes are large.

    Raises:
        DamagedRunError: as `read_result`.
    """
    try:
        return _parse_tables(Fields.from_record(read_json(folder / "result.json")))
    except (OSError, ValueError) as error:
        raise DamagedRunError(f"{folder / 'result.json'}: {describe_error(error)}") from error


def _parse_config(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    fields = Fields(config)
    fraction = fields.fields("data_fraction")
    budget, other_validation = read_budget(fraction)
    settings = flatten_settings(config)
    settings["data_fraction.validation"] = other_validation or OF_BUDGET
    settings.pop("data_fraction.selected_by", None)
    selected_by = fraction.text_or_none("selected_by") or ""
    if selected_by:
        settings.pop("data_fraction.strategy", None)  # not used
    encoder = fields.fields("encoder")
    encoder.text("name")  # every encoder has one
    return {
        "folder": folder,
        "stage": fields.fields("stage").text("name"),
        "dataset": fields.fields("dataset").text("name"),
        "encoder": encoder_name({key: encoder.text_or_none(key) for key in ("name", "model")}),
        "augmentation": fields.fields("augmentation").text("name"),
        "size": fields.fields("dataset").integer_or_none("size", 1),
        "budget": f"{budget} {other_validation}".strip(),
        "seed": fields.integer("seed"),
        "selected_by": selected_by,
        "init": _parse_init(fields.fields("init")),
        "settings": settings,
    }


def _parse_init(node: Fields) -> EncoderInit:
    kind = node.text("name")
    if kind == "checkpoint":
        return EncoderInit(kind, path=node.text("path", LONGEST_TEXT))
    if kind == "random" and node.has("seed"):
        return EncoderInit(kind, seed=node.integer("seed"))
    if kind != "pretrained":
        return EncoderInit(kind, model=node.text_or_none("model") if kind == "timm" else None)
    if node.has("run"):
        return EncoderInit(kind, run=Path(node.text("run", LONGEST_TEXT)).name)
    return EncoderInit(
        kind,
        dataset=node.text("dataset"),
        augmentation=node.text("augmentation"),
        seed=node.integer("seed"),
        start=node.text("start"),
        model=node.text_or_none("model") if node.text("start") == "timm" else None,
    )


def _parse_finished(common: dict[str, Any], recorded: Fields) -> Result:
    timing, provenance = recorded.fields("timing"), recorded.fields("provenance")
    init: EncoderInit = common.pop("init")
    start = provenance.fields("init")
    if start.has("run"):
        init = replace(init, run=start.text("run"), path=None)
    version = recorded.integer("protocol_version", 1, 10**6)
    if init.kind == "random" and version < 2:
        init = replace(init, seed=common["seed"])  # init.seed was not used
    model = provenance.fields("model") if provenance.has("model") else None
    teacher = provenance.fields("teacher") if provenance.has("teacher") else None
    tables = _parse_tables(recorded)
    return Result(
        **common,
        init=init,
        state="finished",
        metrics=parse_metrics(recorded.fields("metrics")),
        intervals=parse_intervals(recorded),
        wall_s=timing.number_or_none("wall_s", 0, 1e10),
        images_per_s=timing.number_or_none("images_per_s", 0, 1e12),
        energy_kwh=timing.number_or_none("energy_kwh", 0, 1e9),
        co2e_kg=timing.number_or_none("co2e_kg", 0, 1e9),
        protocol_version=version,
        data_hash=provenance.text("data_hash"),
        predictions_hash=_parse_predictions_hash(recorded),
        classes=tables.classes,
        class_counts=tables.count_by_class(),
        test_images=tables.count_images(),
        model=None if model is None else (model.text("stage"), model.text("dataset")),
        teacher=None if teacher is None else teacher.text("run"),
        family=provenance.fields("corruptions").text("family") if provenance.has("corruptions") else None,
    )


def _parse_tables(recorded: Fields) -> ResultTables:
    return parse_tables(recorded.fields("tables")) if recorded.has("tables") else ResultTables()


def _parse_predictions_hash(recorded: Fields) -> str | None:
    return recorded.fields("files").text_or_none("predictions.npz") if recorded.has("files") else None


def _read_failure_message(path: Path) -> str:
    """Return the first line of the message of a failure.json."""
    try:
        message = Fields.from_record(read_json(path)).content.get("message")
    except (OSError, ValueError):
        message = None
    if not isinstance(message, str):
        return "failure.json cannot be read"
    return make_printable(message.strip().partition("\n")[0])[:LONGEST_TEXT]
