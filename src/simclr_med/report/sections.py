"""The report's sections in their order, each with what it says, its tables and its figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from simclr_med.report import diagnostic_figures, run_tables, score_figures, score_tables
from simclr_med.report.collect import Collection
from simclr_med.report.comparisons import Comparison, compare_methods, comparison_table
from simclr_med.report.methods import KINDS, headline
from simclr_med.report.published import Source, published
from simclr_med.report.score_figures import Chart
from simclr_med.report.score_tables import Table


@dataclass(frozen=True)
class Section:
    """One part of the report.

    Attributes:
        key: of its address on the page.
        title: of the section.
        sentences: what it says in words.
        tables, charts: what it shows.
        sources: of figures that are not ours.
    """

    key: str
    title: str
    sentences: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    charts: list[Chart] = field(default_factory=list)
    sources: list[Source] = field(default_factory=list)


def build_sections(found: Collection) -> list[Section]:
    """All sections that have something to show."""
    table = found.table
    rows = score_tables.score_rows(table)
    tests, notes = compare_methods(rows)
    beside, sources = published(rows)
    parts = [
        Section("answer", "The answer", [*summarise(tests, rows), *_of_one_pretraining(rows)] if tests else []),
        Section(
            "efficiency", "Label efficiency", [], score_tables.label_efficiency(rows), score_figures.efficiency(rows)
        ),
        Section(
            "comparisons", "Better, worse, or cannot tell", [one.sentence for one in tests], comparison_table(tests)
        ),
        Section("ablation", "Augmentations", [], score_tables.ablation(rows), score_figures.ablation_bars(rows)),
        Section("transfer", "Transfer", [], score_tables.transfer(rows), score_figures.transfer_maps(rows)),
        Section("balance", "Class balance", [], score_tables.class_balance(rows)),
        Section("published", "Beside published results", [], beside, [], sources),
        Section("classes", "Classes", [], score_tables.recalls(rows), diagnostic_figures.confusion(rows)),
        Section("calibration", "Calibration", [], [], diagnostic_figures.reliability(rows)),
        Section("again", "Saved classifiers", [], run_tables.scored_again(table)),
        Section(
            "pretraining",
            "Pretraining",
            [],
            run_tables.pretraining(table),
            diagnostic_figures.pretraining_curves(table),
        ),
        Section("cost", "Cost", [], run_tables.cost(table)),
        Section(
            "gaps",
            "What is missing",
            [*(f"Cannot be read, in no number here: {one}" for one in found.damaged), *notes],
            [*run_tables.ended_early(table), *run_tables.missing(table)],
        ),
    ]
    return [part for part in parts if part.sentences or part.tables or part.charts]


def counts(found: Collection) -> dict[str, int]:
    """Runs by how far they came."""
    states = Counter(found.table["state"])
    told = {state: states[state] for state in ("finished", "unfinished", "failed") if states[state]}
    return told | ({"cannot be read": len(found.damaged)} if found.damaged else {})


def summarise(tests: Sequence[Comparison], rows: pd.DataFrame) -> list[str]:
    """A sentence for each two chief methods of a data set: under which budgets which is better, if one can tell."""
    groups = rows.groupby(["data", "encoder"])
    heads = {key: {headline(group, kind) for kind in KINDS} for key, group in groups}
    told: dict[tuple[str, str, str], dict[str, dict[str, list[str]]]] = {}
    for one in tests:
        if {one.a, one.b} <= heads[one.data, one.encoder]:
            scores = told.setdefault((one.where, one.a, one.b), {})
            scores.setdefault(one.score, {}).setdefault(one.verdict, []).append(one.budget)
    sentences = []
    for (where, a, b), scores in told.items():
        words = " ".join(f"{score[0].upper()}{score[1:]}: {_under(verdicts)}." for score, verdicts in scores.items())
        sentences.append(f"{where}, “{a}” against “{b}”. {words}")
    return sentences


def _under(verdicts: Mapping[str, Sequence[str]]) -> str:
    """Verdicts with their budgets, as ``better under n50, n100; cannot tell under full``."""
    parts = []
    for verdict in ("better", "worse", "cannot tell"):
        if budgets := verdicts.get(verdict):
            every = len(verdicts) == 1 and len(budgets) > 1
            parts.append(f"{verdict} under {'each of ' if every else ''}{', '.join(budgets)}")
    return "; ".join(parts)


def _of_one_pretraining(rows: pd.DataFrame) -> list[str]:
    """What intervals over seeds do not tell where all runs of a method start from one encoder."""
    made = rows[rows["source"] != ""]
    if made.empty or (made.groupby(["data", "encoder", "method"])["start_seed"].nunique() > 1).all():
        return []
    return [
        "Some encoders come from one pretraining run (a single init.seed): intervals and tests of theirs hold for "
        "that encoder, and say nothing of how another pretraining would turn out."
    ]
