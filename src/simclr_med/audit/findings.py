"""What an audit finds: one `Finding` for each problem of an image, of a pair or of the data set."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from simclr_med.audit.kinds import KINDS
from simclr_med.audit.pool import Pool
from simclr_med.csv_cells import escape_cell

TWINS = ("exact_duplicate", "near_duplicate")
COLUMNS = ("kind", "split", "index", "other_split", "other_index", "score", "detail", "file", "other_file")


@dataclass(frozen=True)
class Finding:
    """One problem.

    Attributes:
        kind: a key of `KINDS`.
        detail: what was found, in words.
        image, other: numbers in the pool; None for a problem of the whole set, or of one image.
        score: of the detector, in its own unit (correlation, probability, fraction); None where there is none.
    """

    kind: str
    detail: str
    image: int | None = None
    other: int | None = None
    score: float | None = None

    @property
    def images(self) -> tuple[int, ...]:
        """The images, none to two."""
        return tuple(image for image in (self.image, self.other) if image is not None)


def crosses_splits(finding: Finding, pool: Pool) -> bool:
    """Return whether the two images of a finding are in different splits."""
    return len({int(pool.split_N[image]) for image in finding.images}) > 1


def twins_of_test(findings: Iterable[Finding], pool: Pool) -> set[int]:
    """Return the test images that have an exact or near duplicate in another split."""
    in_test = pool.is_in("test")
    pairs = [one for one in findings if one.kind in TWINS and crosses_splits(one, pool)]
    return {image for one in pairs for image in one.images if in_test[image]}


def write_findings(findings: Sequence[Finding], pool: Pool) -> str:
    """Return findings.csv: a line for each finding, in the order of `KINDS`; empty cells where there is no image."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = COLUMNS if pool.names is not None else COLUMNS[:-2]
    writer.writerow(columns)
    for one in findings:
        places = [("", "") if image is None else pool.place(image) for image in (one.image, one.other)]
        score = "" if one.score is None else f"{one.score:.4f}"
        row = [one.kind, *places[0], *places[1], score, escape_cell(one.detail)]
        if pool.names is not None:
            row += ["" if image is None else escape_cell(pool.names[image]) for image in (one.image, one.other)]
        writer.writerow(row)
    return text.getvalue()


def count_kinds(findings: Iterable[Finding]) -> dict[str, int]:
    """Return the number of findings of every kind, 0 included."""
    counts = dict.fromkeys(KINDS, 0)
    for one in findings:
        counts[one.kind] += 1
    return counts
