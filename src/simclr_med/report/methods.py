"""Names of methods: runs that differ only in their seed share one name."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Mapping
from pathlib import PurePath
from typing import Any

import pandas as pd

from simclr_med.report.results import EncoderInit, Result
from simclr_med.runs.settings import OF_BUDGET

CONTROL = "untrained control"
MAIN_AUGMENTATION = "microscopy"  # the default of the pretraining
# The stages that train a classifier and score it, in the order of the tables.
SCORED = ("probe", "finetune", "baseline", "distill")
KINDS = (CONTROL, *SCORED)


def add_method_names(table: pd.DataFrame, pretraining: Mapping[str, Result]) -> pd.DataFrame:
    """Return the table with the columns that group its rows.

    Adds ``data`` (the data set, with its size where runs of several sizes exist), ``kind`` (one of `KINDS`, or the
    stage), ``origin`` (the encoder's pretraining: ``own novel``, ``pathmnist novel``, ``ImageNet``; empty for random
    weights), ``source`` and ``sequence`` (data set and augmentation of the pretraining, or empty), ``init_seed`` (its
    seed), ``foundation`` (the model of timm whose weights the encoder or its pretraining starts from, or empty),
    ``start`` (identity of the encoder before training on labels: runs that share it differ only in their label
    seed), ``variant`` (how the images were selected, if not at random, and the settings that differ between runs of the
    same name) and ``method`` (kind, origin and variant).

    Args:
        table: rows of `collect.to_row`.
        pretraining: the pretraining runs by the names of their folders.
    """
    inits = [_resolve_init(init, pretraining) for init in table["init"]]
    added = pd.DataFrame(
        {
            "data": _name_datasets(table),
            "kind": [
                CONTROL if stage == "probe" and init.kind == "random" else stage
                for stage, init in zip(table["stage"], inits, strict=True)
            ],
            "origin": [_describe_init(init, dataset) for init, dataset in zip(inits, table["dataset"], strict=True)],
            "source": [init.dataset or "" for init in inits],
            "sequence": [init.augmentation or "" for init in inits],
            "init_seed": [init.seed for init in inits],
            "foundation": [_name_foundation(init) for init in inits],
            "start": [_identify_encoder(*pair) for pair in zip(inits, table["seed"], strict=True)],
        },
        index=table.index,
    )
    named = pd.concat([table, added], axis=1)
    named["variant"] = _find_variants(named, pretraining)
    named["method"] = [
        f"{_name_method(row)} ({row['variant']})" if row["variant"] else _name_method(row)
        for row in named.to_dict("records")
    ]
    return named


def sort_budgets(budgets: Iterable[str]) -> list[str]:
    """Return the different label budgets, the smallest first."""
    return sorted(set(budgets), key=_budget_sort_key)


def sort_methods(table: pd.DataFrame) -> list[str]:
    """Return the methods by kind, then by name."""
    pairs = set(zip(table["kind"], table["method"], strict=True))
    rank = {kind: number for number, kind in enumerate(KINDS)}
    return [method for _, method in sorted(pairs, key=lambda pair: (rank.get(pair[0], len(rank)), pair[1]))]


def find_main_method(table: pd.DataFrame, kind: str) -> str | None:
    """Return the method that represents its kind in figures and comparisons; None without runs of the kind.

    Methods whose images were drawn at random come first, then those whose encoder was pretrained on the data set
    itself, then the method with the most runs. Of several with the same number, one with `MAIN_AUGMENTATION` comes
    first, then the one with the shorter name, then the first in the alphabet.
    """
    rows = table[table["kind"] == kind]
    if rows.empty:
        return None
    rows = drop_selected(rows)
    if (is_own := rows["origin"].str.startswith("own")).any():
        rows = rows[is_own]
    counts = rows["method"].value_counts()
    return sorted(counts.index, key=lambda name: (-counts[name], MAIN_AUGMENTATION not in name, len(name), name))[0]


def drop_selected(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the runs whose labelled images were drawn at random; all runs if there are none."""
    if "selected_by" not in rows:
        return rows
    drawn = rows[rows["selected_by"] == ""]
    return rows if drawn.empty else drawn


def _resolve_init(init: EncoderInit, pretraining: Mapping[str, Result]) -> EncoderInit:
    """Add what the pretraining run recorded; a config with init.run= names the run and nothing else."""
    run = pretraining.get(init.run or "")
    if run is None:
        return init
    start = run.init.dataset if run.init.kind == "pretrained" else run.init.kind
    return EncoderInit(init.kind, init.run, run.dataset, run.augmentation, run.seed, start, model=run.init.model)


def _identify_encoder(init: EncoderInit, seed: int) -> str:
    """Return which encoder a run starts from; random weights are those of init.seed, or else of the run's seed."""
    if init.kind == "random":
        return f"random weights {seed if init.seed is None else init.seed}"
    return init.run or " ".join(
        map(str, (init.kind, init.path, init.dataset, init.augmentation, init.start, init.seed))
    )


def _name_datasets(table: pd.DataFrame) -> pd.Series:
    """Return the data sets' names; with the image size where runs of several sizes exist."""
    sizes = table.groupby("dataset")["size"].transform("nunique")
    return pd.Series(
        [
            f"{name}, {int(size)} px" if count > 1 and size == size and size is not None else name
            for name, size, count in zip(table["dataset"], table["size"], sizes, strict=True)
        ],
        index=table.index,
    )


def _describe_init(init: EncoderInit, dataset: str) -> str:
    if init.kind == "imagenet":
        return "ImageNet"
    if init.kind == "timm":
        return _name_foundation(init)
    if init.kind == "checkpoint":
        return f"checkpoint {PurePath(init.path or '').name}"
    if init.kind != "pretrained":
        return ""
    if init.dataset is None:
        return f"run {init.run}"
    pretrained_on = "own" if init.dataset == dataset else init.dataset
    if init.start not in (None, "random"):
        first = {"imagenet": "ImageNet", "timm": _name_foundation(init)}.get(init.start, init.start)
        pretrained_on = f"{first} then {pretrained_on}"
    return f"{pretrained_on} {init.augmentation}"


def _name_foundation(init: EncoderInit) -> str:
    """Return the model of timm that an encoder starts from; empty for other weights."""
    return (init.model or "timm weights") if "timm" in (init.kind, init.start) else ""


def _name_method(row: Mapping[Any, Any]) -> str:
    """Return the kind of a run with its encoder's pretraining, or with the augmentation that it pretrains with."""
    kind, origin = str(row["kind"]), str(row["origin"])
    if kind == "pretrain":
        return f"pretrain, {row['augmentation']}" + (f", from {origin}" if origin else "")
    if kind == "finetune" and not origin:
        return "finetune, random weights"
    return f"{kind}, {origin}" if origin else kind


def _find_variants(table: pd.DataFrame, pretraining: Mapping[str, Result]) -> pd.Series:
    """Return for each run how its images were selected, and the settings that differ between runs of the same name."""
    used = table["augmentation"].where(table["stage"] == "pretrain", "")  # only there is it part of the name
    variants: dict[Hashable, str] = {}
    keys = ["kind", "origin", used, "data", "encoder", "selected_by"]
    for (*_, method), rows in table.groupby(keys, sort=False):
        differing = _list_differing_settings([_collect_settings(row, pretraining) for row in rows.to_dict("records")])
        selected = f"selected by {method}" if method else ""
        texts = [", ".join(filter(None, (selected, text))) for text in differing]
        variants |= dict(zip(rows.index, texts, strict=True))
    return pd.Series(variants).reindex(table.index)


def _collect_settings(row: Mapping[Any, Any], pretraining: Mapping[str, Result]) -> dict[str, str]:
    """Return the settings of a run and of the pretraining run that it starts from."""
    settings: dict[str, str] = dict(row["settings"])
    if row["state"] == "finished":
        settings |= {"data": str(row["data_hash"])[-6:], "protocol_version": f"{row['protocol_version']:.0f}"}
    run = pretraining.get(row["init"].run or "")
    if run is not None:
        inherited = {key: value for key, value in run.settings.items() if not key.startswith("augmentation.")}
        settings |= {f"pretraining {key}": value for key, value in inherited.items()}
        if run.budget != "full":
            settings["pretraining data_fraction"] = run.budget
    return settings


def select_main_runs(rows: pd.DataFrame) -> list[pd.DataFrame]:
    """Return the runs of each kind's main method, with the largest budget that all of these methods share.

    Where they share none, it is the largest of each.

    Args:
        rows: of one data set and encoder.
    """
    names = [find_main_method(rows, kind) for kind in KINDS]
    methods = [rows[rows["method"] == name] for name in names if name is not None]
    shared = set.intersection(*(set(runs["budget"]) for runs in methods)) if methods else set()
    return [runs[runs["budget"] == sort_budgets(shared or runs["budget"])[-1]] for runs in methods]


def _list_differing_settings(settings: list[dict[str, str]]) -> list[str]:
    """Return for each run the settings that not all runs share; keys that a run does not have are skipped."""
    values: dict[str, set[str]] = {}
    for run_settings in settings:
        for key, value in run_settings.items():
            values.setdefault(key, set()).add(value)
    differing = [key for key, different in values.items() if len(different) > 1]
    if "augmentation.name" in differing:
        differing = [key for key in differing if key == "augmentation.name" or not key.startswith("augmentation.")]
    return [
        ", ".join(
            f"{key.removesuffix('.name')}={run_settings[key].strip(chr(34))}"
            for key in differing
            if key in run_settings and run_settings[key] != OF_BUDGET
        )
        for run_settings in settings
    ]


def _budget_sort_key(budget: str) -> tuple[int, float, str]:
    match = re.fullmatch(r"(n|pct|per_class)([0-9.e+]+)( split)?", budget)
    if match is None:
        return 3, 0.0, budget
    return {"per_class": 0, "n": 1, "pct": 2}[match[1]], float(match[2]), budget
