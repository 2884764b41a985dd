"""The comparisons as sentences and as a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import takewhile

import numpy as np
import pandas as pd

from simclr_med.metrics.crossed import Estimate
from simclr_med.report.cells import NONE
from simclr_med.report.comparisons import (
    ALPHA,
    EQUAL,
    INCONCLUSIVE,
    MIN_POSITIVES,
    NO_VERDICT,
    Comparison,
    name_labels,
)
from simclr_med.report.score_tables import Table, build_table

LIMIT = 50  # seeds or encoders that a sentence suggests at most
_SMALLEST_P = 1e-4
_IF_EQUAL = "if the difference and its variances stay the same"


def format_points(difference: float) -> str:
    """Return a difference of scores in hundredths: with two decimals where one would hide its sign; never -0.0."""
    points = 100 * difference
    return f"{points:+.1f}" if round(points, 1) else f"{round(points, 2) + 0.0:+.2f}" if round(points, 2) else "+0.0"


def format_p(p: float) -> str:
    """Return a p-value: ``= 0.012``, never below ``< 0.0001``."""
    return f"< {_SMALLEST_P:.4f}" if p < _SMALLEST_P else f"= {p:.2g}"


def format_comparison(comparison: Comparison) -> str:
    """Return the verdict with its numbers as a sentence, and what an inconclusive one needs."""
    place = f"{comparison.group}, {name_labels(comparison.budget)}"
    a, b = _name_sides(comparison)
    points = f"{format_points(comparison.estimate.mean)} points of AUROC"
    if comparison.verdict == NO_VERDICT:
        return f"{place}: “{comparison.a}” against “{comparison.b}”: no verdict ({points}; {comparison.missing})."
    low, high = comparison.interval
    numbers = (
        f"({points}, adjusted confidence interval {format_points(low)} to {format_points(high)}, "
        f"p {format_p(comparison.p_holm)}, {_describe_designs(comparison)}, {comparison.images} images)"
    )
    if comparison.verdict == INCONCLUSIVE:
        return f"{place}: {a} against {b} is inconclusive {numbers}. {suggest_size(comparison)}"
    if comparison.verdict == EQUAL:
        return f"{place}: {a} and {b} are practically equal {numbers}."
    return f"{place}: {a} is {comparison.verdict} than {b} {numbers}."


def suggest_size(comparison: Comparison) -> str:
    """Return how many seeds or encoders would decide an inconclusive comparison, if difference and variances stay."""
    estimate = comparison.estimate
    seeds = [len(comparison.designs[0].seeds)] if estimate.seeds is not None else []
    encoders = [len(design.encoders) for design in comparison.designs if len(design.encoders) > 1]
    options = []
    if seeds:
        options.append((_find_smallest(comparison, seeds, lambda number: estimate.resize(seeds=number)), "seeds"))
    if encoders:
        options.append(
            (_find_smallest(comparison, encoders, lambda number: estimate.resize(encoders=number)), "encoders")
        )
    found = [f"{number} {word}" for number, word in options if number is not None]
    if found:
        return f"About {' or '.join(found)} in all would decide it, {_IF_EQUAL}."
    both = _find_smallest(comparison, [*seeds, *encoders], lambda number: estimate.resize(number, number))
    if both is not None:
        return f"About {both} seeds and {both} encoders in all would decide it, {_IF_EQUAL}."
    words = " and ".join(word for _, word in options)
    return f"Even {LIMIT} {words} would not decide it: more test images are needed."


def _find_smallest(comparison: Comparison, counts: Sequence[int], resize: Callable[[int], Estimate]) -> int | None:
    """Return the number of seeds or encoders from which on all up to `LIMIT` decide a comparison; None without one.

    A smaller number may decide by chance: as one term of the variance falls, the degrees of freedom may fall as well.
    """

    def is_decided(number: int) -> bool:
        estimate = resize(number)
        # Half the interval is below a distance if, and only if, the test against a mean at this distance rejects.
        distances = [abs(estimate.mean), comparison.margin - abs(estimate.mean)]
        return any(
            distance > 0 and estimate.p_value(estimate.mean - distance) < 1 - comparison.level for distance in distances
        )

    decided = list(takewhile(is_decided, range(LIMIT, min(counts), -1)))
    return decided[-1] if decided else None


def _name_sides(comparison: Comparison) -> tuple[str, str]:
    """Return the names of both sides; a method with one encoder is called by this encoder."""
    one, other = (design.has_one_encoder for design in comparison.designs)
    if one and comparison.is_paired:
        return f"with this encoder, “{comparison.a}”", f"“{comparison.b}”"
    a = f"this encoder of “{comparison.a}”" if one else f"“{comparison.a}”"
    return a, f"this encoder of “{comparison.b}”" if other else f"“{comparison.b}”"


def _describe_designs(comparison: Comparison) -> str:
    texts = [design.describe() for design in comparison.designs]
    return texts[0] if texts[0] == texts[1] else f"{texts[0]} against {texts[1]}"


def build_comparison_table(comparisons: Sequence[Comparison]) -> list[Table]:
    """Return all tests as one table; none without tests."""
    if not comparisons:
        return []
    numbers = pd.DataFrame(
        [
            {
                "data": comparison.data,
                "encoder": comparison.encoder,
                "budget": comparison.budget,
                "a": comparison.a,
                "b": comparison.b,
                "verdict": comparison.verdict,
                "missing": comparison.missing,
                "auroc_difference": comparison.estimate.mean,
                "low": comparison.interval[0],
                "high": comparison.interval[1],
                "level": comparison.level,
                "p": comparison.estimate.p_value() if not comparison.missing else np.nan,
                "p_holm": comparison.p_holm,
                "runs": _describe_designs(comparison),
                "images": comparison.images,
                "accuracy_difference": comparison.accuracy,
            }
            for comparison in comparisons
        ]
    )
    shown = pd.DataFrame(
        {
            "data set": numbers["data"],
            "encoder": numbers["encoder"],
            "labels": numbers["budget"],
            "method": numbers["a"],
            "verdict": numbers["verdict"],
            "compared with": numbers["b"],
            "AUROC points": [format_points(x) for x in numbers["auroc_difference"]],
            "adjusted interval": [
                NONE if np.isnan(low) else f"{format_points(low)} to {format_points(high)}"
                for low, high in zip(numbers["low"], numbers["high"], strict=True)
            ],
            "p (Holm)": [NONE if np.isnan(p) else format_p(p).removeprefix("= ") for p in numbers["p_holm"]],
            "runs": numbers["runs"],
            "accuracy points": [format_points(x) for x in numbers["accuracy_difference"]],
        }
    )
    margin = f"{100 * comparisons[0].margin:g} point{'s' * (comparisons[0].margin != 0.01)}"
    note = (
        f"The verdict follows from the interval: better or worse where it excludes 0, practically equal where it lies "
        f"within {margin} of 0 on both sides, otherwise inconclusive. The interval covers new test images, label seeds "
        f"and encoders; a method with one encoder is judged by this encoder only. It is adjusted: its level is that at "
        f"which Holm's method tests the difference among all comparisons of the data set (family-wise error rate "
        f"{ALPHA}). There is no verdict below 3 seeds, or where a class has fewer than {MIN_POSITIVES} test images. "
        "AUROC is the primary score; differences in accuracy are shown without a verdict. A point is 0.01 of the score."
    )
    return [build_table("comparisons", "Paired comparisons", note, numbers, shown)]
