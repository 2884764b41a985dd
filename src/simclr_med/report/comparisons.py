"""Which methods are compared under each budget, and what the tests say, in sentences."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from simclr_med.metrics.paired import Difference, adjust_holm, auroc_values, compare_paired, is_correct, task_of
from simclr_med.report.methods import CONTROL, budget_order, headline
from simclr_med.report.score_tables import NONE, Table, table
from simclr_med.types import Task

SURE = 0.05  # of all tests of one data set together
_VALUES: dict[str, Callable[[Task, np.ndarray, np.ndarray], np.ndarray]] = {
    "AUROC": auroc_values,
    "accuracy": is_correct,
}
_NAMES = {"AUROC": "test/auroc", "accuracy": "test/accuracy"}


@dataclass(frozen=True)
class Comparison:
    """One test, after Holm's correction over all tests of its data set, encoder and score.

    Attributes:
        where: the data set, with the encoder where it has runs of several.
    """

    where: str
    data: str
    encoder: str
    budget: str
    score: str
    a: str
    b: str
    found: Difference
    p_holm: float

    @property
    def verdict(self) -> str:
        """better, worse or cannot tell, of a against b."""
        if self.p_holm >= SURE:
            return "cannot tell"
        return "better" if self.found.mean > 0 else "worse"

    @property
    def sentence(self) -> str:
        """The verdict in plain words with its numbers."""
        labels = "all labels" if self.budget == "full" else f"the budget {self.budget}"
        gap, low, high = map(_points, (self.found.mean, self.found.low, self.found.high))
        start = f"{self.where}, {labels}: "
        numbers = (
            f"({gap} points of {self.score}, 95 % interval {low} to {high}, p = {self.p_holm:.2g} "
            f"after Holm, {self.found.seeds} seed{'s' * (self.found.seeds > 1)}, {self.found.images} images)"
        )
        if self.verdict == "cannot tell":
            return f"{start}cannot tell “{self.a}” from “{self.b}” {numbers}."
        which = " in these two runs" if self.found.seeds == 1 else ""
        return f"{start}“{self.a}” is {self.verdict} than “{self.b}”{which} {numbers}."


def find_pairs(rows: pd.DataFrame) -> list[tuple[str, str]]:
    """The comparisons that answer a question, among the methods of one data set and encoder.

    What pretraining adds to the features (probe against the untrained control), to training on labels (finetune and
    probe against the baseline), what finetuning adds to the probe, and every encoder against the data set's own.
    """
    kinds = dict(zip(rows["method"], rows["kind"], strict=True))
    origins = dict(zip(rows["method"], rows["origin"], strict=True))
    control, baseline = headline(rows, CONTROL), headline(rows, "baseline")
    heads = {kind: headline(rows, kind) for kind in ("probe", "finetune")}
    found: list[tuple[str, str]] = []
    for method, kind in kinds.items():
        if kind == "probe":
            found += [(method, other) for other in (control, baseline) if other is not None]
        if kind == "finetune":
            found += [(method, baseline)] if baseline is not None else []
            found += [
                (method, other) for other in kinds if kinds[other] == "probe" and origins[other] == origins[method]
            ]
        head = heads.get(kind)
        if head is not None and head != method:
            found.append((method, head))
    return sorted(set(found))


def compare_methods(rows: pd.DataFrame) -> tuple[list[Comparison], list[str]]:
    """Every test of every data set, encoder and budget.

    Args:
        rows: of `tables.scored`.

    Returns:
        the tests, and a sentence for each run that could not take part.
    """
    found: list[Comparison] = []
    notes: list[str] = []
    encoders = rows.groupby("data")["encoder"].nunique().to_dict()
    for (data, encoder), group in rows.groupby(["data", "encoder"]):
        where = f"{data}, {encoder}" if encoders[data] > 1 else str(data)
        tests: list[tuple[str, str, str, str, Difference]] = []
        for budget in budget_order(group["budget"]):
            cell = group[group["budget"] == budget]
            wanted = find_pairs(cell)
            methods = {name for pair in wanted for name in pair}
            values = _values(cell[cell["method"].isin(methods)], notes)
            for a, b in wanted:
                if _of_other_images(values.get(a), values.get(b)):
                    labels = "all labels" if budget == "full" else budget
                    notes.append(f"{where}, {labels}: “{a}” and “{b}” have runs on other test images: not compared.")
                    continue
                tests += [(budget, score, a, b, gap) for score, gap in _tested(values.get(a), values.get(b))]
        for score in _VALUES:
            mine = [test for test in tests if test[1] == score]
            corrected = adjust_holm([test[4].p for test in mine])
            found += [
                Comparison(where, str(data), str(encoder), budget, score, a, b, gap, float(p))
                for (budget, _, a, b, gap), p in zip(mine, corrected, strict=True)
            ]
    return found, notes


def comparison_table(found: Sequence[Comparison]) -> list[Table]:
    """All tests as one table."""
    if not found:
        return []
    numbers = pd.DataFrame(
        [
            {"data": one.data, "encoder": one.encoder, "budget": one.budget, "score": one.score, "a": one.a, "b": one.b}
            | {"verdict": one.verdict, "difference": one.found.mean, "low": one.found.low, "high": one.found.high}
            | {"effect": one.found.effect, "p": one.found.p, "p_holm": one.p_holm}
            | {"seeds": one.found.seeds, "images": one.found.images}
            for one in found
        ]
    )
    shown = pd.DataFrame(
        {
            "data set": numbers["data"],
            "encoder": numbers["encoder"],
            "labels": numbers["budget"],
            "score": numbers["score"],
            "method": numbers["a"],
            "is": numbers["verdict"],
            "against": numbers["b"],
            "points": [_points(x) for x in numbers["difference"]],
            "95 % interval": [
                f"{_points(low)} to {_points(high)}" for low, high in zip(numbers["low"], numbers["high"], strict=True)
            ],
            "effect (d)": [f"{x:+.2f}" if np.isfinite(x) else NONE for x in numbers["effect"]],
            "p (Holm)": [f"{p:.2g}" for p in numbers["p_holm"]],
            "seeds": numbers["seeds"].astype(str),
        }
    )
    note = (
        "Same test images, same seeds. Several seeds: seeds and images are both drawn at random (two-way analysis of "
        "variance, as Dorfman, Berbaum and Metz treat readers and cases); one seed: paired t-test over images, which "
        "says nothing of other seeds. p is corrected by Holm over all tests of a data set, an encoder and a score; "
        f"better and worse mean p < {SURE}. An interval is that of its test alone, uncorrected: it may leave out 0 "
        "where p cannot tell. Points are hundredths of the score; d is the mean difference of an image over its "
        "standard deviation."
    )
    return [table("comparisons", "Paired comparisons", note, numbers, shown)]


def _points(difference: float) -> str:
    """A difference of scores in hundredths, never -0.0."""
    return f"{round(100 * difference, 1) + 0.0:+.1f}"


def read_predictions(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """labels int64 [N, L] and probabilities [N, K] of a predictions.npz.

    Raises:
        ValueError: it is missing, cannot be read, or holds anything else.
    """
    try:
        with np.load(path, allow_pickle=False) as content:
            labels, probabilities = content["labels"], content["probabilities"]
    except (OSError, KeyError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: must hold labels and probabilities; it cannot be read") from error
    whole, columns = labels.ndim == probabilities.ndim == 2 and labels.dtype.kind in "iu", labels.shape[-1:]
    if not whole or len(labels) != len(probabilities) or columns not in ((1,), probabilities.shape[-1:]):
        raise ValueError(
            f"{path}: must hold whole-numbered labels [N, 1] or [N, K] and probabilities [N, K], not {labels.dtype} "
            f"{list(labels.shape)} and {list(probabilities.shape)}"
        )
    return labels, probabilities


_ByKey = dict[tuple[str, str], dict[str, np.ndarray]]


def _values(cell: pd.DataFrame, notes: list[str]) -> dict[str, dict[int, _ByKey]]:
    """Of each method and seed, by the run's folder and the test labels, the values an image of each score."""
    found: dict[str, dict[int, _ByKey]] = {}
    for row in cell.to_dict("records"):
        path = Path(row["folder"]) / "predictions.npz"
        try:
            labels, probabilities = read_predictions(path)
            task = task_of(labels, probabilities)
            values = {score: make(task, labels, probabilities) for score, make in _VALUES.items()}
        except (ValueError, IndexError) as error:
            notes.append(f"{error}: left out of the comparisons.")
            continue
        wrong = [score for score, name in _NAMES.items() if abs(values[score].mean() - row.get(name, np.nan)) > 1e-9]
        if wrong:
            notes.append(f"{path}: does not give the {' and '.join(wrong)} that its result.json records.")
            continue
        key = (str(row["folder"]), _fingerprint(labels))
        found.setdefault(str(row["method"]), {}).setdefault(int(row["seed"]), {})[key] = values
    return found


def _fingerprint(labels: np.ndarray) -> str:
    return f"{labels.shape}{hash(np.ascontiguousarray(labels).tobytes())}"


def _of_other_images(a: Mapping[int, _ByKey] | None, b: Mapping[int, _ByKey] | None) -> bool:
    """Whether runs of the seeds that both have were scored on test images with other labels, so that none pair up."""
    seeds = set(a or ()) & set(b or ())
    return len({key[1] for side in (a, b) if side is not None for seed in seeds for key in side[seed]}) > 1


def _tested(a: Mapping[int, _ByKey] | None, b: Mapping[int, _ByKey] | None) -> Iterator[tuple[str, Difference]]:
    """Each score's test over the seeds that both have; runs of one seed (of several encoders) count by their mean."""
    if a is None or b is None:
        return
    seeds = sorted(set(a) & set(b))
    if not seeds:
        return
    for score in _VALUES:
        tables = [
            np.stack([np.mean([values[score] for values in side[seed].values()], axis=0) for seed in seeds])
            for side in (a, b)
        ]
        if np.isnan(tables[0]).any() or np.isnan(tables[1]).any() or tables[0].shape[1] < 2:
            continue
        yield score, compare_paired(tables[0], tables[1])
