"""The tables of docs/results.md and README.md, from the JSON of results.py."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from markdown_table import format_table

Report = Mapping[str, Any]


def render_settings(report: Report) -> str:
    """Return the lines about hardware, versions and settings."""
    machine, versions, given = report["machine"], report["versions"], report["settings"]
    hours = sum(row["hours"] for row in report["results"]["cost"])
    lines = [
        f"{machine['cpu']}, {machine['cores']} cores, {machine['instructions']}, python {versions['python']}, "
        f"torch {versions['torch']}, lightning {versions['lightning']}",
        f"{hours:.1f} hours for all runs",
        f"`{' '.join(given['study'] + given['overrides'])}`",
    ]
    return "".join(f"- {line}\n" for line in lines)


def render_scores(report: Report) -> str:
    """Return the test AUROC of every method for every budget, in percent, with its 95 % interval."""
    rows = report["results"]["methods"]
    budgets = list(dict.fromkeys(row["budget"] for row in rows))
    cells = {(row["data"], row["method"], row["budget"]): row for row in rows}
    names = list(dict.fromkeys((row["data"], row["method"]) for row in rows))
    shown = ([*name, *(_format_score(cells.get((*name, budget))) for budget in budgets)] for name in names)
    return format_table(("data set", "method", *budgets), shown)


def render_comparisons(report: Report) -> str:
    """Return the difference of every comparison, in points of AUROC, with its interval and verdict."""
    rows = (
        [row["data"], row["budget"], row["a"], row["b"], _format_difference(row), row["verdict"] or "", row["runs"]]
        for row in report["results"]["comparisons"]
    )
    columns = ("data set", "labels", "method", "compared with", "difference, points", "verdict", "runs")
    return format_table(columns, rows)


def render_recipes(report: Report) -> str:
    """Return the validation AUROC of each recipe of pretraining, with epochs and minutes."""
    recipes = report["recipes"]
    sets = list(dict.fromkeys(name for recipe in recipes for name in recipe["sets"]))
    keys = ("augmentation", "batch_size", "lr", "temperature", "encoder")
    rows = (
        [*(str(recipe[key]) for key in keys), *(_format_recipe(recipe["sets"].get(name)) for name in sets)]
        for recipe in recipes
    )
    return format_table(("augmentation", "batch", "learning rate", "temperature", "encoder", *sets), rows)


def render_supervised(report: Report) -> str:
    """Return the validation AUROC of each recipe of training with labels."""
    recipes = report["supervised"]
    sets = list(dict.fromkeys(name for recipe in report["recipes"] for name in recipe["sets"]))
    rows = (
        [recipe["stage"], recipe["augmentation"], recipe["options"]]
        + [f"{100 * recipe['sets'][name]:.1f}" if name in recipe["sets"] else "" for name in sets]
        for recipe in recipes
    )
    return format_table(("stage", "augmentation", "other options", *sets), rows)


def _format_recipe(cell: Mapping[str, Any] | None) -> str:
    return "" if cell is None else f"{100 * cell['auroc']:.1f} ({cell['epochs']} epochs, {cell['minutes']:.1f} min)"


def render_summary(report: Report) -> str:
    """Return what the README shows: the gain of the probe over the untrained encoder, with few labels and with all."""
    compared = [row for row in report["results"]["comparisons"] if row["b"] == "untrained control"]
    wanted = [row for row in compared if row["budget"] in ("n100", "full")]
    scores = {(row["data"], row["method"], row["budget"]): row for row in report["results"]["methods"]}
    rows: Iterable[list[str]] = (
        [
            row["data"],
            row["budget"],
            *(_format_score(scores.get((row["data"], row[side], row["budget"]))) for side in ("b", "a")),
            f"{_format_difference(row)}, {row['verdict'] or 'no verdict'}",
        ]
        for row in wanted
    )
    return format_table(("data set", "labels", "untrained encoder", "pretrained encoder", "difference, points"), rows)


def _format_score(row: Mapping[str, Any] | None) -> str:
    if row is None or row["mean"] is None:
        return ""
    interval = "" if row["low"] is None else f" ({100 * row['low']:.1f} to {100 * row['high']:.1f})"
    return f"{100 * row['mean']:.1f}{interval}"


def _format_difference(row: Mapping[str, Any]) -> str:
    if row["auroc_difference"] is None:
        return ""
    interval = "" if row["low"] is None else f" ({100 * row['low']:+.1f} to {100 * row['high']:+.1f})"
    return f"{100 * row['auroc_difference']:+.1f}{interval}"
