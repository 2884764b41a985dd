"""Which images to leave out, and why: the list that dataset.exclude reads."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

import numpy as np

from simclr_med.audit.findings import TWINS, Finding, crosses_splits
from simclr_med.audit.pool import Pool
from simclr_med.csv_cells import escape_cell
from simclr_med.types import SPLITS, Split

# Reasons, the strongest first.
TWIN, GROUP, CONFLICT, COPY, EMPTY = (
    "twin in {split}",
    "same patient or group in {split}",
    "duplicate with another label",
    "exact copy in the same split",
    "constant image",
)


def choose_exclusions(findings: Sequence[Finding], pool: Pool) -> dict[int, str]:
    """Return the images to leave out, with the reason.

    Of two images in different splits, the one that is trained on (or chosen by) is left out and the one that is scored
    stays, so that scores stay comparable with published ones. For the same reason no test image is left out. Inside the
    training or validation split, all copies with different labels are left out, since nobody knows which label is
    right, and all but one of exact copies. Near duplicates inside a split stay: they distort no score.
    """
    rank_N = np.array([SPLITS.index(split) for split in pool.splits])[pool.split_N]  # later splits are scored
    in_test = pool.is_in("test")
    reasons: dict[int, str] = {}

    def leave_out(image: int, reason: str) -> None:
        if not in_test[image]:
            reasons.setdefault(image, reason)

    for kinds, reason in ((TWINS, TWIN), (("shared_group",), GROUP)):
        for one in findings:
            if one.kind in kinds and crosses_splits(one, pool):
                first, last = sorted(one.images, key=lambda image: rank_N[image])
                leave_out(first, reason.format(split=pool.place(last)[0]))
    inside = [one for one in findings if not crosses_splits(one, pool)]
    for kind, reason in (("opposite_labels", CONFLICT), ("exact_duplicate", COPY), ("constant", EMPTY)):
        for one in inside:
            if one.kind == kind:
                # One of the equal copies stays; of a conflict and of empty images, none.
                for image in one.images[:1] if kind == "exact_duplicate" else one.images:
                    leave_out(image, reason)
    return reasons


def write_exclusions(
    reasons: Mapping[int, str], pool: Pool, whole_rows: Mapping[Split, np.ndarray], earlier: Sequence[tuple[Split, int]]
) -> str:
    """Return exclude.csv, sorted by split and row.

    Args:
        reasons: of `choose_exclusions`.
        pool: the audited images.
        whole_rows: by split, the row in the whole data set of each audited image.
        earlier: splits and rows that dataset.exclude leaves out already; the CSV takes the place of that one.
    """
    lines: list[tuple[Split, int, str, str]] = [(split, row, "", "left out already") for split, row in earlier]
    for image, reason in reasons.items():
        split, row = pool.place(image)
        name = "" if pool.names is None else escape_cell(pool.names[image])
        lines.append((split, int(whole_rows[split][row]), name, reason))
    lines.sort(key=lambda line: (SPLITS.index(line[0]), line[1]))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("split", "index", "file", "reason"))
    writer.writerows(lines)
    return text.getvalue()
