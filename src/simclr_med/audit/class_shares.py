"""Classes: whether their shares differ between splits, and which are rare."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from scipy.stats import chi2_contingency

from simclr_med.audit.findings import Finding
from simclr_med.audit.pool import UNKNOWN, Pool

ALPHA = 0.001  # of the chi-square test; patients make images dependent, which makes p-values too small
EFFECT = 0.1  # Cramér's V that counts as small (Cohen 1988): with many images, a test finds any difference
RATIO = 10.0  # of the largest to a smaller class in the training images
FEW = 10  # training images of a class, to learn it from


def count_classes(pool: Pool, classes: int) -> dict[str, np.ndarray]:
    """Return the images of each class (with each label, if there are several), int64 [K], by split with labels."""
    found: dict[str, np.ndarray] = {}
    for number, split in enumerate(pool.splits):
        if pool.labels_NL is None:
            continue
        labels_ML = pool.labels_NL[pool.split_N == number]
        labels_ML = labels_ML[(labels_ML != UNKNOWN).all(axis=1)]
        if len(labels_ML):
            single = labels_ML.shape[1] == 1
            found[split] = np.bincount(labels_ML[:, 0], minlength=classes) if single else labels_ML.sum(axis=0)
    return found


def find_class_shift(counts: dict[str, np.ndarray], names: Sequence[str]) -> Iterator[Finding]:
    """Yield a finding if the shares of classes differ between splits by more than chance and by enough to matter."""
    counts = {split: count for split, count in counts.items() if count.sum()}  # images may have no label at all
    table = np.array(list(counts.values()))
    if len(table) < 2:
        return
    table = table[:, table.sum(axis=0) > 0]
    if table.shape[1] < 2:
        return
    test = chi2_contingency(table)
    effect = float(np.sqrt(test.statistic / (table.sum() * (min(table.shape) - 1))))
    if test.pvalue < ALPHA and effect >= EFFECT:
        shares = {split: count / count.sum() for split, count in counts.items()}
        spread = np.ptp(np.array(list(shares.values())), axis=0)
        most = int(spread.argmax())
        each = ", ".join(f"{share[most]:.1%} of {split}" for split, share in shares.items())
        p = f"p = {test.pvalue:.1e}, Cramér's V = {effect:.2f}, n = {table.sum():,}"
        yield Finding(
            "class_shift", f"class shares differ between splits, most for {names[most]}: {each} ({p})", score=effect
        )


def find_rare_classes(counts: dict[str, np.ndarray], names: Sequence[str]) -> Iterator[Finding]:
    """Yield a finding for each class with few training images, absolutely or beside the largest class."""
    train = counts.get("train")
    if train is None:
        return
    for name, count in zip(names, train.tolist(), strict=True):
        ratio = train.max() / max(count, 1)
        if count < FEW or ratio >= RATIO:
            yield Finding(
                "imbalance",
                f"class {name} has {count:,} training image{'s' * (count != 1)}, 1 to {ratio:.0f} of the largest class",
                score=float(ratio),
            )
