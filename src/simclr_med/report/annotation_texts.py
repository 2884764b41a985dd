"""The annotation plan as sentences, as a table and as figures."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from simclr_med.metrics.learning_curve import DRAWS
from simclr_med.plots.style import line_style
from simclr_med.report.annotation_plan import FARTHEST, QUANTILES, Plan
from simclr_med.report.comparison_texts import format_points
from simclr_med.report.score_figures import Chart, label_images_axis
from simclr_med.report.score_tables import Table, build_table

_WARNING = "Do not rely on this plan: the curve through the smaller budgets does not predict the largest one."


def describe_plan(plan: Plan) -> list[str]:
    """Return what more labels buy and what the next round score needs, then the check in numbers."""
    now = float(plan.labels_B[-1])
    more, low, high = plan.gain(2 * now)
    sentences = [
        f"“{plan.method}”: {now:,.0f} more labels (twice as many) buy {format_points(more)} points of AUROC "
        f"({format_points(low)} to {format_points(high)})."
    ]
    if plan.target is not None:
        sentences.append(f"An AUROC of {plan.target:.2f} needs {_format_need(plan, plan.target)}.")
    if plan.is_missed:
        sentences.insert(0, _WARNING)
    return [" ".join(sentences), _describe_check(plan)]


def build_plan_table(plans: list[Plan]) -> list[Table]:
    """Return a row for each plan; no table without plans."""
    if not plans:
        return []
    records = []
    for plan in plans:
        now = float(plan.labels_B[-1])
        gain, needed = plan.gain(2 * now), plan.labels_for(plan.target) if plan.target else (np.nan,) * 3
        records.append(
            {
                "data": plan.data,
                "encoder": plan.encoder,
                "method": plan.method,
                "labels": now,
                "auroc": plan.means_B[-1],
                "held_out": plan.held_out[0],
                "held_out_low": plan.held_out[1],
                "held_out_high": plan.held_out[2],
                "miss": plan.miss,
                "gain_of_twice": gain[0],
                "gain_low": gain[1],
                "gain_high": gain[2],
                "target": plan.target or np.nan,
                "labels_for_target": needed[0],
                "labels_low": needed[1],
                "labels_high": needed[2],
                "ceiling": plan.law.ceiling,
                "drop": plan.law.drop,
                "decay": plan.law.decay,
                "unit": plan.law.unit,
            }
        )
    numbers = pd.DataFrame(records)
    shown = pd.DataFrame(
        {
            "data set": numbers["data"],
            "encoder": numbers["encoder"],
            "method": numbers["method"],
            "labels": [f"{count:,.0f}" for count in numbers["labels"]],
            "AUROC": [f"{score:.3f}" for score in numbers["auroc"]],
            "predicted without them": [
                f"{plan.held_out[0]:.3f} [{plan.held_out[1]:.3f}, {plan.held_out[2]:.3f}]" for plan in plans
            ],
            "miss, points": [format_points(miss) for miss in numbers["miss"]],
            "twice the labels buy, points": [
                f"{format_points(plan.gain(2 * float(plan.labels_B[-1]))[0])} ({format_points(low)} to "
                f"{format_points(high)})"
                for plan, low, high in zip(plans, numbers["gain_low"], numbers["gain_high"], strict=True)
            ],
            "next score": [
                f"{plan.target:.2f}: {_format_need(plan, plan.target)}" if plan.target else "" for plan in plans
            ],
        }
    )
    note = (
        "An inverse power law, a - b n^-c (Figueroa et al. 2012), weighted by the errors of the budgets. "
        "“predicted without them” is the prediction of the fit to all smaller budgets. The 95 % intervals come from "
        f"{DRAWS} draws of the means with the uncertainty of encoders, label seeds and test images; they do not cover "
        f"a curve of another shape. Nothing is predicted beyond {FARTHEST:.0f} times the labels."
    )
    return [build_table("annotation_plan", "What more labels would buy", note, numbers, shown)]


def plot_plans(plans: list[Plan]) -> list[Chart]:
    """Draw the measured scores and the fitted curves with their intervals; a figure per data set and encoder."""
    charts = []
    for (data, encoder), group in itertools.groupby(plans, lambda plan: (plan.data, plan.encoder)):
        figure = Figure(figsize=(6.4, 4.2), layout="constrained", dpi=150)
        axis = figure.subplots()
        ticks: set[float] = set()
        for number, plan in enumerate(group):
            style = line_style(number)
            ticks |= {*plan.labels_B.tolist(), 4 * float(plan.labels_B[-1])}
            labels = np.geomspace(plan.labels_B[0], 4 * plan.labels_B[-1], 80)
            low, high = np.quantile([[law.predict(x) for x in labels] for law in plan.draws], QUANTILES, axis=0)
            axis.fill_between(labels, low, high, color=style["color"], alpha=0.15, linewidth=0)
            line = {"color": style["color"], "linestyle": style["linestyle"], "linewidth": 1.2}
            axis.plot(labels, [plan.law.predict(x) for x in labels], label=plan.method, **line)
            axis.plot(plan.labels_B, plan.means_B, color=style["color"], marker=style["marker"], linestyle="none")
            axis.plot(plan.labels_B[-1], plan.held_out[0], color=style["color"], marker="x", linestyle="none", ms=9)
        label_images_axis(axis, ticks)
        axis.set_ylabel("test AUROC")
        figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
        note = (
            "Points are measured. Lines are the fitted curves, up to 4 times the labels; bands are their 95 % "
            "intervals. A cross is what the curve without the largest budget predicts there."
        )
        title = f"What more labels would buy: {data}, {encoder}"
        charts.append(Chart(f"annotation_plan_{data}_{encoder}", title, note, figure))
    return charts


def _describe_check(plan: Plan) -> str:
    word = "above" if plan.miss > 0 else "below"
    sentence = (
        f"Check: without the largest budget, the curve predicts {plan.held_out[0]:.3f} "
        f"({plan.held_out[1]:.3f} to {plan.held_out[2]:.3f}) for its {plan.labels_B[-1]:,.0f} labels; measured: "
        f"{plan.means_B[-1]:.3f}. The prediction is {100 * abs(plan.miss):.1f} points {word} it."
    )
    if plan.is_missed:
        return f"{sentence} The measurement is outside the interval of the prediction."
    return sentence


def _format_need(plan: Plan, score: float) -> str:
    """Return how many labels a score needs: ``about 1,900 labels (1,200 to 4,000)``."""
    needed, now = plan.labels_for(score), float(plan.labels_B[-1])
    value, low, high = (_format_count(count, plan) for count in needed)
    if needed[1] < now:  # the mean score is uncertain, so that the interval may begin below the labels of now
        low = f"fewer than {now:,.0f}"
    if value == high == low:
        return f"{value} labels"
    if np.isinf(needed[0]):
        return f"{value} labels (the interval begins at {low})"
    return f"about {value} labels ({low} to {high})"


def _format_count(labels: float, plan: Plan) -> str:
    if np.isinf(labels):
        return f"more than {FARTHEST * float(plan.labels_B[-1]):,.0f}"
    digits = max(0, len(str(int(labels))) - 2)
    return f"{round(labels, -digits):,.0f}"
