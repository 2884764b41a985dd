"""The tables of docs/results.md and README.md, from the JSON of results.py."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from markdown_table import format_table

Report = Mapping[str, Any]
CHANGE = 0.005  # of AUROC, from which a set is in the table of twins


def render_settings(report: Report) -> str:
    """Return the lines about hardware, versions and settings."""
    machine, versions, given = report["machine"], report["versions"], report["settings"]
    hours = sum(row["hours"] for row in report["results"]["cost"])
    gpu = [machine["gpu"]] if machine["gpu"] != "none" else []
    lines = [
        ", ".join([*gpu, machine["cpu"], f"{machine['cores']} cores", machine["instructions"]])
        + f", python {versions['python']}, torch {versions['torch']}, lightning {versions['lightning']}",
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


def render_twins(report: Report) -> str:
    """Return the test AUROC with and without the test images that have twins, for the sets where it changes."""
    scored = report["results"].get("without_twins", ())
    changed = {row["data"] for row in scored if abs(row["test/auroc mean all"] - row["test/auroc mean kept"]) >= CHANGE}
    rows = (
        [
            row["data"],
            row["method"],
            row["budget"],
            *(_format_score(_images(row, images)) for images in ("all", "kept")),
        ]
        for row in scored
        if row["data"] in changed
    )
    return format_table(("data set", "method", "labels", "all test images", "without twins"), rows)


def _images(row: Mapping[str, Any], images: str) -> dict[str, Any]:
    return {value: row[f"test/auroc {value} {images}"] for value in ("mean", "low", "high")}


def render_published(report: Report) -> str:
    """Return the published test AUROC, beside that of the method of ours that it is compared with."""
    ours = {(row["data"], row["method"], row["budget"]): row for row in report["results"]["methods"]}
    rows = (
        [
            *(row[key] for key in ("data", "source", "what", "budget")),
            _format_percent(row["auroc"]),
            row["our method"] or "",
            _format_score(ours.get((row["data"], row["our method"], row["budget"]))),
            _format_percent(row["our AUROC without twins"]),
        ]
        for row in report["results"].get("published", ())
        if row["auroc"] is not None
    )
    return format_table(
        ("data set", "source", "published method", "labels", "published AUROC", "our method", "ours", "without twins"),
        rows,
    )


def _format_percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"


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


def render_long(report: Report) -> str:
    """Return the validation AUROC of each recipe of pretraining after 200 epochs, for each image size."""
    rows = report["long"]
    sets = list(dict.fromkeys(name for row in rows for name in row["sets"]))
    keys = ("size", "augmentation", "lr", "temperature", "encoder", "epochs")
    shown = (
        [*(str(row[key]) for key in keys), *(_format_percent(row["sets"].get(name)) for name in sets)] for row in rows
    )
    return format_table(("px", "augmentation", "learning rate", "temperature", "encoder", "epochs", *sets), shown)


def render_stems(report: Report) -> str:
    """Return the validation AUROC of each encoder and stem after the same time on a CPU."""
    rows = report["stems"]
    sets = list(dict.fromkeys(name for row in rows for name in row["sets"]))
    shown = (
        [str(row["size"]), row["encoder"], f"{row['images_per_s']:.0f}", str(row["epochs"])]
        + [_format_percent(row["sets"].get(name)) for name in sets]
        for row in rows
    )
    return format_table(("px", "encoder", "images/s", "epochs", *sets), shown)


def render_lengths(report: Report) -> str:
    """Return the test AUROC of the baseline by its options, and that of more steps without early stopping."""
    rows = report["lengths"]
    kinds = list(dict.fromkeys(kind for row in rows for kind in row["auroc"]))
    shown = ([row["data"], row["budget"], *(_format_seeds(row["auroc"].get(kind)) for kind in kinds)] for row in rows)
    return format_table(("data set", "labels", *kinds), shown)


def render_options(report: Report) -> str:
    """Return the validation AUROC of the methods with other options, for each label budget."""
    rows = report["options"]
    sets = list(dict.fromkeys(name for row in rows for name in row["sets"]))
    shown = (
        [row["budget"], row["method"], row["options"], *(_format_seeds(row["sets"].get(name)) for name in sets)]
        for row in rows
    )
    return format_table(("labels", "method", "options", *sets), shown)


def _format_seeds(values: list[float] | None) -> str:
    if not values:
        return ""
    shown = ", ".join(_format_percent(value) for value in values)
    return f"{_format_percent(sum(values) / len(values))} ({shown})"


def _format_recipe(cell: Mapping[str, Any] | None) -> str:
    return "" if cell is None else f"{100 * cell['auroc']:.1f} ({cell['epochs']} epochs, {cell['minutes']:.1f} min)"


def render_summary(report: Report) -> str:
    """Return what the README shows: the gain of the probe over the untrained encoder with 100 labels."""
    compared = [row for row in report["results"]["comparisons"] if row["b"] == "untrained control"]
    wanted = [row for row in compared if row["budget"] == "n100"]
    scores = {(row["data"], row["method"], row["budget"]): row for row in report["results"]["methods"]}
    rows: Iterable[list[str]] = (
        [
            row["data"],
            *(_format_score(scores.get((row["data"], row[side], row["budget"]))) for side in ("b", "a")),
            f"{_format_difference(row)}, {row['verdict'] or 'no verdict'}",
        ]
        for row in wanted
    )
    return format_table(("data set", "untrained encoder", "pretrained encoder", "difference, points"), rows)


def _format_score(row: Mapping[str, Any] | None) -> str:
    if row is None or row["mean"] is None:
        return ""
    interval = "" if row["low"] is None else f" ({100 * row['low']:.1f} to {100 * row['high']:.1f})"
    return f"{100 * row['mean']:.1f}{interval}"


def _format_difference(row: Mapping[str, Any]) -> str:
    if row["auroc_difference"] is None:
        return ""
    interval = "" if row["low"] is None else f" ({_format_points(row['low'])} to {_format_points(row['high'])})"
    return f"{_format_points(row['auroc_difference'])}{interval}"


def _format_points(difference: float) -> str:
    """Return a difference in points, with a second digit where the first is 0, so that the sign is true."""
    points = 100 * difference
    return f"{points:+.2f}" if abs(points) < 0.05 else f"{points:+.1f}"
