"""The page of an audit: its facts, its summary, and pictures of the findings."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from simclr_med.audit.findings import Finding, count_kinds, crosses_splits
from simclr_med.audit.kinds import KINDS
from simclr_med.audit.pool import Pool
from simclr_med.audit.verdict import Verdict
from simclr_med.data.source import Source
from simclr_med.plots.channels import name_channels
from simclr_med.report.audit_page import AuditPage, AuditSection, Picture
from simclr_med.stages.sampling import named
from simclr_med.types import Split


def build_page(
    source: Source,
    pool: Pool,
    findings: Sequence[Finding],
    verdict: Verdict,
    exclude: Path | None,
    pictures: int,
) -> AuditPage:
    """Return the content of the page.

    Args:
        source: the data set; its images are read again, since the page shows them in full size.
        pool, findings, verdict: of the audit.
        exclude: the CSV of images to leave out; None if there are none.
        pictures: of each kind, at most.
    """
    counts = count_kinds(findings)
    rows = [(kind.title, f"{counts[key]:,}", kind.meaning) for key, kind in KINDS.items()]
    chosen = {key: _choose(key, findings, pool, pictures) for key in KINDS}
    images = _read_shown(source, pool, [one for found in chosen.values() for one in found])
    sections = [
        AuditSection(
            key,
            _capitalise(kind.title),
            f"{kind.meaning} {kind.method}",
            counts[key],
            [f"{_capitalise(one.detail)}." for one in findings if one.kind == key and one.image is None],
            [_picture(one, pool, images, source.classes) for one in chosen[key]],
            _describe_choice(key, counts[key], len(chosen[key])),
        )
        for key, kind in KINDS.items()
        if counts[key]
    ]
    shape = name_channels(source.channels)
    each = ", ".join(f"{int(pool.is_in(split).sum()):,} {split}" for split in pool.splits)
    return AuditPage(
        title=f"Audit of {source.name}",
        level=verdict.level,
        answer=verdict.answer,
        advice=verdict.advice,
        command="" if exclude is None else f"simclr-med ... dataset.exclude={shlex.quote(str(exclude))}",
        facts={
            "images": each,
            "size": f"{source.size} px, {shape}",
            "classes": f"{len(source.classes)}: {', '.join(source.classes)}" if source.classes else "no labels",
        }
        | ({"files": " ".join(lines)} if (lines := source.remarks().lines) else {}),
        summary=[("check", "found", "why it matters"), *rows],
        sections=sections,
    )


def _choose(kind: str, findings: Sequence[Finding], pool: Pool, most: int) -> list[Finding]:
    """Return the findings of a kind that get a picture: those across splits first.

    Of near duplicates, the least similar pairs come second, since they show whether the threshold is right.
    """
    found = [one for one in findings if one.kind == kind and one.images]
    across = sorted(found, key=lambda one: not crosses_splits(one, pool))
    if kind != "near_duplicate" or len(found) <= most:
        return across[:most]
    weakest = found[-(most // 2) :]
    return [one for one in across if one not in weakest][: most - len(weakest)] + weakest


def _describe_choice(kind: str, count: int, shown: int) -> str:
    """Return which findings have a picture; empty where all have one, or none has."""
    if shown in (0, count):
        return ""
    if kind == "near_duplicate":
        return (
            f"Shown are {shown} of {count:,} pairs: the most similar ones across splits, then the least similar ones."
        )
    return f"The first {shown} of {count:,}."


def _read_shown(source: Source, pool: Pool, shown: Sequence[Finding]) -> dict[int, np.ndarray]:
    """Return the whole images of some findings, by their number in the pool."""
    wanted = {image for one in shown for image in one.images}
    places: dict[Split, dict[int, int]] = {}
    for image in wanted:
        split, row = pool.place(image)
        places.setdefault(split, {})[row] = image
    return {
        image: np.array(images[row])
        for split, rows in places.items()
        for images in [source.split(split).images]
        for row, image in rows.items()
    }


def _picture(one: Finding, pool: Pool, images: dict[int, np.ndarray], classes: Sequence[str]) -> Picture:
    names = [_name(image, pool, classes) for image in one.images]
    return Picture([images[image] for image in one.images], names, _capitalise(one.detail))


def _name(image: int, pool: Pool, classes: Sequence[str]) -> str:
    split, row = pool.place(image)
    label = "" if pool.labels_NL is None else named(pool.labels_NL[image], classes)
    file = "" if pool.names is None else f" ({pool.names[image]})"
    return f"{split} {row}{file}: {label}" if label else f"{split} {row}{file}"


def _capitalise(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
