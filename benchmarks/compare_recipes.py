"""Compare pretraining recipes with different encoders, and save the comparisons as JSON.

    python benchmarks/compare_recipes.py RUNS --json FILE [--encoder resnet14]

The report compares methods within one encoder. This script compares the probes of all encoders in the folder RUNS. The
untrained control is that of --encoder. `page_tables.py` writes the tables of docs/results.md from the JSON.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pandas as pd
from machine import print_header
from results import COMPARISON, METHOD, read_records
from rich.console import Console

from simclr_med.report.collect import collect_runs
from simclr_med.report.comparison_texts import build_comparison_table
from simclr_med.report.comparisons import compare_methods
from simclr_med.report.score_tables import build_label_efficiency_tables, select_scored_runs


def join_encoders(rows: pd.DataFrame, encoder: str) -> pd.DataFrame:
    """Return all runs of one encoder and the probes of the others as one group. Method names include the encoder.

    Args:
        rows: of `select_scored_runs`.
        encoder: whose control and baseline are kept.
    """
    kept = rows[(rows["encoder"] == encoder) | (rows["kind"] == "probe")].copy()
    kept["method"] = kept["method"] + ", " + kept["encoder"]
    kept["encoder"] = "all"
    return kept


def compare_recipes(runs: Path, encoder: str) -> dict[str, list[dict[str, Any]]]:
    """Return scores and comparisons of the runs in a folder, in the layout of `results.collect_results`."""
    rows = join_encoders(select_scored_runs(collect_runs(runs).table), encoder)
    comparisons, notes = compare_methods(rows)
    for note in notes:
        print(note)
    (compared,) = build_comparison_table(comparisons)
    (scores,) = [table for table in build_label_efficiency_tables(rows) if table.name == "label_efficiency_auroc"]
    return {
        "methods": read_records(scores.numbers.rename(columns=lambda name: name.removeprefix("test/auroc ")), METHOD),
        "comparisons": read_records(compared.numbers, COMPARISON),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--encoder", default="resnet14")
    given = parser.parse_args()
    found = print_header(Console()) | {"results": compare_recipes(given.runs, given.encoder)}
    given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
