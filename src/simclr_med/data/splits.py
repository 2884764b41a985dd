"""A split that a seed decides: by class where there are classes, and never one patient on two sides."""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from simclr_med.errors import DataError


def split_by_group(
    labels: Sequence[str | None], groups: Sequence[str], fractions: Sequence[float], seed: int
) -> tuple[tuple[int, ...], ...]:
    """Deal items to parts of given sizes.

    Groups go as a whole. They are stratified by their commonest label: within a stratum their order is a permutation
    by (seed, stratum), and each part takes groups while it is nearer to its share of the stratum's items with the next
    group than without. Without groups of several items the shares are exact to one item a stratum.

    Args:
        labels: of the N items; None all over without classes.
        groups: of the N items.
        fractions: of each part but the last, which gets the rest.
        seed: at least 0.

    Returns:
        For each part, the last included, its items in ascending order.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for item, group in enumerate(groups):
        members[group].append(item)
    strata: dict[str, list[str]] = defaultdict(list)
    for group, items in members.items():
        counts = Counter(labels[item] or "" for item in items)
        strata[min(counts, key=lambda label: (-counts[label], label))].append(group)
    parts: list[list[int]] = [[] for _ in range(len(fractions) + 1)]
    for stratum, label in enumerate(sorted(strata)):
        names = sorted(strata[label])
        total = sum(len(members[name]) for name in names)
        order = list(np.random.default_rng([seed, stratum]).permutation(len(names)))
        for part, fraction in enumerate(fractions):
            taken = 0
            while order and taken + len(members[names[order[0]]]) / 2 < fraction * total:
                items = members[names[order.pop(0)]]
                parts[part].extend(items)
                taken += len(items)
        parts[-1].extend(item for place in order for item in members[names[place]])
    return tuple(tuple(sorted(part)) for part in parts)


def read_groups(file: Path, names: Sequence[str]) -> list[str]:
    """Who each image is of.

    Args:
        file: a CSV with the columns ``file`` (path relative to the data set's folder, or bare name) and ``patient``.
        names: the images' relative names.

    Returns:
        The patient of each name.

    Raises:
        DataError: no such file or columns, or an image that it does not name, or names twice.
    """
    try:
        with open(file, encoding="utf-8-sig", newline="") as handle:
            rows = list(csv.DictReader(handle))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        told = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"dataset.groups_csv={file}: must be a readable CSV ({told}). Check the path.") from error
    if not rows or not {"file", "patient"} <= set(rows[0]):
        has = f"the columns {' | '.join(map(str, rows[0]))}" if rows else "no rows"
        raise DataError(
            f"dataset.groups_csv={file}: must have rows with the columns file and patient, separated by commas; it has "
            f"{has}. Correct the CSV."
        )
    known: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row["file"] and row["patient"]:
            known[row["file"].strip().replace("\\", "/").removeprefix("./")].add(row["patient"].strip())
    found = []
    bare = Counter(PurePosixPath(name).name for name in names)
    for name in names:
        base = PurePosixPath(name).name
        who = known.get(name) or (known.get(base, set()) if bare[base] == 1 else set())
        if len(who) != 1:
            rule = "name a patient for each image" if not who else "name one patient for an image"
            more = f" ({bare[base]} images have this file name: give their folders)" if bare[base] > 1 else ""
            raise DataError(f"dataset.groups_csv={file}: must {rule}, not so for {name}{more}. Correct the CSV.")
        found.append(next(iter(who)))
    return found
