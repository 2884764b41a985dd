"""Data fractions: select the images that a run uses. A larger budget always contains the smaller ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from simclr_med.errors import DataError
from simclr_med.streams import Stream


def select_subset(
    labels_NL: np.ndarray | None,
    count: int,
    *,
    samples: int | None = None,
    percent: float | None = None,
    per_class: int | None = None,
    strategy: Literal["random", "stratified"] = "random",
    strict: bool = False,
    imbalance_factor: float | None = None,
    seed: int,
    classes: int = 0,
) -> tuple[np.ndarray, list[str]]:
    """Return the rows of a split that a data fraction selects.

    Every budget takes the first rows of an order that depends on (labels, seed) alone: a permutation (``random``), a
    permutation that interleaves the classes in proportion (``stratified``), or one permutation per class
    (``per_class``).

    Args:
        labels_NL: int [N, 1] class indices; a multi-label matrix and None allow ``random`` budgets only.
        count: N, images in the split.
        samples: number of images.
        percent: percentage of the images (rounded, at least one image).
        per_class: number of images per class; a class with fewer images gives all of them, with a note.
        strategy: order for samples and percent.
        strict: raise an error instead of a note if a class has too few images.
        imbalance_factor: make the classes long-tailed before the budget: the k-th largest of K classes keeps
            n_max * factor^(-k / (K - 1)) images (Cui et al. 2019, section 5.1), at least one.
        seed: at least 0.
        classes: K, for a per_class budget; classes above the highest label have no images.

    Returns:
        int64 row indices, sorted and distinct, and notes for the user.

    Raises:
        DataError: the budget is larger than the split, or needs classes that the data set does not have.
        ValueError: more than one budget.
    """
    if sum(budget is not None for budget in (samples, percent, per_class)) > 1:
        raise ValueError("expected at most one of samples, percent and per_class")
    notes: list[str] = []
    class_options = {
        "per_class": per_class,
        "imbalance_factor": imbalance_factor,
        "strategy": strategy if strategy == "stratified" else None,
    }
    members: list[np.ndarray] = []
    if any(value is not None for value in class_options.values()):
        members = _order_classes(_require_class_labels(labels_NL, class_options), seed)
    if imbalance_factor is not None:
        members = _make_long_tailed(members, imbalance_factor, strict, notes)
    if per_class is not None:
        members += [np.empty(0, np.int64)] * (classes - len(members))
        return _take_first_of_each(members, per_class, strict, notes), notes
    if strategy == "stratified":
        order = _interleave(members, seed)
    else:
        order = np.random.default_rng([seed, Stream.SUBSET_ORDER]).permutation(count)
        if imbalance_factor is not None:
            order = order[np.isin(order, np.concatenate(members))]
    if percent is not None:
        samples = max(1, round(len(order) * percent / 100))
    if samples is not None and samples > len(order):
        raise DataError(
            f"data_fraction.samples={samples}: only {len(order)} images are available. "
            "Choose fewer, or data_fraction=full."
        )
    return np.sort(order[:samples]).astype(np.int64), notes


def _require_class_labels(labels_NL: np.ndarray | None, options: Mapping[str, object]) -> np.ndarray:
    """Return labels_N of a data set with one label per image; raise an error that names the option otherwise."""
    if labels_NL is not None and labels_NL.shape[1] == 1:
        return labels_NL[:, 0]
    reason = "has no labels" if labels_NL is None else "has several labels per image"
    key, value = next((key, value) for key, value in options.items() if value is not None)
    raise DataError(
        f"data_fraction.{key}={value}: needs one label per image, but the data set {reason}. "
        "Use data_fraction.samples or data_fraction.percent with data_fraction.strategy=random."
    )


def _order_classes(labels_N: np.ndarray, seed: int) -> list[np.ndarray]:
    """Return the rows of each class in a random order."""
    rows = [np.flatnonzero(labels_N == k) for k in range(int(labels_N.max()) + 1)]
    return [np.random.default_rng([seed, Stream.SUBSET_CLASS, k]).permutation(rows_k) for k, rows_k in enumerate(rows)]


def _interleave(members: list[np.ndarray], seed: int) -> np.ndarray:
    """Return all rows in an order whose every prefix has the classes in proportion, to one image per class."""
    rows = np.concatenate(members)
    position = np.concatenate([(np.arange(len(m)) + 0.5) / max(len(m), 1) for m in members])
    tie = np.random.default_rng([seed, Stream.SUBSET_TIE]).permutation(len(rows))
    return rows[np.lexsort((tie, position))]


def _take_first_of_each(members: list[np.ndarray], per_class: int, strict: bool, notes: list[str]) -> np.ndarray:
    for k, rows in enumerate(members):
        if len(rows) < per_class:
            _report_shortage(k, per_class, len(rows), f"data_fraction.per_class={per_class}", strict, notes)
    return np.sort(np.concatenate([rows[:per_class] for rows in members])).astype(np.int64)


def _make_long_tailed(members: list[np.ndarray], factor: float, strict: bool, notes: list[str]) -> list[np.ndarray]:
    sizes = np.array([len(rows) for rows in members])
    kept = list(members)
    for rank, k in enumerate(np.argsort(-sizes, kind="stable")):
        wanted = max(1, round(sizes.max() * factor ** (-rank / max(len(members) - 1, 1))))
        if sizes[k] < wanted:
            _report_shortage(int(k), wanted, sizes[k], f"data_fraction.imbalance_factor={factor}", strict, notes)
        kept[k] = members[k][:wanted]
    return kept


def _report_shortage(k: int, wanted: int, available: int, option: str, strict: bool, notes: list[str]) -> None:
    """Add a note that a class has too few images, or raise an error if strict."""
    if strict:
        raise DataError(
            f"{option}: needs {wanted} images of class {k}, which has {available}. "
            "Lower it, or set data_fraction.strict=false to use the available images."
        )
    notes.append(f"{option}: class {k} has only {available} of {wanted} images; all are used")
