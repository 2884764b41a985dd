"""How far the confidence of the main methods can be trusted: calibration, abstaining and prediction sets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from simclr_med.metrics.calibration import (
    PerfectCalibration,
    find_set_threshold,
    fit_temperature,
    measure_scaled_error,
    measure_sets,
    simulate_perfect_calibration,
    trace_risk_coverage,
)
from simclr_med.metrics.classification import calibration_error
from simclr_med.report.methods import select_main_runs
from simclr_med.report.prediction_files import read_predictions, read_validated
from simclr_med.types import MULTI_LABEL

COVERAGE = 0.9  # of the prediction sets
FEW = 10  # validation or test images of a class below which its coverage is not shown
POINTS = 101  # of a risk-coverage curve


@dataclass(frozen=True)
class RunConfidence:
    """The confidence of one run.

    Attributes:
        error: expected calibration error on the test images.
        perfect: what a perfectly calibrated model would show.
        temperature, scaled_error: of temperature scaling on the validation images; NaN without them.
        risks: error rate of the most confident test predictions, at `POINTS` parts from 0 to 1.
        coverage, set_size: of the prediction sets; NaN without validation images or for several labels an image.
        class_coverage: by class; NaN where it has fewer than `FEW` test images.
        validated: number of validation images.
    """

    error: float
    perfect: PerfectCalibration
    temperature: float
    scaled_error: float
    risks: np.ndarray
    coverage: float
    set_size: float
    class_coverage: np.ndarray
    validated: int


@dataclass(frozen=True)
class MethodConfidence:
    """The runs of one method under one label budget.

    Attributes:
        data, encoder, method, budget: of the runs.
        runs: at least one.
    """

    data: str
    encoder: str
    method: str
    budget: str
    runs: list[RunConfidence]

    def mean(self, name: str) -> float:
        """Return the mean of an attribute over the runs that have it; NaN without any."""
        values = np.array([getattr(run, name) for run in self.runs], dtype=np.float64)
        known = values[~np.isnan(values)]
        return float(known.mean()) if len(known) else float("nan")

    @property
    def expected_error(self) -> float:
        """The calibration error of a perfectly calibrated model, its mean over the runs."""
        return float(np.mean([run.perfect.mean for run in self.runs]))

    @property
    def is_miscalibrated(self) -> bool:
        """Whether most runs have a larger error than 95 % of perfectly calibrated models."""
        return bool(np.median([run.error > run.perfect.high for run in self.runs]) > 0.5)


def measure_confidence(rows: pd.DataFrame, notes: list[str]) -> list[MethodConfidence]:
    """Return the confidence of the main methods, with the largest budget that all of them share.

    Args:
        rows: of `score_tables.select_scored_runs`.
        notes: a sentence is appended for each run that cannot be used.
    """
    methods = []
    for (data, encoder), group in rows.groupby(["data", "encoder"]):
        for selected in select_main_runs(group):
            found = [
                confidence
                for folder, recorded in zip(selected["folder"], selected["predictions_hash"], strict=True)
                if (confidence := _measure_run(Path(folder), recorded, notes)) is not None
            ]
            if found:
                method, budget = selected[["method", "budget"]].iloc[0]
                methods.append(MethodConfidence(str(data), str(encoder), str(method), str(budget), found))
    return methods


def _measure_run(folder: Path, recorded: object, notes: list[str]) -> RunConfidence | None:
    """Return the confidence of a run; None, with a note, where its predictions cannot be read."""
    path, digest = folder / "predictions.npz", recorded if isinstance(recorded, str) else None
    try:
        task, labels_NL, probabilities_NK = read_predictions(path, digest)
        validated = read_validated(path, digest)
    except ValueError as error:
        notes.append(f"{error} It is left out of the figures of calibration.")
        return None
    curve = trace_risk_coverage(task, labels_NL, probabilities_NK)
    positions = np.clip(np.ceil(np.linspace(0, 1, POINTS) * len(curve)).astype(np.int64) - 1, 0, None)
    temperature = scaled = coverage = size = float("nan")
    by_class = np.full(probabilities_NK.shape[1], np.nan)
    if validated is not None and validated[1].shape[1] == probabilities_NK.shape[1]:
        temperature = fit_temperature(task, *validated)
        scaled = measure_scaled_error(task, labels_NL, probabilities_NK, temperature)
        if task != MULTI_LABEL:
            is_inside_N, size_N = measure_sets(
                labels_NL, probabilities_NK, find_set_threshold(validated[0], validated[1], COVERAGE)
            )
            coverage, size = float(is_inside_N.mean()), float(size_N.mean())
            for k in range(len(by_class)):
                own = is_inside_N[labels_NL[:, 0] == k]
                by_class[k] = own.mean() if len(own) >= FEW else np.nan
    return RunConfidence(
        error=calibration_error(task, labels_NL, probabilities_NK),
        perfect=simulate_perfect_calibration(task, probabilities_NK),
        temperature=temperature,
        scaled_error=scaled,
        risks=curve[positions],
        coverage=coverage,
        set_size=size,
        class_coverage=by_class,
        validated=0 if validated is None else len(validated[0]),
    )
