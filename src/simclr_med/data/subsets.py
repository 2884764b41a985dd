"""Data fractions: which images of a split a run may use. Nested by construction: a larger budget holds the smaller."""

from __future__ import annotations

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
    """The rows of a split that a data fraction keeps.

    Every budget takes the beginning of one order that only (labels, seed) decide: of a permutation (``random``), of a
    permutation in which the classes are interleaved in proportion (``stratified``), or of each class's own
    permutation (``per_class``).

    Args:
        labels_NL: int [N, 1] class indices; a multi-label matrix or None serves ``random`` budgets only.
        count: N, images in the split.
        samples: how many images.
        percent: how many in percent of the images (rounded, at least one).
        per_class: how many of each class; a class that has fewer gives all it has, and a note says so.
        strategy: order that samples and percent are taken from.
        strict: make a class that has too few an error.
        imbalance_factor: make the classes long-tailed before the budget is taken: the k-th largest of K keeps
            n_max * factor^(-k / (K - 1)) images (Cui et al. 2019, section 5.1), at least one, at most what it has.
        seed: at least 0.
        classes: how many there are, for a per_class budget; those behind the last label have no images.

    Returns:
        int64 row indices, sorted and distinct, and one sentence for each thing the user should know.

    Raises:
        DataError: the budget asks for more than there is, or for classes where there are none.
        ValueError: more than one budget.
    """
    if sum(budget is not None for budget in (samples, percent, per_class)) > 1:
        raise ValueError("at most one of samples, percent and per_class")
    notes: list[str] = []
    needs = {"per_class": per_class is not None, "imbalance_factor": imbalance_factor is not None}
    needs["strategy"] = strategy == "stratified"
    values = {"per_class": per_class, "imbalance_factor": imbalance_factor, "strategy": strategy}
    for key in (key for key, needed in needs.items() if needed):
        if labels_NL is None or labels_NL.shape[1] != 1:
            has = "no labels" if labels_NL is None else "several labels an image"
            raise DataError(
                f"data_fraction.{key}={values[key]}: must be left out for a data set with {has}. "
                "Use data_fraction.samples or .percent with data_fraction.strategy=random."
            )
    members = [] if not any(needs.values()) else _class_orders(labels_NL[:, 0], seed)  # type: ignore[index]
    if imbalance_factor is not None:
        members = _long_tailed(members, imbalance_factor, strict, notes)
    if per_class is not None:
        members += [np.empty(0, np.int64)] * (classes - len(members))
        return _first_of_each(members, per_class, strict, notes), notes
    order = (
        _interleaved(members, seed)
        if strategy == "stratified"
        else _generator(seed, Stream.SUBSET_ORDER).permutation(count)
    )
    if imbalance_factor is not None and strategy == "random":
        order = order[np.isin(order, np.concatenate(members))]
    if percent is not None:
        samples = max(1, round(len(order) * percent / 100))
    if samples is not None and samples > len(order):
        raise DataError(
            f"data_fraction.samples={samples}: must be at most {len(order)}, the images there are. "
            "Choose fewer, or data_fraction=full."
        )
    return np.sort(order[:samples]).astype(np.int64), notes


def _generator(seed: int, *stream: int) -> np.random.Generator:
    return np.random.default_rng([seed, *stream])


def _class_orders(labels_N: np.ndarray, seed: int) -> list[np.ndarray]:
    """For each class its rows in a random order of their own."""
    rows = [np.flatnonzero(labels_N == k) for k in range(int(labels_N.max()) + 1)]
    return [_generator(seed, Stream.SUBSET_CLASS, k).permutation(rows_k) for k, rows_k in enumerate(rows)]


def _interleaved(members: list[np.ndarray], seed: int) -> np.ndarray:
    """All rows, so ordered that each beginning holds the classes in proportion to within one image of each."""
    rows = np.concatenate(members)
    place = np.concatenate([(np.arange(len(m)) + 0.5) / max(len(m), 1) for m in members])
    tie = _generator(seed, Stream.SUBSET_TIE).permutation(len(rows))
    return rows[np.lexsort((tie, place))]


def _first_of_each(members: list[np.ndarray], per_class: int, strict: bool, notes: list[str]) -> np.ndarray:
    for k, rows in enumerate(members):
        if len(rows) < per_class:
            _short(k, per_class, len(rows), "data_fraction.per_class", per_class, strict, notes)
    return np.sort(np.concatenate([rows[:per_class] for rows in members])).astype(np.int64)


def _long_tailed(members: list[np.ndarray], factor: float, strict: bool, notes: list[str]) -> list[np.ndarray]:
    sizes = np.array([len(rows) for rows in members])
    kept = list(members)
    for rank, k in enumerate(np.argsort(-sizes, kind="stable")):
        wanted = max(1, round(sizes.max() * factor ** (-rank / max(len(members) - 1, 1))))
        if sizes[k] < wanted:
            _short(int(k), wanted, sizes[k], "data_fraction.imbalance_factor", factor, strict, notes)
        kept[k] = members[k][:wanted]
    return kept


def _short(k: int, wanted: int, has: int, key: str, value: float, strict: bool, notes: list[str]) -> None:
    if strict:
        raise DataError(
            f"{key}={value}: must leave {wanted} images of class {k}, which has {has}. "
            "Ask for fewer, or set data_fraction.strict=false to use what is there."
        )
    notes.append(f"class {k} has {has} images of the {wanted} asked for by {key}={value}; all are used")
