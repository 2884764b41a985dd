"""The sections of the report in their order, each with its sentences, tables and figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from simclr_med.report import diagnostic_figures, run_tables, score_figures, score_tables
from simclr_med.report.annotation_plan import plan_annotation
from simclr_med.report.annotation_texts import build_plan_table, plot_plans
from simclr_med.report.answers import Answer, Findings, build_answers
from simclr_med.report.budgets import describe_missing_classes
from simclr_med.report.collect import Collection
from simclr_med.report.comparison_texts import build_comparison_table, format_comparison
from simclr_med.report.comparisons import MARGIN, VERDICTS, Comparison, compare_methods, name_budget
from simclr_med.report.confidence import measure_confidence
from simclr_med.report.confidence_tables import build_confidence_tables, describe_miscalibration, plot_risk_coverage
from simclr_med.report.corrupted_images import build_corrupted_image_tables, plot_corrupted_images
from simclr_med.report.curves import load_curves
from simclr_med.report.doubts import (
    OTHER_SOURCES,
    doubt_class_shares,
    doubt_data,
    doubt_encoders,
    doubt_pretraining,
    doubt_seeds,
)
from simclr_med.report.foreign_images import build_foreign_image_table
from simclr_med.report.methods import KINDS, find_main_method
from simclr_med.report.prediction_files import read_predictions
from simclr_med.report.pretraining_figures import plot_pretraining_curves
from simclr_med.report.published import Source, match_published
from simclr_med.report.savings import build_savings_table, find_savings
from simclr_med.report.score_figures import Chart
from simclr_med.report.score_tables import Table
from simclr_med.report.subgroups import build_confounder_table, build_subgroup_table
from simclr_med.report.tested_runs import select_tested_runs
from simclr_med.report.twins import build_twin_table, describe_twins, find_twins, score_without_twins
from simclr_med.runs.fields import make_printable


@dataclass(frozen=True)
class Section:
    """One section of the report.

    Attributes:
        key: its anchor on the page.
        title: its heading.
        sentences: its text.
        tables, charts: its tables and figures.
        sources: where published results come from.
    """

    key: str
    title: str
    sentences: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    charts: list[Chart] = field(default_factory=list)
    sources: list[Source] = field(default_factory=list)


@dataclass(frozen=True)
class Content:
    """What a report says.

    Attributes:
        answers: those of the first screen, one for each data set and encoder.
        sections: those that have content.
    """

    answers: list[Answer]
    sections: list[Section]


def build_content(collection: Collection, margin: float = MARGIN) -> Content:
    """Return the answers and every section that has content.

    Args:
        collection: the runs.
        margin: differences of AUROC below it are called practically equal.
    """
    table = collection.table
    rows = score_tables.select_scored_runs(table)
    comparisons, notes = compare_methods(rows, margin)
    main_methods = diagnostic_figures.read_main_methods(rows, notes)
    pretraining = plot_pretraining_curves(table, notes)
    curves = load_curves(rows, notes)
    savings, no_savings = find_savings(curves)
    plans, no_plans = plan_annotation(curves)
    twins = find_twins(table, rows, notes)
    every, kept = score_without_twins(rows, twins, read_predictions, notes)
    published, sources = match_published(rows, kept)
    confidence = measure_confidence(rows, notes)
    tested = select_tested_runs(table, rows)
    confounders, sentences = build_confounder_table(rows, notes)
    known_twins, miscalibrated = describe_twins(twins, rows, every, kept), describe_miscalibration(confidence)
    doubts = {
        str(data): [
            *([known_twins[str(data)]] if data in known_twins else []),
            *doubt_data(group),
            *doubt_encoders(group),
            *doubt_seeds([comparison for comparison in comparisons if comparison.data == data]),
            *doubt_pretraining(table[table["data"] == data]),
            *doubt_class_shares(group),
            *([miscalibrated[str(data)]] if data in miscalibrated else []),
            *([sentences[str(data)]] if data in sentences else []),
            OTHER_SOURCES,
        ]
        for data, group in rows.groupby("data")
    }
    findings = Findings(comparisons, savings, no_savings, plans, no_plans, doubts)
    sections = [
        Section(
            "efficiency",
            "Label efficiency",
            describe_missing_classes(rows),
            score_tables.build_label_efficiency_tables(rows),
            score_figures.plot_label_efficiency(rows),
        ),
        Section("savings", "Labels saved", [], build_savings_table(savings)),
        Section("plan", "Annotation plan", [], build_plan_table(plans), plot_plans(plans)),
        Section("twins", "With and without twins", [], build_twin_table(every, kept)),
        Section(
            "comparisons",
            "Comparisons: better, worse, practically equal or inconclusive",
            [*summarise(comparisons, rows), *map(format_comparison, comparisons)],
            build_comparison_table(comparisons),
        ),
        Section(
            "ablation",
            "Pretraining augmentations",
            [],
            score_tables.build_ablation_tables(rows),
            score_figures.plot_ablation(rows),
        ),
        Section(
            "transfer",
            "Transfer between data sets",
            [],
            score_tables.build_transfer_tables(rows),
            score_figures.plot_transfer(rows),
        ),
        Section("balance", "Balanced label budgets", [], score_tables.build_class_balance_tables(rows)),
        Section("published", "Published results", [], published, [], sources),
        Section(
            "classes",
            "Results by class",
            [],
            score_tables.build_recall_tables(rows),
            diagnostic_figures.plot_confusion_matrices(main_methods),
        ),
        Section(
            "calibration",
            "Calibration and abstaining",
            [],
            build_confidence_tables(confidence),
            [*diagnostic_figures.plot_reliability(main_methods), *plot_risk_coverage(confidence)],
        ),
        Section("subgroups", "Subgroups", [], [*build_subgroup_table(rows, read_predictions, notes), *confounders]),
        Section(
            "corrupted",
            "Corrupted images",
            [],
            build_corrupted_image_tables(tested, notes),
            plot_corrupted_images(tested),
        ),
        Section("foreign", "Images of other data sets", [], build_foreign_image_table(tested)),
        Section("rescored", "Tests of saved classifiers", [], run_tables.build_rescored_table(table)),
        Section(
            "pretraining",
            "Pretraining",
            [],
            run_tables.build_pretraining_table(table),
            pretraining,
        ),
        Section("cost", "Computation time", [], run_tables.build_cost_table(table)),
        Section(
            "gaps",
            "Failed, unfinished and missing runs",
            [
                *(f"Run cannot be read and is excluded: {reason}" for reason in collection.damaged),
                *map(make_printable, dict.fromkeys(notes)),
            ],
            [*run_tables.build_unfinished_table(table), *run_tables.build_missing_table(table)],
        ),
    ]
    sections = [section for section in sections if section.sentences or section.tables or section.charts]
    return Content(build_answers(rows, findings), sections)


def count_states(collection: Collection) -> dict[str, int]:
    """Return the number of runs in each state."""
    states = Counter(collection.table["state"])
    counts = {state: states[state] for state in ("finished", "unfinished", "failed") if states[state]}
    return counts | ({"unreadable": len(collection.damaged)} if collection.damaged else {})


def summarise(comparisons: Sequence[Comparison], rows: pd.DataFrame) -> list[str]:
    """Return a sentence for each two main methods, or a main one and one with selected images: the verdicts."""
    groups = rows.groupby(["data", "encoder"])
    main_methods = {key: {find_main_method(group, kind) for kind in KINDS} for key, group in groups}
    selected = set(rows[rows["selected_by"] != ""]["method"])
    pairs: dict[tuple[str, str, str], dict[str, list[str]]] = {}
    for comparison in comparisons:
        main = main_methods.get((comparison.data, comparison.encoder), set())
        if comparison.b in main and comparison.a in main | selected:
            verdicts = pairs.setdefault((comparison.group, comparison.a, comparison.b), {})
            verdicts.setdefault(comparison.verdict, []).append(name_budget(comparison.budget))
    return [f"{group}, “{a}” against “{b}”: {_format_verdicts(verdicts)}." for (group, a, b), verdicts in pairs.items()]


def _format_verdicts(verdicts: Mapping[str, Sequence[str]]) -> str:
    """Return the verdicts with their budgets: ``better with n50, n100; inconclusive with all labels``."""
    parts = []
    for verdict in VERDICTS:
        if budgets := verdicts.get(verdict):
            is_only = len(verdicts) == 1 and len(budgets) > 1
            parts.append(f"{verdict} with {'each of ' if is_only else ''}{', '.join(budgets)}")
    return "; ".join(parts)
