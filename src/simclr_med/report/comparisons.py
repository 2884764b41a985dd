"""Paired tests between the methods of a data set, as a table and as sentences."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from simclr_med.metrics.paired import (
    Difference,
    adjust_holm,
    compare_paired,
    compute_image_accuracy,
    compute_image_auroc,
)
from simclr_med.report.methods import CONTROL, find_main_method, sort_budgets
from simclr_med.report.prediction_files import read_predictions
from simclr_med.report.score_tables import NONE, Table, build_table
from simclr_med.types import Task

ALPHA = 0.05  # family-wise error rate of all tests of one data set, encoder and score
INCONCLUSIVE = "inconclusive"
VERDICTS = ("better", "worse", INCONCLUSIVE)
_IMAGE_VALUES: dict[str, Callable[[Task, np.ndarray, np.ndarray], np.ndarray]] = {
    "AUROC": compute_image_auroc,
    "accuracy": compute_image_accuracy,
}
_METRICS = {"AUROC": "test/auroc", "accuracy": "test/accuracy"}

# By the run's folder and a digest of its test labels: score -> one value for each test image.
_RunValues = dict[tuple[str, str], dict[str, np.ndarray]]


@dataclass(frozen=True)
class Comparison:
    """One test, after Holm's correction over all tests of its data set, encoder and score.

    Attributes:
        group: the data set; with the encoder where the data set has runs of several.
        data, encoder, budget: what both methods share.
        score: AUROC or accuracy.
        a, b: names of the two methods.
        difference: score of a minus score of b.
        p_holm: the corrected p-value.
    """

    group: str
    data: str
    encoder: str
    budget: str
    score: str
    a: str
    b: str
    difference: Difference
    p_holm: float

    @property
    def verdict(self) -> str:
        """Whether a is better or worse than b, or the test is inconclusive."""
        if self.p_holm >= ALPHA:
            return INCONCLUSIVE
        return "better" if self.difference.mean > 0 else "worse"

    @property
    def sentence(self) -> str:
        """The verdict with its numbers."""
        gap = self.difference
        labels = "all labels" if self.budget == "full" else f"budget {self.budget}"
        numbers = (
            f"({format_points(gap.mean)} points of {self.score}, 95 % confidence interval {format_points(gap.low)} to "
            f"{format_points(gap.high)}, p = {self.p_holm:.2g} after Holm's correction, "
            f"{gap.seeds} seed{'s' * (gap.seeds > 1)}, {gap.images} images)"
        )
        if self.verdict == INCONCLUSIVE:
            return f"{self.group}, {labels}: “{self.a}” against “{self.b}” is inconclusive {numbers}."
        runs = " in these two runs" if gap.seeds == 1 else ""
        return f"{self.group}, {labels}: “{self.a}” is {self.verdict} than “{self.b}”{runs} {numbers}."


def find_pairs(rows: pd.DataFrame) -> list[tuple[str, str]]:
    """Return the pairs of methods to compare, among the methods of one data set and encoder.

    The pairs answer four questions: what pretraining adds to the features (probe against untrained control), what it
    adds to supervised training (finetune and probe against baseline), what finetuning adds to the probe, and how every
    other encoder compares with the data set's own.
    """
    kinds = dict(zip(rows["method"], rows["kind"], strict=True))
    origins = dict(zip(rows["method"], rows["origin"], strict=True))
    control, baseline = find_main_method(rows, CONTROL), find_main_method(rows, "baseline")
    main_methods = {kind: find_main_method(rows, kind) for kind in ("probe", "finetune")}
    pairs: list[tuple[str, str]] = []
    for method, kind in kinds.items():
        if kind == "probe":
            pairs += [(method, other) for other in (control, baseline) if other is not None]
        if kind == "finetune":
            pairs += [(method, baseline)] if baseline is not None else []
            pairs += [
                (method, other) for other in kinds if kinds[other] == "probe" and origins[other] == origins[method]
            ]
        main = main_methods.get(kind)
        if main is not None and main != method:
            pairs.append((method, main))
    return sorted(set(pairs))


def compare_methods(rows: pd.DataFrame) -> tuple[list[Comparison], list[str]]:
    """Run every test of every data set, encoder and budget.

    Args:
        rows: of `score_tables.select_scored_runs`.

    Returns:
        the tests, and a sentence for each run that could not be compared.
    """
    comparisons: list[Comparison] = []
    notes: list[str] = []
    encoders = rows.groupby("data")["encoder"].nunique().to_dict()
    for (data, encoder), group_rows in rows.groupby(["data", "encoder"]):
        group = f"{data}, {encoder}" if encoders[data] > 1 else str(data)
        tests = [
            (budget, *test)
            for budget in sort_budgets(group_rows["budget"])
            for test in _compare_budget(group_rows[group_rows["budget"] == budget], group, budget, notes)
        ]
        for score in _IMAGE_VALUES:
            family = [test for test in tests if test[1] == score]
            corrected = adjust_holm([test[4].p for test in family])
            comparisons += [
                Comparison(group, str(data), str(encoder), budget, score, a, b, difference, float(p))
                for (budget, _, a, b, difference), p in zip(family, corrected, strict=True)
            ]
    return comparisons, notes


def _compare_budget(
    rows: pd.DataFrame, group: str, budget: str, notes: list[str]
) -> Iterator[tuple[str, str, str, Difference]]:
    """Yield (score, method a, method b, difference) of each test under one budget; append to notes what is left out."""
    pairs = find_pairs(rows)
    methods = {name for pair in pairs for name in pair}
    values = _load_values(rows[rows["method"].isin(methods)], notes)
    for a, b in pairs:
        if _have_other_images(values.get(a), values.get(b)):
            labels = "all labels" if budget == "full" else budget
            notes.append(f"{group}, {labels}: “{a}” and “{b}” were scored on different test images: not compared.")
            continue
        for score, difference in _compare_scores(values.get(a), values.get(b)):
            yield score, a, b, difference


def build_comparison_table(comparisons: Sequence[Comparison]) -> list[Table]:
    """Return all tests as one table; none without tests."""
    if not comparisons:
        return []
    numbers = pd.DataFrame(
        [
            {
                "data": comparison.data,
                "encoder": comparison.encoder,
                "budget": comparison.budget,
                "score": comparison.score,
                "a": comparison.a,
                "b": comparison.b,
                "verdict": comparison.verdict,
                "difference": comparison.difference.mean,
                "low": comparison.difference.low,
                "high": comparison.difference.high,
                "effect": comparison.difference.effect,
                "p": comparison.difference.p,
                "p_holm": comparison.p_holm,
                "seeds": comparison.difference.seeds,
                "images": comparison.difference.images,
            }
            for comparison in comparisons
        ]
    )
    shown = pd.DataFrame(
        {
            "data set": numbers["data"],
            "encoder": numbers["encoder"],
            "labels": numbers["budget"],
            "score": numbers["score"],
            "method": numbers["a"],
            "verdict": numbers["verdict"],
            "compared with": numbers["b"],
            "points": [format_points(x) for x in numbers["difference"]],
            "95 % interval": [
                f"{format_points(low)} to {format_points(high)}"
                for low, high in zip(numbers["low"], numbers["high"], strict=True)
            ],
            "effect (d)": [f"{x:+.2f}" if np.isfinite(x) else NONE for x in numbers["effect"]],
            "p (Holm)": [f"{p:.2g}" for p in numbers["p_holm"]],
            "seeds": numbers["seeds"].astype(str),
        }
    )
    note = (
        f"The verdict is better or worse where the corrected p is below {ALPHA}, otherwise inconclusive. Both methods "
        "were scored on the same test images with the same seeds. With several seeds, seeds and images are crossed "
        "random effects of a two-way analysis of variance (as readers and cases in Dorfman, Berbaum and Metz). With "
        "one seed, the test is a paired t-test over images and does not generalise to other seeds. p is corrected "
        "with Holm's method over all tests of a data set, encoder and score. Each confidence interval belongs to its "
        "own test and is not corrected, so it can exclude 0 where the verdict is inconclusive. A point is 0.01 of the "
        "score. d is the mean difference of an image divided by its standard deviation."
    )
    return [build_table("comparisons", "Paired comparisons", note, numbers, shown)]


def format_points(difference: float) -> str:
    """Return a difference of scores in hundredths; never -0.0."""
    return f"{round(100 * difference, 1) + 0.0:+.1f}"


def _load_values(rows: pd.DataFrame, notes: list[str]) -> dict[str, dict[int, _RunValues]]:
    """Return method -> seed -> values of its runs; append to notes the runs that cannot be used."""
    values: dict[str, dict[int, _RunValues]] = {}
    for row in rows.to_dict("records"):
        path, recorded = Path(row["folder"]) / "predictions.npz", row.get("predictions_hash")
        try:
            task, labels, probabilities = read_predictions(path, recorded if isinstance(recorded, str) else None)
            scores = {score: compute(task, labels, probabilities) for score, compute in _IMAGE_VALUES.items()}
        except (ValueError, IndexError) as error:
            notes.append(f"{error} Not compared.")
            continue
        wrong = [score for score, name in _METRICS.items() if abs(scores[score].mean() - row.get(name, np.nan)) > 1e-9]
        if wrong:
            notes.append(f"{path}: its {' and '.join(wrong)} differs from the one in result.json. Not compared.")
            continue
        key = (str(row["folder"]), _digest_labels(labels))
        values.setdefault(str(row["method"]), {}).setdefault(int(row["seed"]), {})[key] = scores
    return values


def _digest_labels(labels: np.ndarray) -> str:
    return f"{labels.shape}{hash(np.ascontiguousarray(labels).tobytes())}"


def _have_other_images(a: Mapping[int, _RunValues] | None, b: Mapping[int, _RunValues] | None) -> bool:
    """Return whether runs of the shared seeds were scored on test images with different labels."""
    seeds = set(a or ()) & set(b or ())
    return len({key[1] for side in (a, b) if side is not None for seed in seeds for key in side[seed]}) > 1


def _compare_scores(
    a: Mapping[int, _RunValues] | None, b: Mapping[int, _RunValues] | None
) -> Iterator[tuple[str, Difference]]:
    """Yield each score's test over the shared seeds; several runs of one seed enter with their mean."""
    if a is None or b is None:
        return
    seeds = sorted(set(a) & set(b))
    if not seeds:
        return
    for score in _IMAGE_VALUES:
        a_SN, b_SN = (
            np.stack([np.mean([values[score] for values in side[seed].values()], axis=0) for seed in seeds])
            for side in (a, b)
        )
        if np.isnan(a_SN).any() or np.isnan(b_SN).any() or a_SN.shape[1] < 2:
            continue
        yield score, compare_paired(a_SN, b_SN)
