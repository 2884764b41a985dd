"""Measure the error rates of the report's verdicts and intervals on made studies with known truth.

    python benchmarks/null_simulation.py [--studies 300] [--only verdicts power coverage rejection] [--json FILE]

    verdicts    all methods are equal: how often does a study have a false "better" or "worse", and how often do the
                intervals of the comparisons hold the true difference 0
    power       one method is 5 points better: how often is this found
    coverage    how often do the intervals of the tables hold the true score
    rejection   the test of one comparison alone, by the number of seeds and the ratio of the variance components

A study has 5 methods and 3 label budgets, so 21 comparisons, as `comparisons.find_pairs` chooses them. Its runs are
records of the report (`Result`), judged by `compare_methods` and `mean_over_seeds`; only the predictions come from
memory and not from predictions.npz (a test writes such a study as files and compares the two).

The model of a prediction: score = separation * label + noise, with probit noise of unit variance in each class, so that
AUROC = Phi(separation / sqrt(2)). Three effects shift the separation: the encoder (one for all budgets and label
seeds), the subset of labels, and the interaction of both; the noise of an image is partly common to all methods,
partly to the runs of a method, and partly new in each run.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from simclr_med.metrics.crossed import estimate_difference
from simclr_med.metrics.image_values import compute_image_accuracy, compute_image_auroc
from simclr_med.metrics.intervals import LEVEL, compute_test_intervals
from simclr_med.report.cells import summarise_cells
from simclr_med.report.collect import to_row
from simclr_med.report.comparisons import ALPHA, compare_methods
from simclr_med.report.methods import add_method_names
from simclr_med.report.results import EncoderInit, Result
from simclr_med.report.score_tables import select_scored_runs
from simclr_med.types import Task

TASK: Task = "binary-class"
BUDGETS = {"n50": 50, "n100": 100, "n250": 250}
POOL = 20_000  # training images of the made data set
REJECTION_LEVELS = (0.05, 0.00238)  # the second is 0.05 / 21, the first step of Holm's method in a study
NOISE = (0.85, 0.05, 0.10)  # shares of the variance of an image's noise: all methods, one method, one run
# name -> stage, pretraining augmentation (empty: random weights)
METHODS = {
    "untrained control": ("probe", ""),
    "probe, own novel": ("probe", "novel"),
    "probe, own simple": ("probe", "simple"),
    "finetune, own novel": ("finetune", "novel"),
    "baseline": ("baseline", ""),
}


@dataclass(frozen=True)
class Design:
    """A made study.

    Attributes:
        encoders, seeds: E and S of every method.
        encoder, subset, interaction: standard deviations of the effects, in points of AUROC.
        auroc: of every method.
        images: in the test split, half of them positive.
        gap: added to the AUROC of one method, in points.
        better: this method.
        is_baseline_crossed: whether the baseline has E initial weights for each label seed, as the other methods have
            encoders; otherwise each seed has its own.
        is_subset_shared: whether a subset is as easy for every method; otherwise each method has an effect of its own.
    """

    encoders: int
    seeds: int
    encoder: float
    subset: float
    interaction: float
    auroc: float = 0.80
    images: int = 400
    gap: float = 0.0
    better: str = "probe, own novel"
    is_baseline_crossed: bool = True
    is_subset_shared: bool = True

    @property
    def label(self) -> str:
        effects = f"{self.encoder} / {self.subset} / {self.interaction}"
        return f"{self.encoders} x {self.seeds}; {effects}" + (f"; gap {self.gap:g}" if self.gap else "")


def list_runs(design: Design) -> pd.DataFrame:
    """Return the runs of a study as `collect_runs` would, without scores."""
    results = []
    for (stage, augmentation), budget in itertools.product(METHODS.values(), BUDGETS):
        is_crossed = design.encoders > 1 and (stage != "baseline" or design.is_baseline_crossed)
        encoders = design.encoders if augmentation or is_crossed else 1
        for encoder, seed in itertools.product(range(encoders), range(design.seeds)):
            init = EncoderInit("random", seed=encoder if is_crossed else None)
            if augmentation:
                name = f"{augmentation}-{encoder}"
                init = EncoderInit("pretrained", name, "made", augmentation, encoder, "random")
            folder = Path(f"{stage}-{augmentation}-{budget}-{encoder}-{seed}")
            metrics = {"train/images": float(BUDGETS[budget])}
            results.append(_build_result(folder, stage, budget, seed, init, metrics))
    results.append(
        _build_result(Path("pool"), "pretrain", "full", 0, EncoderInit("random"), {"train/images": float(POOL)})
    )
    return add_method_names(pd.DataFrame([to_row(result) for result in results]), {})


def _build_result(
    folder: Path, stage: str, budget: str, seed: int, init: EncoderInit, metrics: dict[str, float]
) -> Result:
    return Result(
        folder=folder,
        state="finished",
        stage=stage,
        dataset="made",
        encoder="tiny",
        augmentation="none",
        size=28,
        budget=budget,
        seed=seed,
        init=init,
        settings={},
        metrics=metrics,
        protocol_version=2,
        data_hash="made",
        classes=("no", "yes"),
    )


class Study:
    """The runs of one design; `draw` gives them new predictions.

    Attributes:
        table: the runs, with the scores of the last draw.
        truth: the true AUROC of each run's encoder, averaged over label subsets, of the last draw.
    """

    def __init__(self, design: Design) -> None:
        self.design = design
        self.table = list_runs(design)
        self.scored = self.table[self.table["stage"] != "pretrain"]
        half = design.images // 2
        self.labels_N1 = np.repeat([1, 0], [half, design.images - half])[:, None]
        self.truth = pd.Series(dtype=np.float64)
        self._probabilities: dict[str, np.ndarray] = {}

    def draw(self, generator: np.random.Generator) -> pd.DataFrame:
        """Draw effects and noise, and return the scored runs as the report selects them."""
        design, runs = self.design, self.scored
        encoder = _draw_effects(generator, runs, ["method", "start"], design.encoder)
        subset_keys = ["budget", "seed"] if design.is_subset_shared else ["method", "budget", "seed"]
        subset = _draw_effects(generator, runs, subset_keys, design.subset)
        interaction = _draw_effects(generator, runs, ["method", "start", "budget", "seed"], design.interaction)
        gap = np.where(runs["method"] == design.better, design.gap, 0.0)
        centre = np.sqrt(2) * stats.norm.ppf(design.auroc)
        per_point = 0.01 * np.sqrt(2) / stats.norm.pdf(centre / np.sqrt(2))
        expected = centre + per_point * (gap + encoder)
        self.truth = pd.Series(stats.norm.cdf(expected / np.sqrt(2)), index=runs.index)
        separation = expected + per_point * (subset + interaction)
        noise_RN = self._draw_noise(generator)
        score_RN = separation[:, None] * (self.labels_N1[:, 0] - 0.5) + noise_RN
        positive_RN = 1 / (1 + np.exp(-centre * score_RN))
        self._probabilities = {
            str(folder): np.stack([1 - positive_N, positive_N], axis=1)
            for folder, positive_N in zip(runs["folder"], positive_RN, strict=True)
        }
        folders = [str(folder) for folder in runs["folder"]]
        for score, compute in (("auroc", compute_image_auroc), ("accuracy", compute_image_accuracy)):
            values = [compute(TASK, self.labels_N1, self._probabilities[folder]).mean() for folder in folders]
            self.table.loc[runs.index, f"test/{score}"] = values
        return select_scored_runs(self.table)

    def add_intervals(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the runs with the intervals over test images that a real run records."""
        found = [
            compute_test_intervals(TASK, self.labels_N1, self._probabilities[str(folder)], 0, 0)
            for folder in rows["folder"]
        ]
        return rows.assign(intervals=[{f"test/{name}": bounds for name, bounds in one.items()} for one in found])

    def read(self, path: Path, recorded: str | None = None) -> tuple[Task, np.ndarray, np.ndarray]:
        """Return what `read_predictions` would read."""
        return TASK, self.labels_N1, self._probabilities[str(path.parent)]

    def _draw_noise(self, generator: np.random.Generator) -> np.ndarray:
        """Return the noise of each image in each run, [R, N], of unit variance; each budget has its own."""
        runs, images = self.scored, self.design.images
        common, own, new = (np.sqrt(share) for share in NOISE)
        noise_RN = new * generator.normal(size=(len(runs), images)) + common * generator.normal(size=images)
        for _, rows in runs.reset_index(drop=True).groupby("method"):
            noise_RN[rows.index] += own * generator.normal(size=images)
        return noise_RN


def _draw_effects(generator: np.random.Generator, runs: pd.DataFrame, keys: list[str], deviation: float) -> np.ndarray:
    """Return one normal effect for each combination of the keys, by run."""
    codes = runs.groupby(keys, sort=False).ngroup().to_numpy()
    return deviation * generator.normal(size=codes.max() + 1)[codes]


def judge_comparisons(design: Design, studies: int, seed: int) -> dict[str, float]:
    """Return the error rates of the comparisons over many studies.

    The truth of a method with one encoder is that of this encoder, which is what its sentence claims.

    Returns:
        false_verdict: share of studies with a "better" or "worse" that is not true; p_below_05 and coverage: of single
        comparisons, not corrected; simultaneous: share of studies whose adjusted intervals all hold the truth; found:
        share of the comparisons with a true gap that have the right verdict.
    """
    study, generator = Study(design), np.random.default_rng(seed)
    rates: dict[str, list[bool]] = {name: [] for name in ("p_below_05", "coverage", "found")}
    false, simultaneous = [], []
    for _ in range(studies):
        rows = study.draw(generator)
        comparisons, _ = compare_methods(rows, read=study.read)
        scores = find_true_scores(study)
        truths = [scores[comparison.a] - scores[comparison.b] for comparison in comparisons]
        is_false, is_inside = False, True
        for comparison, truth in zip(comparisons, truths, strict=True):
            # An interval holds a value if, and only if, the test of this value does not reject it, which is faster.
            p_of_truth = comparison.estimate.p_value(truth)
            verdict = comparison.verdict if comparison.p_holm <= ALPHA else ""
            is_false |= (verdict == "better" and truth <= 0) or (verdict == "worse" and truth >= 0)
            is_inside &= bool(comparison.missing) or p_of_truth >= 1 - comparison.level
            rates["coverage"].append(p_of_truth >= 1 - LEVEL)
            if truth == 0:
                rates["p_below_05"].append(p_of_truth < 0.05)
            if abs(truth) > 0.01:
                rates["found"].append(verdict == ("better" if truth > 0 else "worse"))
        false.append(is_false)
        simultaneous.append(is_inside)
    return {
        "false_verdict": float(np.mean(false)),
        "simultaneous": float(np.mean(simultaneous)),
        **{name: float(np.mean(values)) for name, values in rates.items() if values},
    }


def find_true_scores(study: Study) -> dict[str, float]:
    """Return the true score of each method; of its encoder where it has one, which is what the report claims."""
    design, scores = study.design, {}
    for method, starts in study.scored.groupby("method")["start"]:
        gap = design.gap if method == design.better else 0.0
        is_one = starts.nunique() == 1
        scores[str(method)] = float(study.truth[starts.index[0]]) if is_one else design.auroc + 0.01 * gap
    return scores


def judge_cells(design: Design, studies: int, seed: int) -> dict[str, float]:
    """Return how often the intervals of the tables hold the true AUROC, and their mean width."""
    study, generator = Study(design), np.random.default_rng(seed)
    inside, widths = [], []
    for _ in range(studies):
        rows = study.add_intervals(study.draw(generator))
        scores = find_true_scores(study)
        cells = summarise_cells(rows, ["method", "budget"], ["test/auroc"])
        for cell in cells.to_dict("records"):
            low, high = cell["test/auroc low"], cell["test/auroc high"]
            inside.append(low <= scores[str(cell["method"])] <= high)
            widths.append(high - low)
    return {"coverage": float(np.mean(inside)), "width": float(np.mean(widths))}


def judge_rejection(seeds: int, ratio: float, draws: int, seed: int, images: int = 400) -> dict[str, float]:
    """Return how often the test of a true difference of 0 rejects, relative to its level.

    The table of one value for each seed and image has normal effects: of the images with variance 1, and of the seeds
    with the ratio as variance, both of the mean, and a rest of 0.3.
    """
    generator = np.random.default_rng([seed, seeds, round(100 * ratio)])
    p_values = []
    for _ in range(draws):
        by_seed = np.sqrt(ratio) * np.sqrt(seeds) * generator.normal(size=(seeds, 1))
        by_image = np.sqrt(images) * generator.normal(size=images)
        rest = np.sqrt(0.3 * seeds * images) * generator.normal(size=(seeds, images))
        gap_SN = by_seed + by_image + rest
        p_values.append(estimate_difference(gap_SN[None], np.zeros((1, seeds, images))).p_value())
    return {f"{level}": float(np.mean(np.array(p_values) < level)) for level in REJECTION_LEVELS}


VERDICT_DESIGNS = (
    Design(1, 3, 0.0, 1.7, 1.0),
    Design(1, 3, 0.7, 1.7, 1.0),
    Design(1, 3, 1.2, 1.1, 0.7),
    Design(3, 3, 0.7, 1.7, 1.0),
    Design(3, 3, 1.2, 1.1, 0.7),
    Design(3, 3, 0.7, 1.7, 1.0, is_baseline_crossed=False),
)
POWER_DESIGNS = tuple(
    Design(5, 5, 0.7, 1.7, 1.0, gap=5.0, better=better) for better in ("probe, own novel", "finetune, own novel")
)
CELL_DESIGNS = (
    Design(1, 3, 0.7, 1.7, 1.0),
    Design(3, 3, 0.7, 1.7, 1.0),
    Design(3, 5, 0.7, 1.7, 1.0),
    Design(1, 3, 0.7, 1.0, 1.0, auroc=0.96, images=156),
    Design(3, 3, 0.7, 1.0, 1.0, auroc=0.96, images=156),
)


def measure_verdicts(studies: int, seed: int) -> list[dict[str, Any]]:
    return [_describe(design) | judge_comparisons(design, studies, seed) for design in VERDICT_DESIGNS]


def measure_power(studies: int, seed: int) -> list[dict[str, Any]]:
    return [_describe(design) | judge_comparisons(design, studies, seed) for design in POWER_DESIGNS]


def measure_coverage(studies: int, seed: int) -> list[dict[str, Any]]:
    return [_describe(design) | judge_cells(design, studies, seed) for design in CELL_DESIGNS]


def measure_rejection(studies: int, seed: int) -> list[dict[str, Any]]:
    return [
        {"seeds": seeds, "ratio": ratio} | judge_rejection(seeds, ratio, 60 * studies, seed)
        for seeds, ratio in itertools.product((3, 5, 10), (0, 0.25, 1, 4, 16))
    ]


MEASURES = {
    "verdicts": measure_verdicts,
    "power": measure_power,
    "coverage": measure_coverage,
    "rejection": measure_rejection,
}


def _describe(design: Design) -> dict[str, Any]:
    return {"design": design.label, "auroc": design.auroc, "images": design.images, "better": design.better} | (
        {} if design.is_baseline_crossed else {"baseline": "an encoder for each seed"}
    )


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=list(MEASURES), default=list(MEASURES))
    parser.add_argument("--json", type=Path, help="file of all figures; those of other parts are kept")
    given = parser.parse_args(argv)
    known = json.loads(given.json.read_text(encoding="utf-8")) if given.json and given.json.exists() else {}
    for name in given.only:
        start = time.perf_counter()
        known[name] = {"studies": given.studies, "seed": given.seed, "rows": MEASURES[name](given.studies, given.seed)}
        print(f"{name} ({time.perf_counter() - start:.0f} s)")
        print(pd.DataFrame(known[name]["rows"]).round(4).to_string(index=False), flush=True)
        if given.json:
            given.json.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
