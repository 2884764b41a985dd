"""The answer to "Is this set safe to use?", from the findings of an audit, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from simclr_med.audit.findings import TWINS, Finding, count_kinds, crosses_splits, twins_of_test
from simclr_med.audit.pool import Pool

Level = Literal["safe", "care", "unsafe"]
MANY_TWINS = 0.01  # of the test images: that many change a score by up to one point
STARTS: dict[Level, str] = {"safe": "Yes", "care": "With care", "unsafe": "No"}


@dataclass(frozen=True)
class Reason:
    """One thing to know about a data set; at the level safe, it distorts no score."""

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
    reasons = sorted(_reasons(findings, pool), key=lambda reason: ("unsafe", "care", "safe").index(reason.level))
    level: Level = reasons[0].level if reasons else "safe"
    nothing = ["nothing was found that distorts scores."] if level == "safe" else []
    sentences = [*nothing, *(reason.sentence for reason in reasons)]
    answer = (f"Is this set safe to use? {STARTS[level]}: {sentences[0]}", *map(_capitalise, sentences[1:]))
    return Verdict(level, answer, tuple(_advice(count_kinds(findings), excluded)))


def _reasons(findings: Sequence[Finding], pool: Pool) -> Iterator[Reason]:
    counts, tested = count_kinds(findings), int(pool.is_in("test").sum())
    twins = len(twins_of_test(findings, pool))
    if twins:
        yield Reason(
            "unsafe" if twins >= MANY_TWINS * tested else "care",
            f"{twins:,} of {tested:,} test images ({twins / tested:.1%}) {_verb(twins, 'has', 'have')} an exact or "
            "near duplicate in the training or validation split; a network that remembers it scores too high.",
        )
    if counts["shared_group"]:
        yield Reason("unsafe", f"{counts['shared_group']:,} images have the same patient as an image of another split.")
    signs = [one.detail for one in findings if one.kind == "shared_source"]
    if signs:
        yield Reason(
            "unsafe" if len(signs) > 1 else "care",
            f"images of the same patients seem to stand in several splits: {'; '.join(signs)}.",
        )
    yield from _smaller_reasons(findings, pool, counts)


def _smaller_reasons(findings: Sequence[Finding], pool: Pool, counts: dict[str, int]) -> Iterator[Reason]:
    in_test = pool.is_in("test")
    pairs = [one for one in findings if one.kind in TWINS]
    between = sum(crosses_splits(one, pool) and not in_test[list(one.images)].any() for one in pairs)
    inside = sum(not crosses_splits(one, pool) for one in pairs)
    if counts["opposite_labels"]:
        number = counts["opposite_labels"]
        first = next(one for one in findings if one.kind == "opposite_labels")
        example = " and ".join(f"{split} {row}" for split, row in map(pool.place, first.images))
        yield Reason(
            "care",
            f"{_count(number, 'pair')} of duplicates {_verb(number, 'has', 'have')} different labels, "
            f"such as {example}.",
        )
    if between:
        yield Reason(
            "care",
            f"{_count(between, 'pair')} of duplicates {_verb(between, 'links', 'link')} training and validation.",
        )
    if inside:
        yield Reason(
            "safe", f"{_count(inside, 'pair')} of duplicates {_verb(inside, 'stands', 'stand')} inside one split."
        )
    if counts["label_error"]:
        number = counts["label_error"]
        yield Reason("safe", f"{_count(number, 'label')} of {len(pool):,} {_verb(number, 'is', 'are')} worth a check.")
    for one in findings:
        if one.kind in ("class_shift", "tiny"):
            yield Reason("care", f"{one.detail}.")
    poor = sum(counts[kind] for kind in ("constant", "near_black", "clipped", "upscaled"))
    if poor:
        yield Reason(
            "care",
            f"{_count(poor, 'image')} {_verb(poor, 'is', 'are')} constant, almost black, overexposed or enlarged.",
        )
    if counts["imbalance"]:
        yield Reason(
            "safe",
            "some classes are rare: " + "; ".join(one.detail for one in findings if one.kind == "imbalance") + ".",
        )


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


def _verb(number: int, one: str, several: str) -> str:
    return one if number == 1 else several


def _capitalise(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
