"""Compare encoders of one recipe with each other, through the report's comparisons: every verdict is false.

    python benchmarks/real_null.py RUNS DATASET [--method "probe, own novel"] [--budget n100] [--json FILE]

RUNS holds the probes of several encoders that differ in their pretraining seed alone, each with the same label seeds.
The script compares every two encoders, as if each were a method with one encoder, and every two halves of the encoders,
as if each were a method. Holm's method corrects over the comparisons of each kind. Two encoders do differ, so a verdict
about "this encoder" may be true; a verdict about two halves is false.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from simclr_med.report.collect import collect_runs
from simclr_med.report.comparisons import MARGIN, Comparison, compare_methods, correct_family
from simclr_med.report.score_tables import select_scored_runs

A, B = "probe, own first", "probe, own second"  # “own”: the names are compared with each other


def compare_sides(rows: pd.DataFrame, sides: Sequence[Sequence[str]]) -> list[Comparison]:
    """Return the comparison of two sets of encoders, given by their identities."""
    selected = rows[rows["start"].isin([*sides[0], *sides[1]])].copy()
    is_first = selected["start"].isin(sides[0])
    selected["method"] = is_first.map({True: A, False: B})
    selected["kind"], selected["origin"] = "probe", selected["method"].str.removeprefix("probe, ")
    return [test for test in compare_methods(selected, MARGIN)[0] if {test.a, test.b} == {A, B}]


def list_halves(encoders: Sequence[str]) -> Iterator[tuple[Sequence[str], Sequence[str]]]:
    """Yield each division of an even number of encoders into two halves once."""
    for half in itertools.combinations(encoders, len(encoders) // 2):
        if encoders[0] in half:
            yield half, [encoder for encoder in encoders if encoder not in half]


def summarise(tests: Sequence[Comparison]) -> dict[str, Any]:
    """Return the number of each verdict, and the differences and intervals in points."""
    corrected = correct_family(tests)
    return {
        "comparisons": len(corrected),
        "verdicts": dict(Counter(test.verdict for test in corrected)),
        "p_below_05": sum(test.estimate.p_value() < 0.05 for test in corrected),
        "differences": [round(100 * test.estimate.mean, 2) for test in corrected],
        "intervals": [[round(100 * bound, 2) for bound in test.interval] for test in corrected],
    }


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("dataset")
    parser.add_argument("--method", default="probe, own novel")
    parser.add_argument("--budget")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(argv)
    rows = select_scored_runs(collect_runs(given.runs, [given.dataset]).table)
    rows = rows[rows["method"] == given.method]
    report = {}
    for budget in [given.budget] if given.budget else sorted(set(rows["budget"])):
        of_budget = rows[rows["budget"] == budget]
        encoders = sorted(set(of_budget["start"]))
        pairs = [compare_sides(of_budget, ([a], [b])) for a, b in itertools.combinations(encoders, 2)]
        halves = [compare_sides(of_budget, sides) for sides in list_halves(encoders)]
        report[budget] = {
            "encoders": len(encoders),
            "pairs of encoders": summarise(list(itertools.chain.from_iterable(pairs))),
            "halves": summarise(list(itertools.chain.from_iterable(halves))),
        }
        print(budget, json.dumps(report[budget], indent=2), flush=True)
    if given.json:
        given.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
