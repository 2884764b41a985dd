"""What a reader calls the runs that belong together: the same data, the same way, whatever the seed."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Mapping
from pathlib import PurePath
from typing import Any

import pandas as pd

from simclr_med.report.results import Result, Start

CONTROL = "untrained control"
# The stages that score a classifier after training it, in the order of the tables.
SCORED = ("probe", "finetune", "baseline")
KINDS = (CONTROL, *SCORED)


def named(table: pd.DataFrame, pretraining: Mapping[str, Result]) -> pd.DataFrame:
    """The table with the columns that group its rows.

    Adds ``data`` (the data set, with its size where there are several), ``kind`` (one of `KINDS`, or the stage),
    ``origin`` (what the encoder saw, as ``own novel``, ``pathmnist novel``, ``ImageNet``; empty for random weights),
    ``source`` and ``sequence`` (data set and augmentation of the pretraining, or empty), ``start_seed`` (its seed),
    ``variant`` (the settings in which it differs from its namesakes) and ``method`` (kind, origin and variant).

    Args:
        table: of `collect.columns`.
        pretraining: the pretraining runs by the names of their folders.
    """
    starts = [_resolved(start, pretraining) for start in table["start"]]
    more = pd.DataFrame(
        {
            "data": _data(table),
            "kind": [
                CONTROL if stage == "probe" and start.kind == "random" else stage
                for stage, start in zip(table["stage"], starts, strict=True)
            ],
            "origin": [_origin(start, dataset) for start, dataset in zip(starts, table["dataset"], strict=True)],
            "source": [start.dataset or "" for start in starts],
            "sequence": [start.augmentation or "" for start in starts],
            "start_seed": [start.seed for start in starts],
        },
        index=table.index,
    )
    whole = pd.concat([table, more], axis=1)
    whole["variant"] = _variant(whole, pretraining)
    whole["method"] = [
        f"{_plain(row)} ({row['variant']})" if row["variant"] else _plain(row) for row in whole.to_dict("records")
    ]
    return whole


def budget_order(words: Iterable[str]) -> list[str]:
    """Budgets from few labels to all."""
    return sorted(set(words), key=_amount)


def method_order(table: pd.DataFrame) -> list[str]:
    """Methods by their kind, then by name."""
    pairs = set(zip(table["kind"], table["method"], strict=True))
    rank = {kind: place for place, kind in enumerate(KINDS)}
    return [method for _, method in sorted(pairs, key=lambda pair: (rank.get(pair[0], len(rank)), pair[1]))]


def headline(table: pd.DataFrame, kind: str) -> str | None:
    """The one method of a kind that stands for it in pictures and comparisons.

    It is that of the encoder pretrained on the data set itself where there is one, then that with the most runs.
    """
    rows = table[table["kind"] == kind]
    if rows.empty:
        return None
    if (own := rows["origin"].str.startswith("own")).any():
        rows = rows[own]
    counts = rows["method"].value_counts()
    return sorted(counts.index, key=lambda name: (-counts[name], "novel" not in name, len(name), name))[0]


def _resolved(start: Start, pretraining: Mapping[str, Result]) -> Start:
    """What the pretraining run itself recorded, which a config that names it by init.run= does not say."""
    made = pretraining.get(start.run or "")
    if made is None:
        return start
    began = made.start.dataset if made.start.kind == "pretrained" else made.start.kind
    return Start(start.kind, start.run, made.dataset, made.augmentation, made.seed, began)


def _data(table: pd.DataFrame) -> pd.Series:
    sizes = table.groupby("dataset")["size"].transform("nunique")
    return pd.Series(
        [
            f"{name}, {int(size)} px" if count > 1 and size == size and size is not None else name
            for name, size, count in zip(table["dataset"], table["size"], sizes, strict=True)
        ],
        index=table.index,
    )


def _origin(start: Start, dataset: str) -> str:
    if start.kind == "imagenet":
        return "ImageNet"
    if start.kind == "checkpoint":
        return f"checkpoint {PurePath(start.path or '').name}"
    if start.kind != "pretrained":
        return ""
    if start.dataset is None:
        return f"run {start.run}"
    seen = "own" if start.dataset == dataset else start.dataset
    if start.start not in (None, "random"):
        seen = f"{'ImageNet' if start.start == 'imagenet' else start.start} then {seen}"
    return f"{seen} {start.augmentation}"


def _plain(row: Mapping[Any, Any]) -> str:
    """What a run is called by its kind and by what its encoder saw or, in pretraining, sees."""
    kind, origin = str(row["kind"]), str(row["origin"])
    if kind == "pretrain":
        return f"pretrain, {row['augmentation']}" + (f", from {origin}" if origin else "")
    if kind == "finetune" and not origin:
        return "finetune, random weights"
    return f"{kind}, {origin}" if origin else kind


def _variant(table: pd.DataFrame, pretraining: Mapping[str, Result]) -> pd.Series:
    """The settings that tell a run from others that are called the same."""
    used = table["augmentation"].where(table["stage"] == "pretrain", "")  # what the encoder learns from there
    found: dict[Hashable, str] = {}
    for _, rows in table.groupby(["kind", "origin", used, "data", "encoder"], sort=False):
        told = _differing([_all_settings(row, pretraining) for row in rows.to_dict("records")])
        found |= dict(zip(rows.index, told, strict=True))
    return pd.Series(found).reindex(table.index)


def _all_settings(row: Mapping[Any, Any], pretraining: Mapping[str, Result]) -> dict[str, str]:
    """Of a run, and of the pretraining that it starts from."""
    found: dict[str, str] = dict(row["settings"])
    if row["state"] == "finished":
        found |= {"data": str(row["data_hash"])[-6:], "protocol_version": f"{row['protocol_version']:.0f}"}
    made = pretraining.get(row["start"].run or "")
    if made is not None:
        theirs = {key: value for key, value in made.settings.items() if not key.startswith("augmentation.")}
        found |= {f"pretraining {key}": value for key, value in theirs.items()}
        if made.budget != "full":
            found["pretraining data_fraction"] = made.budget
    return found


def _differing(settings: list[dict[str, str]]) -> list[str]:
    """For each, the settings that not all of them share; of a run that does not know one, nothing is said of it."""
    values: dict[str, set[str]] = {}
    for one in settings:
        for key, value in one.items():
            values.setdefault(key, set()).add(value)
    differing = [key for key, found in values.items() if len(found) > 1]
    if "augmentation.name" in differing:
        differing = [key for key in differing if key == "augmentation.name" or not key.startswith("augmentation.")]
    told = []
    for one in settings:
        words = (f"{key.removesuffix('.name')}={one[key].strip(chr(34))}" for key in differing if key in one)
        told.append(", ".join(words))
    return told


def _amount(word: str) -> tuple[int, float, str]:
    found = re.fullmatch(r"(n|pct|per_class)([0-9.e+]+)", word)
    if found is None:
        return 3, 0.0, word
    return {"per_class": 0, "n": 1, "pct": 2}[found[1]], float(found[2]), word
