"""The report's sections in their order, each with what it says, its tables and its figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from simclr_med.reporting import accounts, charts, diagnostics, tables
from simclr_med.reporting.charts import Chart
from simclr_med.reporting.collect import Collection
from simclr_med.reporting.comparisons import Comparison, as_table, comparisons
from simclr_med.reporting.published import Source, published
from simclr_med.reporting.tables import Table


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


def sections(found: Collection) -> list[Section]:
    """All sections that have something to show."""
    table = found.table
    rows = tables.scored(table)
    tests, notes = comparisons(rows)
    beside, sources = published(rows)
    parts = [
        Section("answer", "The answer", in_short(tests)),
        Section("efficiency", "Label efficiency", [], tables.label_efficiency(rows), charts.efficiency(rows)),
        Section("comparisons", "Better, worse, or cannot tell", [one.sentence for one in tests], as_table(tests)),
        Section("ablation", "Augmentations", [], tables.ablation(rows), charts.ablation_bars(rows)),
        Section("transfer", "Transfer", [], tables.transfer(rows), charts.transfer_maps(rows)),
        Section("balance", "Class balance", [], tables.class_balance(rows)),
        Section("published", "Beside published results", [], beside, [], sources),
        Section("classes", "Classes", [], tables.recalls(rows), diagnostics.confusion(rows)),
        Section("calibration", "Calibration", [], [], diagnostics.reliability(rows)),
        Section("again", "Saved classifiers", [], accounts.scored_again(table)),
        Section("pretraining", "Pretraining", [], accounts.pretraining(table), diagnostics.pretraining_curves(table)),
        Section("cost", "Cost", [], accounts.cost(table)),
        Section(
            "gaps",
            "What is missing",
            [*(f"Cannot be read, in no number here: {one}" for one in found.damaged), *notes],
            [*accounts.ended_early(table), *accounts.missing(table)],
        ),
    ]
    return [part for part in parts if part.sentences or part.tables or part.charts]


def counts(found: Collection) -> dict[str, int]:
    """Runs by how far they came."""
    states = Counter(found.table["state"])
    told = {state: states[state] for state in ("finished", "unfinished", "failed") if states[state]}
    return told | ({"cannot be read": len(found.damaged)} if found.damaged else {})


def in_short(tests: Sequence[Comparison]) -> list[str]:
    """One sentence for each two methods of a data set: under which budgets one is better, and where nobody can tell."""
    told: dict[tuple[str, str, str, str, str], dict[str, list[str]]] = {}
    for one in tests:
        key = (one.data, one.encoder, one.a, one.b, one.score)
        told.setdefault(key, {}).setdefault(one.verdict, []).append(one.budget)
    several = len({(data, encoder) for data, encoder, *_ in told}) > len({data for data, *_ in told})
    sentences = []
    for (data, encoder, a, b, score), verdicts in told.items():
        words = "; ".join(
            f"{verdict} under {', '.join(verdicts[verdict])}"
            for verdict in ("better", "worse", "cannot tell")
            if verdict in verdicts
        )
        where = f"{data}, {encoder}" if several else data
        sentences.append(f"{where}, {score}: “{a}” against “{b}”: {words}.")
    return sentences
