"""Choose the images that are shown and measured, and the groups that colour them in pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simclr_med.streams import Stream


@dataclass(frozen=True)
class Groups:
    """The group that colours each image.

    Attributes:
        codes_N: int64; None without labels.
        names: of the codes; empty without labels.
    """

    codes_N: np.ndarray | None
    names: tuple[str, ...]


def groups(labels_NL: np.ndarray | None, classes: Sequence[str]) -> Groups:
    """Group images by class; of a multi-label set, by their single label, no label or several labels."""
    if labels_NL is None:
        return Groups(None, ())
    if labels_NL.shape[1] == 1:
        return Groups(labels_NL[:, 0].astype(np.int64), tuple(classes))
    many = labels_NL.sum(axis=1)
    codes = np.where(many == 1, labels_NL.argmax(axis=1), len(classes) + (many > 1))
    return Groups(codes.astype(np.int64), (*classes, "none of them", "several of them"))


def named(labels_L: np.ndarray | None, classes: Sequence[str]) -> str:
    """One image's class, or its labels, in words; empty without labels."""
    if labels_L is None:
        return ""
    if len(labels_L) == 1:
        return classes[int(labels_L[0])]
    return ", ".join(classes[int(k)] for k in np.flatnonzero(labels_L)) or "none of them"


def points(count: int, most: int, seed: int) -> np.ndarray:
    """Return at most `most` of `count` rows, int64, sorted; a function of (count, most, seed)."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng([seed, Stream.ANALYSED_POINTS]).choice(count, most, replace=False))


def shown(codes_N: np.ndarray | None, count: int, most: int, seed: int) -> np.ndarray:
    """Return rows to show, int64 [min(most, count)], from each group in turn.

    Args:
        codes_N: the groups, or None for a plain random choice.
        count: N.
        most: rows to return.
        seed: of the choice.
    """
    order = np.random.default_rng([seed, Stream.SHOWN_IMAGES]).permutation(count)
    if codes_N is None:
        return order[:most]
    codes = codes_N[order]
    turn = np.empty(count, np.int64)  # rows of the same group before each row
    for code in np.unique(codes):
        turn[codes == code] = np.arange(int((codes == code).sum()))
    return order[np.lexsort((codes, turn))][:most]
