"""The settings of a run: what of its config affects the result, as text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from simclr_med.runs.fields import LONGEST_NAME, Fields, make_printable
from simclr_med.runs.identity import ADDED, OPERATIONAL, budget_name, epoch_of_validation, validation_of_budget

# Stages that have the keys of `ADDED`.
_TRAINED = ("pretrain", "finetune", "baseline")

# Keys that differ between runs of one method, or that have a column of their own.
_OWN_COLUMNS = (
    "seed",
    "data_fraction.seed",
    "data_fraction.samples",
    "data_fraction.percent",
    "data_fraction.per_class",
    "data_fraction.selection_hash",
)
# Keys that change no weight and no score; intervals may change.
_WITHOUT_EFFECT = ("stage.resamples", "stage.monitor_every")
_EARLY_STOPPING = ("stage.patience", "stage.patience_steps")  # without effect where the last epoch is kept
# The settings data_fraction.validation and stage.select_by of a run with the defaults of its budget: a curve of budgets
# ends with the full split, whose defaults are others.
OF_BUDGET = "default"
_SELECT_BY = "stage.select_by"
MOST_SETTINGS = 2_000  # keys of a config; the largest has 150
LONGEST_SETTING = 300  # characters of a value
MOST_IMAGES = 10**12


@dataclass(frozen=True)
class _Budget:
    """The label budget of a config; at most one field is not None."""

    samples: int | None
    percent: float | None
    per_class: int | None


def read_budget(fraction: Fields) -> tuple[str, str]:
    """Return the label budget of a config, and data_fraction.validation where it is not the budget's default.

    Raises:
        ValueError: a value is out of range.
    """
    budget = _Budget(
        fraction.integer_or_none("samples", 1, MOST_IMAGES),
        fraction.number_or_none("percent", 0, 100),
        fraction.integer_or_none("per_class", 1, MOST_IMAGES),
    )
    # Protocol version 1 had no such key and always chose on the validation split.
    validation = fraction.text_or_none("validation") or "split"
    is_default = validation == validation_of_budget(budget.samples, budget.percent, budget.per_class)
    return budget_name(budget), "" if is_default else validation


def flatten_settings(config: Mapping[str, Any]) -> dict[str, str]:
    """Return every key that affects a score and has no column of its own; values as JSON, or OF_BUDGET.

    A run that was recorded before a key of `ADDED` existed has the value that it had then.

    Raises:
        ValueError: there are too many, or a value has no JSON.
    """
    stage = config.get("stage")
    settings = {}
    left_out = [*_OWN_COLUMNS, *_WITHOUT_EFFECT]
    if isinstance(stage, Mapping) and stage.get("select_by") == "last":
        left_out += _EARLY_STOPPING
    if isinstance(stage, Mapping) and stage.get("name") in _TRAINED:
        added = {f"{group}.{key}": value for group, keys in ADDED.items() for key, value in keys.items()}
        settings = {key: json.dumps(value) for key, value in added.items() if key not in _OWN_COLUMNS}

    def walk(prefix: str, node: Mapping[Any, Any]) -> None:
        for key, value in node.items():
            full = f"{prefix}.{key}" if prefix else str(key)
            if key in OPERATIONAL.get(prefix, ()) or full in left_out or key == "_target_":
                continue
            if isinstance(value, dict):
                walk(full, value)
            elif key != "name" or prefix == "augmentation":
                settings[make_printable(full)[:LONGEST_NAME]] = _format_setting(full, value)

    walk("", config)
    fraction = config.get("data_fraction")
    validation = fraction.get("validation") if isinstance(fraction, Mapping) else None
    if settings.get(_SELECT_BY) == json.dumps(epoch_of_validation(str(validation or "split"))):
        settings[_SELECT_BY] = OF_BUDGET
    if len(settings) > MOST_SETTINGS:
        raise ValueError(f"{len(settings)} keys: expected at most {MOST_SETTINGS}")
    return settings


def _format_setting(name: str, value: Any) -> str:
    """Return a value as JSON; the digest of a long one replaces its end, so that different values stay different."""
    try:
        text = json.dumps(value)
    except TypeError as error:
        raise ValueError(f"{name}: expected numbers, texts, lists and mappings ({error})") from error
    if len(text) <= LONGEST_SETTING:
        return text
    return f"{text[: LONGEST_SETTING - 20]}… {sha256(text.encode()).hexdigest()[:10]}"
