"""How many labels pretraining saves: as sentences and as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from simclr_med.metrics.label_savings import EqualLabels, find_equal_labels
from simclr_med.report.budgets import describe_budget
from simclr_med.report.cells import NONE
from simclr_med.report.curves import Curve
from simclr_med.report.designs import MIN_SEEDS
from simclr_med.report.methods import CONTROL
from simclr_med.report.score_tables import Table, build_table

# What pretraining adds: to frozen features, and to training.
PAIRS = (("probe", CONTROL), ("finetune", "baseline"))
_CERTAIN = 0.99  # of the largest budget: an interval that begins there has no number of labels in it
_UNDECIDED = " The gain itself is not decided: its interval is adjusted for all comparisons, and this one is not."


@dataclass(frozen=True)
class Saving:
    """The labels that a method saves under one of its budgets.

    Attributes:
        data, encoder: of both methods.
        method, reference: names of the pretrained method and of the one without pretraining.
        budget, labels: of the method.
        least, most: labels of the reference's smallest and largest budget.
        equal: number of labels with which the reference has the same score.
    """

    data: str
    encoder: str
    method: str
    reference: str
    budget: str
    labels: float
    least: float
    most: float
    equal: EqualLabels


def find_savings(curves: Mapping[tuple[str, str], Mapping[str, Curve]]) -> tuple[list[Saving], dict[str, list[str]]]:
    """Return the labels saved under each budget but the largest, and by data set why some cannot be estimated.

    Args:
        curves: of `curves.load_curves`.
    """
    savings: list[Saving] = []
    reasons: dict[str, list[str]] = {}
    for (data, encoder), by_kind in curves.items():
        for kind, other in PAIRS:
            if kind not in by_kind or other not in by_kind:
                continue
            method, reference = by_kind[kind], by_kind[other]
            problem = _find_problem(method, reference)
            if problem:
                names = f"“{method.method}” against “{reference.method}”"
                reasons.setdefault(data, []).append(f"{names}: cannot be estimated: {problem}.")
                continue
            seeds = method.seeds & reference.seeds
            method, reference = method.select(seeds), reference.select(seeds)
            line = [(point.labels, point.design.values_ESN) for point in reference.points]
            for point in method.points:
                if point.labels >= line[-1][0]:
                    continue
                share = max(other.share for other in (point, *reference.points))
                is_paired = point.design.encoders == reference.points[0].design.encoders != ()
                equal = find_equal_labels(point.design.values_ESN, line, is_paired, share)
                least, most = line[0][0], line[-1][0]
                found = (data, encoder, method.method, reference.method, point.budget, point.labels, least, most, equal)
                savings.append(Saving(*found))
    return savings, reasons


def describe_saving(saving: Saving, is_undecided: bool) -> str:
    """Return what so many labels with pretraining are worth without it, in one or two sentences.

    Args:
        saving: under one label budget.
        is_undecided: whether the comparison of the two methods under this budget is inconclusive.
    """
    equal = saving.equal
    start = f"{describe_budget(saving.budget).capitalize()} with pretraining (“{saving.method}”)"
    without = f"without it (“{saving.reference}”; 95 % interval {_format_interval(saving)})"
    end = _UNDECIDED if is_undecided else ""
    if np.isinf(equal.labels):
        if equal.low >= _CERTAIN * saving.most:
            without = f"without it (“{saving.reference}”), with 95 % confidence"
        return f"{start} score higher than all {saving.most:,.0f} {without}.{end}"
    worth = f"{start} are worth about {_round(equal.labels):,.0f} {without}"
    if equal.low > saving.labels:
        # From rounded numbers, so that the sentence adds up.
        value, low, high = (_round(labels) - saving.labels for labels in (equal.labels, equal.low, equal.high))
        interval = f"{low:,.0f} or more" if np.isinf(high) else f"{low:,.0f} to {high:,.0f}"
        return f"{worth}: about {value:,.0f} labels are saved ({interval}).{end}"
    if equal.high < saving.labels:
        return f"{worth}: none are saved."
    return f"{worth}: perhaps none are saved."


def build_savings_table(savings: list[Saving]) -> list[Table]:
    """Return a row for each budget; no table without savings."""
    if not savings:
        return []
    numbers = pd.DataFrame(
        [
            {
                "data": saving.data,
                "encoder": saving.encoder,
                "method": saving.method,
                "budget": saving.budget,
                "labels": saving.labels,
                "reference": saving.reference,
                "equal_labels": saving.equal.labels,
                "low": saving.equal.low,
                "high": saving.equal.high,
            }
            for saving in savings
        ]
    )
    shown = pd.DataFrame(
        {
            "data set": numbers["data"],
            "encoder": numbers["encoder"],
            "method": numbers["method"],
            "labels": [f"{count:,.0f}" for count in numbers["labels"]],
            "are worth": [
                f"more than {saving.most:,.0f}" if np.isinf(saving.equal.labels) else _format(saving.equal.labels)
                for saving in savings
            ],
            "95 % interval": [_format_interval(saving) for saving in savings],
            "labels of": numbers["reference"],
        }
    )
    note = (
        "The number of labels with which the method without pretraining has the same test AUROC. Its curve is linear "
        "over the logarithm of the labels between its budgets. The interval has every number of labels at which the "
        "difference is not significant at 0.05; it is not adjusted for the number of rows."
    )
    return [build_table("labels_saved", "What labels with pretraining are worth", note, numbers, shown)]


def _find_problem(method: Curve, reference: Curve) -> str:
    """Return why no labels saved can be estimated, or an empty string."""
    if len(reference.points) < 2:
        return f"“{reference.method}” has 1 label budget, and a curve needs 2"
    if not any(point.labels < reference.points[-1].labels for point in method.points):
        return f"“{method.method}” has no smaller budget than “{reference.method}”"
    images = {curve.points[0].design.values_ESN.shape[2] for curve in (method, reference)}
    if len(images) > 1:
        return "they were scored on different test images"
    shared = method.seeds & reference.seeds
    if len(shared) < MIN_SEEDS or not (method.has_enough_seeds and reference.has_enough_seeds):
        return f"they share {len(shared)} label seed{'s' * (len(shared) != 1)}, and an interval needs {MIN_SEEDS}"
    return ""


def _format_interval(saving: Saving) -> str:
    """Return the interval in words; an interval that begins at the reference's largest budget has one end."""
    low, high = _format_count(saving.equal.low, saving), _format_count(saving.equal.high, saving)
    return high if saving.equal.low >= _CERTAIN * saving.most else f"{low} to {high}"


def _format_count(labels: float, saving: Saving) -> str:
    if labels == 0:
        return f"fewer than {saving.least:,.0f}"
    return f"more than {saving.most:,.0f}" if np.isinf(labels) else _format(labels)


def _format(labels: float) -> str:
    return NONE if np.isnan(labels) else f"{_round(labels):,.0f}"


def _round(labels: float) -> float:
    """Return a number of labels with two significant digits; a curve does not tell more."""
    if not np.isfinite(labels):
        return labels
    digits = max(0, len(str(int(labels))) - 2)
    return float(round(labels, -digits))
