"""The sentences and cells that say what pretraining, or a selection of images, changes."""

from __future__ import annotations

from collections.abc import Sequence

from simclr_med.report.budgets import describe_budget
from simclr_med.report.comparison_texts import format_points
from simclr_med.report.comparisons import EQUAL, INCONCLUSIVE, NO_VERDICT, VERDICTS, Comparison

_EFFECTS = {
    "better": "helps",
    "worse": "harms",
    EQUAL: "no difference that matters",
    INCONCLUSIVE: "not decided",
    NO_VERDICT: "no verdict",
}


def summarise_effects(use: str, comparisons: Sequence[Comparison], is_first: bool) -> str:
    """Return ``With the encoder frozen: helps with 50 labels (+8.7, +4.1 to +13.2); not decided with ...``.

    Args:
        use: what the pretrained encoder is used for.
        comparisons: under each label budget.
        is_first: whether the first gain names its unit.
    """
    parts = []
    unit = " points of AUROC, adjusted interval" if is_first else ","
    for verdict in VERDICTS:
        found = [comparison for comparison in comparisons if comparison.verdict == verdict]
        gains = []
        for comparison in found:
            points, interval = _format_points(comparison)
            gains.append(f"{describe_budget(comparison.budget)} ({points}{f'{unit} {interval}' if interval else ''})")
            unit = ","
        if gains:
            parts.append(f"{_EFFECTS[verdict]} with {_join_words(gains)}")
    return f"{use}: {'; '.join(parts)}."


def _format_points(comparison: Comparison) -> tuple[str, str]:
    """Return the gain in points and its interval, empty without a verdict."""
    points = format_points(comparison.estimate.mean)
    if comparison.verdict == NO_VERDICT:
        return points, ""
    return points, " to ".join(map(format_points, comparison.interval))


def format_gain(comparison: Comparison) -> str:
    """Return a cell: ``+8.7 (+4.1 to +13.2): better``."""
    points, interval = _format_points(comparison)
    if not interval:
        return f"{points}: no verdict ({comparison.missing})"
    return f"{points} ({interval}): {comparison.verdict}"


def _join_words(words: Sequence[str]) -> str:
    """Return ``a, b and c``."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
