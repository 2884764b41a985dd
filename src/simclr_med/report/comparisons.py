"""Paired tests between the methods of a data set."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import pandas as pd

from simclr_med.metrics.crossed import Estimate, estimate_difference
from simclr_med.metrics.holm import adjust_holm, find_holm_levels
from simclr_med.report.designs import MIN_SEEDS, Design, find_distinct_seeds
from simclr_med.report.methods import sort_budgets
from simclr_med.report.pairs import Foundation, find_foundations, find_pairs, select_side
from simclr_med.report.prediction_files import read_predictions
from simclr_med.report.run_values import MethodValues, load_values
from simclr_med.types import Task

ALPHA = 0.05  # family-wise error rate of all tests of one data set
MARGIN = 0.01  # of practical equality, in units of the score
MIN_POSITIVES = 10  # test images with and without each class
INCONCLUSIVE = "inconclusive"
EQUAL = "practically equal"
NO_VERDICT = "no verdict"
VERDICTS = ("better", "worse", EQUAL, INCONCLUSIVE, NO_VERDICT)

Read = Callable[[Path, str | None], tuple[Task, np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Comparison:
    """One test of the difference in AUROC, as one of all tests of its data set.

    Attributes:
        group: the data set; with the encoder where the data set has runs of several.
        data, encoder, budget: what both methods share; a pretrained model and the data set's own encoder are both
            named.
        a, b: names of the two methods.
        designs: encoders and seeds of both.
        is_paired: whether both start from the same encoders.
        images: of the test split.
        estimate: AUROC of a minus AUROC of b.
        accuracy: accuracy of a minus accuracy of b; described only, not tested.
        missing: what a verdict lacks; empty where there is one.
        margin: differences below it do not matter.
        level: of the confidence interval: that at which Holm's method tests the difference; NaN without a verdict.
        p_holm: the corrected p-value; NaN without a verdict.
    """

    group: str
    data: str
    encoder: str
    budget: str
    a: str
    b: str
    designs: tuple[Design, Design]
    is_paired: bool
    images: int
    estimate: Estimate
    accuracy: float
    missing: str
    margin: float
    level: float = np.nan
    p_holm: float = np.nan

    @cached_property
    def interval(self) -> tuple[float, float]:
        """The confidence interval of the difference, in [-1, 1]; NaN without a verdict."""
        half = np.nan if self.missing else self.estimate.half_width(self.level)
        low, high = np.clip([self.estimate.mean - half, self.estimate.mean + half], -1, 1)
        return float(low), float(high)

    @property
    def verdict(self) -> str:
        """One of `VERDICTS`. It follows only from the interval, so that both always agree.

        An interval inside the margin on both sides is the two one-sided tests of Schuirmann 1987 at half the level.
        """
        if self.missing:
            return NO_VERDICT
        low, high = self.interval
        if -self.margin < low and high < self.margin:
            return EQUAL
        if low > 0 or high < 0:
            return "better" if low > 0 else "worse"
        return INCONCLUSIVE


def compare_methods(
    rows: pd.DataFrame, margin: float = MARGIN, read: Read = read_predictions
) -> tuple[list[Comparison], list[str]]:
    """Run every test of every data set, encoder and budget.

    Args:
        rows: of `score_tables.select_scored_runs`.
        margin: differences of AUROC below it do not matter.
        read: returns task, labels and probabilities of a predictions.npz, whose recorded hash is its second argument.

    Returns:
        the tests, corrected with Holm's method over all tests of a data set, and a sentence for each run that could not
        be compared.
    """
    comparisons: list[Comparison] = []
    notes: list[str] = []
    for data, data_rows in rows.groupby("data"):
        family: list[Comparison] = []
        for encoder, group_rows in data_rows.groupby("encoder"):
            group = f"{data}, {encoder}" if data_rows["encoder"].nunique() > 1 else str(data)
            for budget in sort_budgets(group_rows["budget"]):
                selected = group_rows[group_rows["budget"] == budget]
                pairs = find_pairs(selected)
                methods = {name for pair in pairs for name in pair}
                values = load_values(selected[selected["method"].isin(methods)], read, notes)
                shares = selected.groupby("method")["share"].max().to_dict()
                build = partial(Comparison, group, str(data), str(encoder), budget, margin=margin)
                family += _compare_pairs(pairs, values, build, shares, notes)
        for foundation in find_foundations(data_rows):
            build = partial(Comparison, margin=margin)
            family += _compare_foundation(foundation, data_rows, family, build, read, notes)
        comparisons += correct_family(family)
    return comparisons, notes


def correct_family(family: Sequence[Comparison]) -> list[Comparison]:
    """Return the comparisons of a data set with Holm's p-values and levels; those without a verdict do not count."""
    tested = [number for number, comparison in enumerate(family) if not comparison.missing]
    p_values = [family[number].estimate.p_value() for number in tested]
    corrected = dict(
        zip(tested, zip(find_holm_levels(p_values, ALPHA), adjust_holm(p_values), strict=True), strict=True)
    )
    return [
        replace(comparison, level=float(corrected[number][0]), p_holm=float(corrected[number][1]))
        if number in corrected
        else comparison
        for number, comparison in enumerate(family)
    ]


def name_budget(budget: str) -> str:
    """Return a label budget as an item of a list: ``n50``, or ``all labels``."""
    return "all labels" if budget == "full" else budget


def name_labels(budget: str) -> str:
    """Return a label budget as part of a sentence: ``budget n50``, or ``all labels``."""
    return f"budget {budget}" if name_budget(budget) == budget else name_budget(budget)


def name_encoders(a: str, b: str) -> str:
    """Return the encoder of both sides of a comparison, or both encoders."""
    return a if a == b else f"{a} against {b}"


def _compare_foundation(
    foundation: Foundation,
    rows: pd.DataFrame,
    known: Sequence[Comparison],
    build: partial[Comparison],
    read: Read,
    notes: list[str],
) -> list[Comparison]:
    """Return the comparisons of a pretrained model under each budget that are not known yet.

    Args:
        foundation: the model.
        rows: of its data set.
        known: comparisons within each encoder.
        build: makes a `Comparison`.
        read, notes: as in `compare_methods` and `_compare_pairs`.
    """
    data = str(rows["data"].iloc[0])
    found: list[Comparison] = []
    done = {(one.encoder, one.budget, frozenset({one.a, one.b})) for one in known}
    for a, b in foundation.list_pairs():
        encoder, runs = name_encoders(a[0], b[0]), pd.concat([select_side(rows, side) for side in (a, b)])
        for budget in sort_budgets(runs["budget"]):
            if (encoder, budget, frozenset({a[1], b[1]})) in done:
                continue
            selected = runs[runs["budget"] == budget]
            values, shares = load_values(selected, read, notes), selected.groupby("method")["share"].max().to_dict()
            named = partial(build, data, data, encoder, budget)
            found += _compare_pairs([(a[1], b[1])], values, named, shares, notes)
    return found


def _compare_pairs(
    pairs: Sequence[tuple[str, str]],
    values: dict[str, MethodValues],
    build: partial[Comparison],
    shares: Mapping[str, float],
    notes: list[str],
) -> Iterator[Comparison]:
    """Yield the comparison of each pair under one budget; append to notes what is left out.

    Args:
        pairs: names of two methods.
        values: by method.
        build: makes a `Comparison` of what the pairs share.
        shares: by method; the larger share of a pair applies to both.
        notes: of the report.
    """
    place = ", ".join([build.args[0], name_labels(build.args[3])])
    for a, b in pairs:
        if a not in values or b not in values:
            continue
        seeds = set(values[a].labels) & set(values[b].labels)
        if len(set().union(*(values[name].labels[seed] for name in (a, b) for seed in seeds))) > 1:
            notes.append(f"{place}: “{a}” and “{b}” were scored on different test images: not compared.")
            continue
        first, second = _arrange_pair(values[a], values[b], "AUROC", seeds)
        if not first.seeds or np.isnan(first.values_ESN).any() or np.isnan(second.values_ESN).any():
            continue
        distinct = find_distinct_seeds(first, second)
        is_paired = first.encoders == second.encoders and len(first.encoders) > 0
        tables = [side.select(distinct).values_ESN for side in (first, second)]
        accuracies = _arrange_pair(values[a], values[b], "accuracy", distinct)
        yield build(
            a=a,
            b=b,
            designs=(first, second),
            is_paired=is_paired,
            images=tables[0].shape[2],
            estimate=estimate_difference(tables[0], tables[1], is_paired, max(shares[a], shares[b])),
            accuracy=float(accuracies[0].values_ESN.mean() - accuracies[1].values_ESN.mean()),
            missing=_find_missing((first, second), len(distinct), min(values[a].rarest, values[b].rarest)),
        )


def _arrange_pair(a: MethodValues, b: MethodValues, score: str, seeds: Collection[int]) -> tuple[Design, Design]:
    """Return both sides with the seeds that both have."""
    first, second = a.arrange(score, seeds), b.arrange(score, seeds)
    shared = set(first.seeds) & set(second.seeds)
    return first.select(shared), second.select(shared)


def _find_missing(designs: tuple[Design, Design], distinct: int, rarest: int) -> str:
    """Return what a verdict lacks, or an empty string."""
    seeds, encoders = len(designs[0].seeds), min(len(design.encoders) for design in designs)
    if rarest < MIN_POSITIVES:
        return f"too few positives: a class has {rarest} test images, and a verdict needs {MIN_POSITIVES}"
    if distinct >= MIN_SEEDS or (distinct == 1 < seeds and encoders >= MIN_SEEDS):
        return ""
    if distinct < seeds:
        needed = f"{MIN_SEEDS} encoders" if distinct == 1 else f"{MIN_SEEDS} different seeds"
        return f"identical runs of {seeds} seeds count once, and a verdict needs {needed}"
    return f"{seeds} seed{'s' * (seeds > 1)}, and a verdict needs {MIN_SEEDS}"
