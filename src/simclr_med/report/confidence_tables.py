"""Calibration, abstaining and prediction sets of the main methods: tables, figures and sentences."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from simclr_med.plots.style import line_style
from simclr_med.report.budgets import describe_budget
from simclr_med.report.cells import NONE
from simclr_med.report.confidence import COVERAGE, FEW, POINTS, MethodConfidence
from simclr_med.report.doubts import Doubt
from simclr_med.report.score_figures import Chart
from simclr_med.report.score_tables import Table, build_table, format_number

KEPT = (1.0, 0.8, 0.5)  # parts of the test images that are not abstained from, in the table


def build_confidence_tables(methods: list[MethodConfidence]) -> list[Table]:
    """Return a table about calibration and abstaining, and one about prediction sets where there are some."""
    if not methods:
        return []
    keys = [
        {"data": found.data, "encoder": found.encoder, "method": found.method, "budget": found.budget}
        for found in methods
    ]
    named = pd.DataFrame(keys)
    numbers = named.assign(
        calibration_error=[found.mean("error") for found in methods],
        perfect=[found.expected_error for found in methods],
        perfect_high=[float(np.mean([run.perfect.high for run in found.runs])) for found in methods],
        temperature=[found.mean("temperature") for found in methods],
        scaled_error=[found.mean("scaled_error") for found in methods],
        **{f"error_of_{kept:.0%}": [_mean_risk(found, kept) for found in methods] for kept in KEPT},
        runs=[len(found.runs) for found in methods],
    )
    shown = _show_keys(named)
    shown["calibration error"] = [format_number(x) for x in numbers["calibration_error"]]
    shown["of a perfect model (95 % below)"] = [
        f"{mean:.3f} ({high:.3f})" for mean, high in zip(numbers["perfect"], numbers["perfect_high"], strict=True)
    ]
    shown["temperature"] = [format_number(x, 2) for x in numbers["temperature"]]
    shown["error after scaling"] = [format_number(x) for x in numbers["scaled_error"]]
    for kept in KEPT:
        title = "wrong of all" if kept == 1 else f"wrong of the surest {kept:.0%}".replace("%", " %")
        shown[title] = [f"{100 * x:.1f} %" for x in numbers[f"error_of_{kept:.0%}"]]
    note = (
        "Expected calibration error (15 bins); a perfectly calibrated model does not show 0 on so many images but the "
        "value beside it. The temperature is fitted to the validation images that chose the model; above 1, the model "
        "was overconfident. The last columns are the share of wrong predictions if the model abstains from the least "
        "certain images. Means over the runs."
    )
    tables = [build_table("confidence", "Calibration and abstaining", note, numbers, shown)]
    return tables + _build_set_table(methods, named)


def plot_risk_coverage(methods: list[MethodConfidence]) -> list[Chart]:
    """Draw the share of wrong predictions over the share of images that are predicted; a figure per data set."""
    charts = []
    for data, encoder in dict.fromkeys((found.data, found.encoder) for found in methods):
        figure = Figure(figsize=(5.6, 4.4), layout="constrained", dpi=150)
        axis = figure.subplots()
        group = [found for found in methods if (found.data, found.encoder) == (data, encoder)]
        for number, found in enumerate(group):
            risks = np.mean([run.risks for run in found.runs], axis=0)
            label = f"{found.method}, {describe_budget(found.budget)}"
            style = line_style(number) | {"marker": None}
            axis.plot(np.linspace(0, 1, POINTS)[5:], risks[5:], label=label, **style)  # the first 5 % are too few
        axis.set(xlabel="predicted images, the surest first", ylabel="share of wrong predictions", xlim=(0, 1.02))
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside lower center", ncols=1, frameon=False, fontsize=8)
        note = "If the model abstains from the least certain test images, so many of its predictions are wrong."
        charts.append(Chart(f"risk_coverage_{data}_{encoder}", f"Abstaining: {data}, {encoder}", note, figure))
    return charts


def describe_miscalibration(methods: list[MethodConfidence]) -> dict[str, Doubt]:
    """Return for each data set the doubt about the methods whose confidence is not to be believed."""
    by_data: dict[str, list[MethodConfidence]] = {}
    for found in methods:
        if found.is_miscalibrated:
            by_data.setdefault(found.data, []).append(found)
    return {
        data: Doubt(
            f"{len(group)} badly calibrated method{'s' * (len(group) > 1)}",
            "Confidence: the calibration error is larger than chance explains: "
            + "; ".join(
                f"“{found.method}”, {describe_budget(found.budget)}: {found.mean('error'):.3f} (a perfectly calibrated "
                f"model: {found.expected_error:.3f}{_describe_scaling(found)})"
                for found in group
            )
            + ".",
        )
        for data, group in by_data.items()
    }


def _describe_scaling(found: MethodConfidence) -> str:
    scaled = found.mean("scaled_error")
    return "" if np.isnan(scaled) else f"; after temperature scaling: {scaled:.3f}"


def _build_set_table(methods: list[MethodConfidence], named: pd.DataFrame) -> list[Table]:
    has_sets = [not np.isnan(found.mean("coverage")) for found in methods]
    if not any(has_sets):
        return []
    kept = [found for found, has in zip(methods, has_sets, strict=True) if has]
    classes = [_mean_by_class(found) for found in kept]
    numbers = named[has_sets].reset_index(drop=True)
    numbers = numbers.assign(
        wanted=COVERAGE,
        coverage=[found.mean("coverage") for found in kept],
        lowest_class=[float(np.nanmin(each)) if not np.isnan(each).all() else np.nan for each in classes],
        set_size=[found.mean("set_size") for found in kept],
        validated=[found.mean("validated") for found in kept],
        coverage_by_class=[" ".join(f"{value:.4f}" for value in each) for each in classes],
    )
    shown = _show_keys(numbers)
    shown["coverage"] = [f"{100 * x:.1f} %" for x in numbers["coverage"]]
    shown["of the worst class"] = [NONE if x != x else f"{100 * x:.1f} %" for x in numbers["lowest_class"]]
    shown["classes in a set"] = [format_number(x, 2) for x in numbers["set_size"]]
    shown["validation images"] = [f"{x:.0f}" for x in numbers["validated"]]
    note = (
        f"A prediction set has every class whose probability is above a threshold from the validation images, so that "
        f"it holds the true class of {COVERAGE:.0%} of new images (split-conformal; one threshold for all classes). "
        f"Coverage is measured on the test images; that of a class needs {FEW} of them. Small validation splits make "
        "it vary, and images that also chose the model make it a little too low."
    ).replace("90%", "90 %")
    return [build_table("prediction_sets", "Prediction sets", note, numbers, shown)]


def _show_keys(named: pd.DataFrame) -> pd.DataFrame:
    shown = named[["data", "encoder", "method"]].rename(columns={"data": "data set"})
    return shown.assign(labels=named["budget"])


def _mean_risk(found: MethodConfidence, kept: float) -> float:
    return float(np.mean([run.risks[round(kept * (POINTS - 1))] for run in found.runs]))


def _mean_by_class(found: MethodConfidence) -> np.ndarray:
    """Return the coverage of each class, its mean over the runs; NaN where no run has it."""
    table = np.array([run.class_coverage for run in found.runs if not np.isnan(run.coverage)])
    known = ~np.isnan(table)
    return np.where(known.any(axis=0), np.nansum(table, axis=0) / np.maximum(known.sum(axis=0), 1), np.nan)
