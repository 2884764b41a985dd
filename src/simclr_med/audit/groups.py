"""Patients (or lesions, or other groups) whose images stand in several splits, from a CSV that names them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from simclr_med.audit.findings import Finding
from simclr_med.audit.pool import Pool
from simclr_med.data.image_rows import read_listed_images
from simclr_med.data.source import Source
from simclr_med.errors import DataError

COLUMN = "patient"


def read_groups(path: Path, source: Source, pool: Pool) -> dict[str, list[int]]:
    """Return the images of each patient; lines without a patient are skipped.

    Args:
        path: CSV with the column ``patient`` and those of `simclr_med.data.image_rows.read_listed_images`.
        source, pool: the data set and its images.

    Raises:
        DataError: the CSV cannot be read, or does not fit the data set.
    """
    images = {pool.place(image): image for image in range(len(pool))}
    groups: dict[str, list[int]] = defaultdict(list)
    for listed in read_listed_images("stage.groups_csv", path, source, (COLUMN,)):
        if not listed.cells[COLUMN]:
            continue
        image = images.get((listed.split, listed.row))
        if image is None:
            raise DataError(
                f"stage.groups_csv={path}: {listed.split} has no row {listed.row}. Use the CSV of this data set."
            )
        groups[listed.cells[COLUMN]].append(image)
    return groups


def find_shared_groups(groups: dict[str, list[int]], pool: Pool) -> Iterator[Finding]:
    """Yield a finding for each image of a patient in a split that an image of the same patient in a later one follows.

    The other image of each finding is in the last of the patient's splits, the one that is scored.
    """
    for name, images in groups.items():
        last = max(images, key=lambda image: pool.split_N[image])
        for image in images:
            if pool.split_N[image] != pool.split_N[last]:
                yield Finding("shared_group", f"patient {name}", last, image)
