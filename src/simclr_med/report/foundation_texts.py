"""The answer about pretrained models of timm: continue their pretraining, start from scratch, or take them frozen."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

from simclr_med.report.budgets import describe_budget
from simclr_med.report.comparison_texts import format_comparison
from simclr_med.report.comparisons import EQUAL, NO_VERDICT, Comparison, name_encoders
from simclr_med.report.pairs import Foundation

FROZEN, SCRATCH, CONTINUED = "take it frozen", "start from scratch", "continue its pretraining"
_CHEAPEST_FIRST = (FROZEN, SCRATCH, CONTINUED)  # a frozen model needs no pretraining
_OPPOSITES = {"better": "worse", "worse": "better"}


def describe_foundation(foundation: Foundation, comparisons: Sequence[Comparison]) -> list[str]:
    """Return the answer about one model as a sentence, then its comparisons as sentences.

    Args:
        foundation: the model.
        comparisons: all those of its data set.
    """
    sides = {FROZEN: foundation.frozen, SCRATCH: foundation.scratch, CONTINUED: foundation.continued}
    names = {side[1]: use for use, side in sides.items() if side is not None}
    found = [one for one in comparisons if {one.a, one.b} <= set(names) and _is_of(one, foundation)]
    answers: dict[str, list[str]] = {}
    for budget in dict.fromkeys(one.budget for one in found):
        verdicts = {(names[one.a], names[one.b]): one.verdict for one in found if one.budget == budget}
        answers.setdefault(choose_use(verdicts), []).append(describe_budget(budget))
    parts = [f"{answer} with {', '.join(budgets)}" for answer, budgets in answers.items()]
    missing = [] if foundation.scratch else ["no encoder was pretrained from random weights"]
    missing += [] if foundation.continued else ["continued pretraining was not tried"]
    rest = f" ({'; '.join(missing)})" if missing else ""
    return [
        f"{foundation.model}: {'; '.join(parts) or 'nothing to compare it with'}{rest}.",
        *map(format_comparison, found),
    ]


def choose_use(verdicts: Mapping[tuple[str, str], str]) -> str:
    """Return what the verdicts of one label budget say: one use, or which ones are not decided.

    A use that another one is better than is out. If one is left, it is the answer. If several are, the cheapest is, but
    only if it is practically equal to each of the others.

    Args:
        verdicts: (use, other use) -> verdict of the first against the second.
    """
    both = dict(verdicts) | {(b, a): _OPPOSITES.get(verdict, verdict) for (a, b), verdict in verdicts.items()}
    uses = [use for use in _CHEAPEST_FIRST if any(use in pair for pair in both)]
    left = [use for use in uses if not any(both.get((other, use)) == "better" for other in uses)]
    if len(left) == 1:
        return left[0]
    open_pairs = [both[pair] for pair in itertools.combinations(left, 2) if pair in both]
    if NO_VERDICT in open_pairs:
        return "no verdict"
    if left and all(both.get((left[0], other)) == EQUAL for other in left[1:]):
        return f"{left[0]} (nothing is better, and it costs less)"
    return f"not decided between “{'” and “'.join(left or uses)}”"


def _is_of(comparison: Comparison, foundation: Foundation) -> bool:
    """Whether a comparison is of this model with this encoder; another encoder may have a method of the same name."""
    return comparison.encoder in set(_name_pairs(foundation))


def _name_pairs(foundation: Foundation) -> Iterator[str]:
    for (a, _), (b, _) in foundation.list_pairs():
        yield name_encoders(a, b)
