"""Write the measurements of benchmarks/results/ into README.md, docs/speed.md and docs/results.md (make bench-tables).

For each table, a page has a block from ``<!-- table: NAME -->`` to ``<!-- /table -->``. The script replaces its
content, so that no table is typed. ``make bench JSON=...``, ``make bench-growth JSON=...`` and ``make results``
measure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import evaluation
from data_sizes import sum_to_first_step
from machine import MAX_OTHER_CORES
from markdown_table import format_table
from result_tables import (
    render_comparisons,
    render_lengths,
    render_long,
    render_options,
    render_published,
    render_recipes,
    render_scores,
    render_settings,
    render_stems,
    render_summary,
    render_supervised,
    render_twins,
)
from spread import format_spread, spread

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", ROOT / "docs" / "speed.md", ROOT / "docs" / "results.md")
RESULTS = ROOT / "benchmarks" / "results"
BLOCK = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- /table -->)", flags=re.DOTALL)
NOT_MEASURED = "Not measured yet.\n"

Report = Mapping[str, Any]


def read_results(folder: Path = RESULTS) -> dict[str, Report]:
    """Return the content of each JSON file of a folder by its name."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}


def render_page(text: str, results: Mapping[str, Report]) -> str:
    """Return a page's text with the content of every block made from the results.

    Raises:
        KeyError: a block has an unknown name.
    """

    def fill(block: re.Match[str]) -> str:
        file, key, render = BLOCKS[block[2]]
        report = results.get(file, {})
        return block[1] + (render(report) if key in report else NOT_MEASURED) + block[3]

    return BLOCK.sub(fill, text)


def _render_machine(report: Report) -> str:
    machine, versions, given = report["machine"], report["versions"], report.get("settings", {})
    shown = ", ".join(f"{name} {versions[name]}" for name in ("python", "torch", "lightning") if name in versions)
    starts = [start for found in report.get("sets", {}).values() for start in found["starts"].values()]
    loads = [*report.get("others", {}).values(), *(start["others"] for start in starts)]
    most = max((cores for cores in loads if cores is not None), default=0.0)
    lines = [f"{machine['cpu']}, {machine['cores']} cores, {machine['instructions']}, {shown}"]
    if "encoder" in given:
        lines += [f"{given['encoder']}, 28 px, batch {given['batch_size']}, `augmentation=novel`"]
        rounds = "one round" if given["repeats"] == 1 else f"{given['repeats']} rounds in turns"
        lines += [f"{rounds}; values are the median (range)"]
    lines += [f"other programs used up to {most:.2f} cores meanwhile"]
    if most > MAX_OTHER_CORES:
        lines += ["**the machine was busy: rates are too low and times too long; they will be measured again**"]
    return "".join(f"- {line}\n" for line in lines)


def _render_peers(report: Report) -> str:
    peers = report["peers"]
    rows = []
    for system, rates in peers["rates"].items():
        ratios = peers["ratios"].get(system)
        factors = ("", "") if ratios is None else (format_spread(ratios[key], 1) for key in ("step", "whole"))
        rows.append([f"`{system}`", *(format_spread(rates[key], 0) for key in ("step", "whole")), *factors])
    columns = ("pipeline", "training step, images/s", "whole command, images/s", "speed-up, step", "speed-up, whole")
    return format_table(columns, rows)


def _render_parts(report: Report) -> str:
    shares = report["parts"]["shares"]
    rows = ([name, format_spread(part["ms"], 1), format_spread(part["share"], 1)] for name, part in shares.items())
    return format_table(("part of a training step", "ms", "%"), rows)


def _render_overhead(report: Report) -> str:
    percent = report["overhead"]["percent"]
    rows = [
        ["epochs without validation", format_spread(percent["epoch"], 1)],
        ["all epochs, with validation and checkpoint", format_spread(percent["all"], 1)],
    ]
    return format_table(("Lightning, logging and monitors", "% above a bare loop"), rows)


def _render_sizes(report: Report) -> str:
    sizes: Mapping[str, list[dict[str, Any]]] = report["sizes"]
    runs = list(sizes.values())
    firsts = [[sum_to_first_step(run["seconds"]) for run in same] for same in runs]
    mib = [[(run["anonymous"] or 0) / 2**20 for run in same] for same in runs]
    quantities = {
        "images/s": ([[rate for run in same for rate in run["rates"][1:]] for same in runs], 0),
        "anonymous memory, MiB": (mib, 0),
        "start to end of the first step, s": (firsts, 1),
    }
    rows = (
        [name, *(format_spread(spread(values), digits) for values in columns)]
        for name, (columns, digits) in quantities.items()
    )
    return format_table(("", *(f"{size} images" for size in sizes)), rows)


def _render_scaling(report: Report) -> str:
    sweeps: Mapping[str, Mapping[str, list[float]]] = report["scaling"]
    rows = (
        [name, label, format_spread(spread(values), 0)]
        for name, rates in sweeps.items()
        for label, values in rates.items()
    )
    return format_table(("quantity", "value", "images/s"), rows)


def _render_evaluation(report: Report) -> str:
    measured = report["evaluation"]
    rows = [[text, format_spread(spread(measured[name]), 0)] for name, text in evaluation.RATES.items()]
    for name, text in evaluation.name_seconds(measured["runs"]).items():
        rows.append([text, format_spread(spread(measured[name]), 1)])
    return format_table((f"evaluation, {measured['encoder']}, 28 px", "median (range)"), rows)


def _render_large_sets(report: Report) -> str:
    columns, measured = [""], []
    for name, found in report["sets"].items():
        for start, run in found["starts"].items():
            columns.append(f"{name}, {found['images']:,} images, {start}")
            measured.append(run)
    quantities: dict[str, Callable[[dict[str, Any]], str]] = {
        "hash of the data, s": lambda run: f"{run['seconds']['data hash, run folder']:.1f}",
        "decoding or unpacking, s": lambda run: f"{run['seconds']['data read']:.1f}",
        "start to end of the first step, s": lambda run: f"{sum_to_first_step(run['seconds']):.1f}",
        "images/s": lambda run: f"{spread(run['rates'][1:])['median']:.0f}",
        "anonymous memory, MiB": lambda run: f"{run['memory']['largest'] / 2**20:.0f}",
        "the same, all processes, MiB": lambda run: f"{run['memory']['together'] / 2**20:.0f}",
        "cores used by other programs": lambda run: f"{run['others'] or 0.0:.2f}",
    }
    return format_table(columns, ([text, *map(show, measured)] for text, show in quantities.items()))


# For each block: the file, the key that the file must have, and the function that makes the content.
BLOCKS: dict[str, tuple[str, str, Callable[[Report], str]]] = {
    "machine": ("cpu", "machine", _render_machine),
    "peers": ("cpu", "peers", _render_peers),
    "parts": ("cpu", "parts", _render_parts),
    "overhead": ("cpu", "overhead", _render_overhead),
    "sizes": ("cpu", "sizes", _render_sizes),
    "scaling": ("cpu", "scaling", _render_scaling),
    "evaluation": ("cpu", "evaluation", _render_evaluation),
    "growth_machine": ("growth", "machine", _render_machine),
    "growth": ("growth", "sets", _render_large_sets),
    "results_settings": ("results", "results", render_settings),
    "results_scores": ("results", "results", render_scores),
    "results_comparisons": ("results", "results", render_comparisons),
    "results_twins": ("results", "results", render_twins),
    "results_published": ("results", "results", render_published),
    "short_settings": ("short", "results", render_settings),
    "short_scores": ("short", "results", render_scores),
    "short_comparisons": ("short", "results", render_comparisons),
    "thesis_long_scores": ("thesis_long", "results", render_scores),
    "thesis_long_comparisons": ("thesis_long", "results", render_comparisons),
    "thesis_scores": ("thesis", "results", render_scores),
    "thesis_comparisons": ("thesis", "results", render_comparisons),
    "results_recipes": ("recipe", "recipes", render_recipes),
    "results_long": ("recipe", "long", render_long),
    "results_stems": ("recipe", "stems", render_stems),
    "results_lengths": ("recipe", "lengths", render_lengths),
    "results_options": ("recipe", "options", render_options),
    "results_supervised": ("recipe", "supervised", render_supervised),
    "results_summary": ("results", "results", render_summary),
}


def main() -> None:
    results = read_results()
    for page in PAGES:
        page.write_text(render_page(page.read_text(encoding="utf-8"), results), encoding="utf-8")


if __name__ == "__main__":
    main()
