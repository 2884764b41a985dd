"""Seeded splits, stratified by class, that keep the images of a patient together."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence

import numpy as np

from simclr_med.data.listing import Entry
from simclr_med.types import SPLITS, Split

Rows = tuple[int, ...]


def assign_splits(
    entries: Sequence[Entry], groups: Sequence[str], val_fraction: float, test_fraction: float, seed: int
) -> dict[Split, Rows]:
    """Return the rows of each split: from the split folders, or from the seed where there are none.

    Args:
        entries: the N images.
        groups: the group of each image, for example its patient.
        val_fraction, test_fraction: fractions of the images in a seeded split.
        seed: seed of the seeded split, at least 0.
    """
    if entries[0].split is None:
        labels = [entry.label for entry in entries]
        test, val, train = split_by_group(labels, groups, (test_fraction, val_fraction), seed)
        return {"train": train, "val": val, "test": test}
    rows: dict[Split, Rows] = {
        split: tuple(row for row, entry in enumerate(entries) if entry.split == split) for split in SPLITS
    }
    if not rows["val"]:
        train = rows["train"]
        labels = [entries[row].label for row in train]
        parts = split_by_group(labels, [groups[row] for row in train], (val_fraction,), seed)
        rows["val"], rows["train"] = (tuple(train[item] for item in part) for part in parts)
    return rows


def split_by_group(
    labels: Sequence[str | None], groups: Sequence[str], fractions: Sequence[float], seed: int
) -> tuple[Rows, ...]:
    """Split items into parts of given fractions without dividing a group.

    Groups are stratified by their most frequent label. Within a stratum, groups come in a random order that depends on
    (seed, stratum). Each part takes groups while the next group brings it closer to its fraction of the stratum's
    items. If every group is a single item, the fractions are exact to one item per stratum.

    Args:
        labels: the label of each of the N items; None for all items without classes.
        groups: the group of each item.
        fractions: the fraction of each part but the last, which gets the rest.
        seed: at least 0.

    Returns:
        The items of each part in ascending order, one part more than fractions.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for item, group in enumerate(groups):
        members[group].append(item)
    parts: list[list[int]] = [[] for _ in range(len(fractions) + 1)]
    for stratum, groups_of_stratum in enumerate(_stratify(labels, members)):
        total = sum(len(members[group]) for group in groups_of_stratum)
        permutation = np.random.default_rng([seed, stratum]).permutation(len(groups_of_stratum))
        order = deque(groups_of_stratum[position] for position in permutation)
        for part, fraction in enumerate(fractions):
            taken = 0
            while order and taken + len(members[order[0]]) / 2 < fraction * total:
                items = members[order.popleft()]
                parts[part].extend(items)
                taken += len(items)
        parts[-1].extend(item for group in order for item in members[group])
    return tuple(tuple(sorted(part)) for part in parts)


def _stratify(labels: Sequence[str | None], members: Mapping[str, Sequence[int]]) -> list[list[str]]:
    """Return the groups of each stratum, sorted; strata are in the order of their labels."""
    strata: dict[str, list[str]] = defaultdict(list)
    for group, items in members.items():
        strata[_most_frequent([labels[item] or "" for item in items])].append(group)
    return [sorted(strata[label]) for label in sorted(strata)]


def _most_frequent(labels: Sequence[str]) -> str:
    """Return the most frequent label; of equally frequent ones, the first in alphabetical order."""
    if len(labels) == 1:  # without patients every image is a group, and a Counter for each takes seconds
        return labels[0]
    counts = Counter(labels)
    return min(counts, key=lambda label: (-counts[label], label))
