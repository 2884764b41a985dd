"""The answer to "Is this set safe to use?", from the findings of an audit, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from simclr_med.audit.findings import TWINS, Finding, count_kinds, crosses_splits, twins_of_test
from simclr_med.audit.pool import Pool

Level = Literal["safe", "care", "unsafe"]
MANY_TWINS = 0.01  # of the test images: that many change a score by up to one point
MANY_LABELS = 0.05  # of the images: about the share of wrong labels in common test sets (Northcutt et al. 2021: 3.4 %)
STARTS: dict[Level, str] = {"safe": "Yes", "care": "With care", "unsafe": "No"}


@dataclass(frozen=True)
class Reason:
    """One reason not to use a data set as it is."""

    level: Level
    sentence: str


@dataclass(frozen=True)
class Verdict:
    """The answer.

    Attributes:
        level: safe, care (usable, if the reasons are looked at) or unsafe (test scores mislead).
        answer: the answer with its first reason, then the other reasons, the strongest first.
        advice: what to do; empty for a safe set.
    """

    level: Level
    answer: tuple[str, ...]
    advice: tuple[str, ...]


def judge(findings: Sequence[Finding], pool: Pool, excluded: int) -> Verdict:
    """Answer from the findings.

    Args:
        findings, pool: of the audit.
        excluded: images that exclude.csv lists newly.
    """
    reasons = sorted(_reasons(findings, pool), key=lambda reason: ("unsafe", "care").index(reason.level))
    level: Level = reasons[0].level if reasons else "safe"
    sentences = [reason.sentence for reason in reasons] or ["nothing was found that distorts scores."]
    answer = (f"Is this set safe to use? {STARTS[level]}: {sentences[0]}", *map(_capitalise, sentences[1:]))
    return Verdict(level, answer, tuple(_advice(count_kinds(findings), excluded)))


def _reasons(findings: Sequence[Finding], pool: Pool) -> Iterator[Reason]:
    counts, tested = count_kinds(findings), int(pool.is_in("test").sum())
    twins = len(twins_of_test(findings, pool))
    if twins:
        yield Reason(
            "unsafe" if twins >= MANY_TWINS * tested else "care",
            f"{twins:,} of {tested:,} test images ({twins / tested:.1%}) stand, identical or nearly so, in the training "
            "or validation split as well; a network that remembers them scores too high.",
        )
    if counts["shared_group"]:
        yield Reason("unsafe", f"{counts['shared_group']:,} images have the same patient as an image of another split.")
    for one in findings:
        if one.kind == "shared_source":
            yield Reason("unsafe", f"images of the same patients seem to stand in several splits: {one.detail}.")
    yield from _smaller_reasons(findings, pool, counts)


def _smaller_reasons(findings: Sequence[Finding], pool: Pool, counts: dict[str, int]) -> Iterator[Reason]:
    in_test = pool.is_in("test")
    pairs = [one for one in findings if one.kind in TWINS and one.image is not None and one.other is not None]
    between = sum(crosses_splits(one, pool) and not (in_test[one.image] or in_test[one.other]) for one in pairs)
    inside = sum(not crosses_splits(one, pool) for one in pairs)
    if counts["opposite_labels"]:
        yield Reason("care", f"{_count(counts['opposite_labels'], 'pair')} of duplicates have different labels.")
    if between:
        yield Reason("care", f"{_count(between, 'pair')} of duplicates link training and validation.")
    if inside:
        yield Reason("care", f"{_count(inside, 'pair')} of duplicates stand inside one split.")
    if counts["label_error"] > MANY_LABELS * len(pool):
        yield Reason("care", f"{counts['label_error']:,} labels look wrong and need a check.")
    for one in findings:
        if one.kind in ("class_shift", "tiny"):
            yield Reason("care", f"{one.detail}.")
    poor = sum(counts[kind] for kind in ("constant", "near_black", "clipped", "upscaled"))
    if poor:
        yield Reason("care", f"{_count(poor, 'image')} are constant, almost black, overexposed or enlarged.")
    if counts["imbalance"]:
        yield Reason("care", "some classes are rare: " + "; ".join(one.detail for one in findings if one.kind ==
                     "imbalance") + ".")


def _advice(counts: dict[str, int], excluded: int) -> Iterator[str]:
    if any(counts[kind] for kind in TWINS):
        yield "Look at the pairs below first: the threshold for near duplicates comes from the set itself and can err."
    if counts["shared_source"]:
        yield (
            "Find out which images belong to one patient, and split again by patient (dataset=folder with "
            "dataset.groups_csv does it). Until then, scores on this test split say little about new patients."
        )
    if counts["label_error"]:
        yield "Show the labels to check to an expert. They are candidates, so that nothing is left out for them."
    if excluded:
        yield f"Leave the {_count(excluded, 'image')} of exclude.csv out with:"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"


def _capitalise(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
