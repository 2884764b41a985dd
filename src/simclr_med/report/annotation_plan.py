"""What more labels would buy: an inverse power law over the label budgets of the main methods, with a check of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from simclr_med.metrics.learning_curve import (
    DRAWS,
    LEAST_BUDGETS,
    PowerLaw,
    draw_means,
    fit_draws,
    fit_power_law,
)
from simclr_med.report.curves import Curve

LEAST = LEAST_BUDGETS + 1  # budgets of a plan: the largest is held out first
FARTHEST = 10.0  # times the largest budget; no further prediction is shown
TARGETS = (0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99)  # AUROC; the plan names the next one
QUANTILES = (0.025, 0.975)


@dataclass(frozen=True)
class Plan:
    """The curve of one method beyond its budgets.

    Attributes:
        data, encoder, method: of the curve.
        labels_B, means_B: of its budgets.
        law, draws: the fit to the means, and to each draw of them.
        held_out: what the fit without the largest budget predicts there: value, low and high.
    """

    data: str
    encoder: str
    method: str
    labels_B: np.ndarray
    means_B: np.ndarray
    law: PowerLaw
    draws: list[PowerLaw]
    held_out: tuple[float, float, float]

    @property
    def miss(self) -> float:
        """Prediction minus measurement at the largest budget, in units of the score."""
        return self.held_out[0] - float(self.means_B[-1])

    @property
    def is_missed(self) -> bool:
        """Whether the held-out measurement is outside the prediction's interval."""
        return not self.held_out[1] <= self.means_B[-1] <= self.held_out[2]

    def gain(self, labels: float) -> tuple[float, float, float]:
        """Return what so many labels in all add to the largest budget: value, low and high."""
        now = float(self.labels_B[-1])
        gains = [law.predict(labels) - law.predict(now) for law in self.draws]
        low, high = np.quantile(gains, QUANTILES)
        return self.law.predict(labels) - self.law.predict(now), float(low), float(high)

    @property
    def target(self) -> float | None:
        """The next round score above the largest budget's; None above the last."""
        return next((target for target in TARGETS if target > self.law.predict(float(self.labels_B[-1]))), None)

    def labels_for(self, score: float) -> tuple[float, float, float]:
        """Return how many labels reach a score: number, low and high; infinite beyond `FARTHEST`."""
        most = FARTHEST * float(self.labels_B[-1])
        needed = np.array([law.labels_for(score) for law in (self.law, *self.draws)])
        needed = np.where(needed > most, np.inf, needed)
        # Not np.quantile, which interpolates with infinity.
        ordered = np.sort(needed[1:])
        low, high = (ordered[min(len(ordered) - 1, int(quantile * len(ordered)))] for quantile in QUANTILES)
        return float(needed[0]), float(low), float(high)


def plan_annotation(
    curves: Mapping[tuple[str, str], Mapping[str, Curve]],
) -> tuple[list[Plan], dict[str, list[str]]]:
    """Return a plan for each curve of at least `LEAST` budgets, and by data set why there is none.

    Args:
        curves: of `curves.load_curves`.
    """
    plans: list[Plan] = []
    reasons: dict[str, list[str]] = {}
    for (data, encoder), by_kind in curves.items():
        for curve in by_kind.values():
            if len(curve.points) < LEAST:
                reason = f"{LEAST} label budgets or more are needed, and it has {len(curve.points)}"
            elif not curve.has_enough_seeds:
                reason = "3 label seeds or more are needed"
            else:
                plans.append(_build_plan(data, encoder, curve))
                continue
            reasons.setdefault(data, []).append(f"“{curve.method}”: no plan: {reason}.")
    return plans, reasons


def _build_plan(data: str, encoder: str, curve: Curve) -> Plan:
    """Return the plan of a curve."""
    labels_B = np.array([point.labels for point in curve.points])
    tables = [point.design.values_ESN for point in curve.points]
    means_B = np.array([table.mean() for table in tables])
    means_RB = draw_means(tables, [point.share for point in curve.points], DRAWS, seed=0)
    errors_B = means_RB.std(axis=0)
    law = fit_power_law(labels_B, means_B, errors_B)
    without = fit_power_law(labels_B[:-1], means_B[:-1], errors_B[:-1])
    draws = fit_draws(labels_B, means_RB, errors_B)
    checks = fit_draws(labels_B[:-1], means_RB[:, :-1], errors_B[:-1])
    low, high = np.quantile([check.predict(float(labels_B[-1])) for check in checks], QUANTILES)
    held_out = (without.predict(float(labels_B[-1])), float(low), float(high))
    return Plan(data, encoder, curve.method, labels_B, means_B, law, draws, held_out)
