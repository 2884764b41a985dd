"""Data fractions: select the images that a run uses. A larger budget always contains the smaller ones.

Every budget takes the first images of an order that depends only on (labels, seed): a random permutation
(``random``), one that gives every class its share (``stratified``), or one permutation per class (``per_class``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from simclr_med.errors import DataError
from simclr_med.streams import Stream

TOLERANCE = 0.1  # of the ratio of class sizes that data_fraction.imbalance_factor asks for


def select_subset(labels_NL: np.ndarray | None, count: int, **fraction: Any) -> tuple[np.ndarray, list[str]]:
    """Return the rows of a split that a data fraction selects.

    Args:
        labels_NL: int [N, L] in medmnist's layout, or None.
        count: N, images in the split.
        fraction: keyword arguments of `order_subset`.

    Returns:
        int64 row indices, sorted and distinct, and notes for the user.

    Raises:
        DataError, ValueError: as `order_subset`.
    """
    order, notes = order_subset(labels_NL, count, **fraction)
    return np.sort(order), notes


def split_subset(
    labels_NL: np.ndarray | None, count: int, *, hold_out: bool = False, **fraction: Any
) -> tuple[np.ndarray, np.ndarray | None, list[str]]:
    """Return the rows of a split to train on, and those to validate on.

    Args:
        labels_NL, count, fraction: as in `select_subset`.
        hold_out: hold out a quarter of the selected rows. Of each class, every fourth image in the order of the budget
            is held out, from the second or, in every other class, the third. So each class keeps an image to train on,
            and what a small budget holds out, a larger one holds out as well. Images with several labels count as one
            class.

    Returns:
        rows to train on and rows held out (None without hold_out), both int64, sorted and distinct, and notes for the
        user.

    Raises:
        DataError, ValueError: as `order_subset`.
    """
    order, notes = order_subset(labels_NL, count, **fraction)
    if not hold_out:
        return np.sort(order), None, notes
    labels_N = _class_labels(labels_NL)
    strata = np.zeros(len(order), np.int64) if labels_N is None else labels_N[order]
    held_out = np.zeros(len(order), bool)
    for stratum in np.unique(strata):
        held_out[np.flatnonzero(strata == stratum)[1 + stratum % 2 :: 4]] = True
    if not held_out.any():
        notes.append(
            f"No class has enough of the {len(order)} labelled images to hold one out: every epoch is trained and the "
            "last one is kept."
        )
    return np.sort(order[~held_out]), np.sort(order[held_out]), notes


def order_subset(
    labels_NL: np.ndarray | None,
    count: int,
    *,
    samples: int | None = None,
    percent: float | None = None,
    per_class: int | None = None,
    strategy: Literal["random", "stratified"] = "stratified",
    strict: bool = False,
    imbalance_factor: float | None = None,
    seed: int,
    classes: int = 0,
    selection: np.ndarray | None = None,
) -> tuple[np.ndarray, list[str]]:
    """Return the rows that a data fraction selects, in the order in which the budget takes them.

    Args:
        labels_NL: int [N, 1] class indices. A multi-label matrix and None allow budgets of samples or percent only,
            whose images are then drawn at random.
        count: N, images in the split.
        samples: number of images.
        percent: percentage of the images (rounded, at least one image).
        per_class: number of images per class; a class with fewer images gives all of them, with a note.
        strategy: order for samples and percent.
        strict: raise an error instead of a note if a class has too few images for per_class.
        imbalance_factor: make the classes long-tailed before the budget: the k-th largest of K classes keeps
            n_max * factor^(-k / (K - 1)) images (Cui et al. 2019, section 5.1), n_max as large as the data allow.
        seed: at least 0.
        classes: K, for a per_class budget; classes above the highest label have no images.
        selection: rows in the order of a selection.csv; the budget takes its first ones, without regard to labels.

    Returns:
        int64 row indices, distinct, and notes for the user. Of each class, a smaller budget takes the first ones.

    Raises:
        DataError: the budget is larger than the split, or needs classes that the data set does not have.
        ValueError: more than one budget.
    """
    if sum(budget is not None for budget in (samples, percent, per_class)) > 1:
        raise ValueError("expected at most one of samples, percent and per_class")
    if selection is not None:
        return selection[:samples].astype(np.int64), []
    notes: list[str] = []
    class_options = {"per_class": per_class, "imbalance_factor": imbalance_factor}
    needs_classes = any(value is not None for value in class_options.values())
    labels_N = _require_class_labels(labels_NL, class_options) if needs_classes else _class_labels(labels_NL)
    members = [] if labels_N is None else _order_classes(labels_N, seed)
    if imbalance_factor is not None:
        members = _make_long_tailed(members, imbalance_factor)
    if per_class is not None:
        members += [np.empty(0, np.int64)] * (classes - len(members))
        chosen = _take_first_of_each(members, per_class, strict, notes)
    else:
        if strategy == "stratified" and members:
            order = _interleave(members, seed)
        else:
            order = np.random.default_rng([seed, Stream.SUBSET_ORDER]).permutation(count)
            if imbalance_factor is not None:
                order = order[np.isin(order, np.concatenate(members))]
        chosen = order[: _count_samples(samples, percent, len(order))]
    if imbalance_factor is not None:
        assert labels_N is not None, "checked above"
        _check_imbalance(labels_N[chosen], len(members), imbalance_factor)
    return chosen.astype(np.int64), notes


def _count_samples(samples: int | None, percent: float | None, available: int) -> int | None:
    """Return the number of images of a budget; None for all."""
    if percent is not None:
        return max(1, round(available * percent / 100))
    if samples is not None and samples > available:
        raise DataError(
            f"data_fraction.samples={samples}: only {available} images are available. "
            "Choose fewer, or data_fraction=full."
        )
    return samples


def _class_labels(labels_NL: np.ndarray | None) -> np.ndarray | None:
    """Return labels_N of a data set with one label per image, otherwise None."""
    return None if labels_NL is None or labels_NL.shape[1] > 1 else labels_NL[:, 0]


def _require_class_labels(labels_NL: np.ndarray | None, options: Mapping[str, object]) -> np.ndarray:
    """Return labels_N of a data set with one label per image; raise an error that names the option otherwise."""
    labels_N = _class_labels(labels_NL)
    if labels_N is not None:
        return labels_N
    reason = "has no labels" if labels_NL is None else "has several labels per image"
    key, value = next((key, value) for key, value in options.items() if value is not None)
    raise DataError(
        f"data_fraction.{key}={value}: needs one label per image, but the data set {reason}. "
        "Use data_fraction.samples or data_fraction.percent."
    )


def _order_classes(labels_N: np.ndarray, seed: int) -> list[np.ndarray]:
    """Return the rows of each class in a random order."""
    rows = [np.flatnonzero(labels_N == k) for k in range(int(labels_N.max()) + 1)]
    return [np.random.default_rng([seed, Stream.SUBSET_CLASS, k]).permutation(rows_k) for k, rows_k in enumerate(rows)]


def _interleave(members: list[np.ndarray], seed: int) -> np.ndarray:
    """Return all rows in an order whose every prefix has the classes in proportion, with an image of each.

    The first image of every class comes first, the larger classes before the smaller ones. The rest follows by
    Sainte-Lague's method, which rounds shares to the nearest image. The method of largest remainders would not do:
    its shares can shrink as the budget grows, and the budgets would not be nested.
    """
    rows = np.concatenate(members)
    position = np.concatenate([(np.arange(len(m)) + 0.5) / max(len(m), 1) for m in members])
    firsts = np.cumsum([0, *(len(m) for m in members[:-1])])[[len(m) > 0 for m in members]]
    position[firsts] = [-len(m) for m in members if len(m)]
    tie = np.random.default_rng([seed, Stream.SUBSET_TIE]).permutation(len(rows))
    return np.asarray(rows[np.lexsort((tie, position))])


def _take_first_of_each(members: list[np.ndarray], per_class: int, strict: bool, notes: list[str]) -> np.ndarray:
    for k, rows in enumerate(members):
        if len(rows) < per_class:
            option = f"data_fraction.per_class={per_class}"
            if strict:
                raise DataError(
                    f"{option}: needs {per_class} images of class {k}, which has {len(rows)}. "
                    "Lower it, or set data_fraction.strict=false to use the available images."
                )
            notes.append(f"{option}: class {k} has only {len(rows)} of {per_class} images; all are used")
    return np.concatenate([rows[:per_class] for rows in members])


def _make_long_tailed(members: list[np.ndarray], factor: float) -> list[np.ndarray]:
    """Return the first rows of each class, as many as the profile of `order_subset` gives to this class."""
    sizes = np.array([len(rows) for rows in members])
    ranked = np.argsort(-sizes, kind="stable")
    profile = factor ** (-np.arange(len(members)) / max(len(members) - 1, 1))
    smallest = int(np.floor((sizes[ranked] / profile).min() * profile[-1] + 1e-9))
    kept = list(members)
    for k, share in zip(ranked, profile / profile[-1], strict=True):
        kept[k] = members[k][: round(max(smallest, 1) * share)]
    return kept


def _check_imbalance(labels_N: np.ndarray, classes: int, factor: float) -> None:
    """Check the ratio of the largest to the smallest class.

    Raises:
        DataError: the ratio differs from the factor by more than `TOLERANCE`.
    """
    counts = np.bincount(labels_N, minlength=classes)
    if not abs(counts.max() - factor * counts.min()) <= TOLERANCE * factor * counts.min():
        raise DataError(
            f"data_fraction.imbalance_factor={factor:g}: the selected images have {counts.max()} of the largest class "
            f"and {counts.min()} of the smallest. Lower it, or select more images, with "
            "data_fraction.strategy=stratified and without data_fraction.per_class."
        )
