"""The short audit that stage=preview shows: duplicates and poor images, without features of an encoder."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from simclr_med.audit.findings import count_kinds
from simclr_med.audit.inspection import check_pixels
from simclr_med.audit.kinds import KINDS
from simclr_med.audit.pool import Pool, read_pool
from simclr_med.audit.verdict import judge
from simclr_med.data.progress import show_progress
from simclr_med.data.source import Source
from simclr_med.types import Split


@dataclass(frozen=True)
class ShortAudit:
    """What the preview says about the data set.

    Attributes:
        lines: the answer and its reasons.
        rows: of the summary: the number of findings of each kind that has some.
    """

    lines: tuple[str, ...]
    rows: dict[str, str]


def audit_shortly(source: Source, seed: int, total: int, most: int) -> ShortAudit:
    """Look for duplicates and poor images.

    Args:
        source: the data set.
        seed: of the images that the features are fitted to.
        total: its images.
        most: images; a larger data set is left to stage=audit.
    """
    if total > most:
        return ShortAudit((f"Not looked at for duplicates: {total:,} images. Use stage=audit.",), {})
    pool = read_audited(source)
    findings = check_pixels(pool, source.classes, seed, lambda done, total: None).findings
    verdict = judge(findings, pool, 0)
    lines = (*verdict.answer, "Labels are checked, and pairs are shown, by stage=audit.")
    counts = count_kinds(findings)
    return ShortAudit(lines, {KINDS[kind].title: f"{count:,}" for kind, count in counts.items() if count})


def read_audited(source: Source) -> Pool:
    """Read all images of a data set, and measure the traces of interpolation in its files, if it has any."""
    pool = read_images(source)
    found = [traces_N3 for split in pool.splits if (traces_N3 := source.interpolation(split)) is not None]
    return replace(pool, traces_N3=np.concatenate(found)) if found else pool


def read_images(source: Source, splits: tuple[Split, ...] | None = None) -> Pool:
    """Read the images of a data set for an audit, those of all splits by default, and show the progress."""
    with show_progress(f"Reading {source.name}", "images") as show:
        return read_pool(source, lambda done: show(done, None), splits)
