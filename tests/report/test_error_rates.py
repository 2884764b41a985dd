"""The error rates of the report on made studies with known truth: a short form of benchmarks/null_simulation.py."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from run_folders import pretrained

from simclr_med.report.collect import collect_runs
from simclr_med.report.comparisons import compare_methods
from simclr_med.report.score_tables import select_scored_runs

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "null_simulation.py"


@pytest.fixture(scope="module")
def simulation() -> ModuleType:
    spec = importlib.util.spec_from_file_location("null_simulation", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_equal_methods_are_rarely_called_better_or_worse(simulation: ModuleType) -> None:
    """Six studies of 3 encoders and 3 seeds, with 126 comparisons of equal methods.

    The encoders differ much. Without their terms, the same comparisons exceed the limits.
    """
    study = simulation.Study(simulation.Design(3, 3, 4.0, 1.1, 0.7))
    generator = np.random.default_rng(0)
    tests = [test for _ in range(6) for test in compare_methods(study.draw(generator), read=study.read)[0]]
    p_values = np.array([test.estimate.p_value() for test in tests])
    without = np.array([replace(test.estimate, encoders=()).p_value() for test in tests])
    assert sum(test.verdict in ("better", "worse") for test in tests) <= 1
    assert np.mean(p_values < 0.05) <= 0.08
    assert np.mean(without < 0.05) > 0.2


def test_intervals_of_tables_hold_the_true_score(simulation: ModuleType) -> None:
    """Four studies with 60 cells; the measured coverage is above 95 %."""
    design = simulation.Design(1, 3, 0.7, 1.7, 1.0, auroc=0.96, images=156)
    assert simulation.judge_cells(design, 4, 0)["coverage"] >= 0.9


def test_a_study_in_memory_equals_one_in_files(simulation: ModuleType, add: Callable[..., Path], runs: Path) -> None:
    study = simulation.Study(simulation.Design(1, 3, 0.7, 1.7, 1.0, gap=5.0))
    rows = study.draw(np.random.default_rng(0))
    rows = rows[rows["budget"] == "n50"]
    for row in rows.to_dict("records"):
        _, labels, probabilities = study.read(row["folder"] / "predictions.npz")
        init = pretrained("made", row["sequence"]) if row["sequence"] else None
        add(
            row["stage"],
            dataset="made",
            budget=row["budget"],
            seed=row["seed"],
            init=init,
            predictions=(labels, probabilities),
            classes=("no", "yes"),
        )
    in_files = compare_methods(select_scored_runs(collect_runs(runs).table))[0]
    in_memory = compare_methods(rows.assign(share=0.0), read=study.read)[0]
    assert len(in_files) == len(in_memory) == 7
    for one, other in zip(in_files, in_memory, strict=True):
        assert (one.a, one.b, one.budget, one.verdict) == (other.a, other.b, other.budget, other.verdict)
        assert one.interval == pytest.approx(other.interval)
