"""Run a study on each data set and save what its report says as JSON (make results).

    python benchmarks/results.py DATA... [--runs DIR] [--json FILE] [--overrides "KEY=VALUE ..."]

DATA is an .npz file in MedMNIST's layout or the name of a data set. The script can be stopped at any time; the same
command resumes. `page_tables.py` writes the tables of docs/results.md and README.md from the JSON.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
from machine import print_header
from rich.console import Console

BUDGETS = ("n50", "n100", "n250", "full")
STUDY = (
    "stage=study",
    f"stage.curve=[{','.join(BUDGETS)}]",
    "stage.supervised=[n100]",
    "stage.encoders=3",
    "stage.probe_repeats=[0,1,2,3,4]",
    "stage.repeats=[0,1,2]",
    "logger=none",
)
BOUNDS = ("mean", "low", "high")
METHOD = ["data", "encoder", "method", "budget", "mean", "low", "high", "population"]
COMPARISON = ["data", "encoder", "budget", "a", "b", "verdict", "auroc_difference", "low", "high", "level", "runs"]
COST = ["stage", "data", "encoder", "runs", "hours"]
TWINS = [
    "data",
    "method",
    "budget",
    *(f"test/auroc {value} {images}" for images in ("all", "kept") for value in BOUNDS),
]
PUBLISHED = ["data", "source", "what", "budget", "auroc", "our method", "our AUROC without twins"]


def name_data(text: str) -> list[str]:
    """Return the overrides that choose a data set."""
    path = Path(text)
    return ["dataset=npz", f"dataset.path={path.resolve()}"] if path.suffix == ".npz" else [f"dataset={text}"]


def run_command(*overrides: str) -> None:
    """Run the command and print what it prints.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    subprocess.run([sys.executable, "-m", "simclr_med", *overrides], check=True)


def collect_results(tables: Path) -> dict[str, Any]:
    """Return what the report's CSV tables say: scores of the methods, comparisons and cost.

    Also the scores without twins and beside published results, where the report has these tables.
    """
    scores = pd.read_csv(tables / "label_efficiency_auroc.csv")
    scores.columns = [name.removeprefix("test/auroc ") for name in scores.columns]
    read = {
        "methods": (scores, METHOD),
        "comparisons": (pd.read_csv(tables / "comparisons.csv"), COMPARISON),
        "cost": (pd.read_csv(tables / "cost.csv"), COST),
    }
    for name, columns in (("without_twins", TWINS), ("published", PUBLISHED)):
        if (tables / f"{name}.csv").exists():
            read[name] = pd.read_csv(tables / f"{name}.csv"), columns
    return {name: read_records(table, columns) for name, (table, columns) in read.items()}


def read_records(table: pd.DataFrame, columns: list[str]) -> list[dict[str, Any]]:
    """Return these columns as JSON has them: a dict for each row, None for a missing number."""
    records: list[dict[str, Any]] = json.loads(table[columns].to_json(orient="records"))
    return records


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+")
    parser.add_argument("--runs", type=Path, default=Path("runs/results"))
    parser.add_argument("--json", type=Path, default=Path(__file__).parent / "results" / "results.json")
    parser.add_argument("--overrides", type=shlex.split, default=[])
    given = parser.parse_args()
    header = print_header(Console())
    for text in given.data:
        run_command(*STUDY, *name_data(text), f"paths.runs={given.runs}", *given.overrides)
    out = given.runs / "results"
    run_command("stage=report", f"paths.runs={given.runs}", f"stage.out={out}", "logger=none")
    settings = {"overrides": given.overrides, "study": list(STUDY)}
    found = header | {"settings": settings, "results": collect_results(out / "tables")}
    given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
