"""What a reader should doubt about the results of each data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import chi2_contingency

from simclr_med.report.comparisons import Comparison
from simclr_med.report.prediction_files import read_predictions, read_validated
from simclr_med.report.run_tables import describe_fallen_pretraining

FEW_SEEDS = 5  # below it, an interval over seeds has few degrees of freedom
SHIFT = 0.05  # smallest difference of class shares that is named: half the sum of absolute differences
SHIFT_P = 0.001  # level of its test


@dataclass(frozen=True)
class Doubt:
    """One reason to doubt the results of a data set.

    Attributes:
        short: a few words for the first screen.
        sentence: the details.
    """

    short: str
    sentence: str


OTHER_SOURCES = Doubt(
    "nothing is known about other hospitals or scanners",
    "The intervals describe other images from the same source. They say nothing about another hospital, scanner or "
    "group of patients.",
)


def doubt_data(rows: pd.DataFrame) -> list[Doubt]:
    """Return the doubt about runs of one data set that used files with other contents."""
    counts = rows["data_hash"].value_counts()
    if len(counts) < 2:
        return []
    shown = ", ".join(f"{number} run{'s' * (number > 1)} of …{str(of)[-6:]}" for of, number in counts.items())
    return [
        Doubt(
            "the runs used different files",
            f"Different files: the runs used {len(counts)} versions of this data set, by the hash of its contents "
            f"({shown}). Images or labels may differ between them, so scores may not be comparable. Use one version "
            "for all runs.",
        )
    ]


def doubt_encoders(rows: pd.DataFrame) -> list[Doubt]:
    """Return the doubt about methods of one data set whose runs all start from one pretraining run."""
    pretrained = rows[rows["source"] != ""]
    starts = pretrained.groupby(["encoder", "method"])["start"].nunique()
    single = sorted({str(method) for (_, method), number in starts.items() if number == 1})
    if not single:
        return []
    return [
        Doubt(
            "one pretrained encoder",
            f"One pretrained encoder ({', '.join(f'“{name}”' for name in single)}): the verdicts describe it; "
            "another seed of pretraining may give other results. Pretrain with seed=0,1,2 to describe the method.",
        )
    ]


def doubt_seeds(comparisons: Sequence[Comparison]) -> list[Doubt]:
    """Return the doubt about comparisons of one data set with few label seeds."""
    fewest = min((len(comparison.designs[0].seeds) for comparison in comparisons), default=FEW_SEEDS)
    if fewest >= FEW_SEEDS:
        return []
    return [
        Doubt(
            f"few label seeds ({fewest})",
            f"Few label seeds: some comparisons have {fewest}. Their intervals are wide for this reason, and it cannot "
            "be checked whether the effects are roughly normal.",
        )
    ]


def doubt_pretraining(table: pd.DataFrame) -> list[Doubt]:
    """Return the doubt about pretraining runs of one data set whose monitors fell."""
    sentences = describe_fallen_pretraining(table)
    if not sentences:
        return []
    return [Doubt("pretraining ended below its start", " ".join(sentences))]


def doubt_class_shares(rows: pd.DataFrame) -> list[Doubt]:
    """Return the doubt where the classes of one data set have other shares in the validation than in the test split.

    The labels of the validation split are those that a run with data_fraction.validation=split saved.
    """
    for folder, recorded, budget in zip(rows["folder"], rows["predictions_hash"], rows["budget"], strict=True):
        if budget != "full" and not str(budget).endswith(" split"):
            continue
        path, digest = Path(folder) / "predictions.npz", recorded if isinstance(recorded, str) else None
        try:
            validated = read_validated(path, digest)
            if validated is None:
                continue
            _, labels_NL, _ = read_predictions(path, digest)
        except ValueError:
            continue  # named elsewhere
        if labels_NL.shape[1] > 1:
            return []
        return _compare_shares(validated[0][:, 0], labels_NL[:, 0])
    return []


def _compare_shares(val_M: np.ndarray, test_N: np.ndarray) -> list[Doubt]:
    classes = int(max(val_M.max(), test_N.max())) + 1
    counts = np.array([np.bincount(labels, minlength=classes) for labels in (val_M, test_N)])
    counts = counts[:, counts.sum(axis=0) > 0]
    shares = counts / counts.sum(axis=1, keepdims=True)
    distance = float(np.abs(shares[0] - shares[1]).sum() / 2)
    if counts.shape[1] < 2 or distance < SHIFT or chi2_contingency(counts).pvalue >= SHIFT_P:
        return []
    return [
        Doubt(
            "class shares differ between validation and test",
            f"Class shares: {100 * distance:.0f} % of the validation images would need another class to have the "
            "shares of the test split. Accuracy and calibration depend on them, and the choice of the model as well.",
        )
    ]
