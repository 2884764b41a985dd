"""Corrupted images and images of other data sets in the report, from the files of runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simclr_med.report.cells import NONE
from simclr_med.report.collect import collect_runs
from simclr_med.report.corrupted_images import build_corrupted_image_tables, plot_corrupted_images
from simclr_med.report.foreign_images import build_foreign_image_table
from simclr_med.report.score_tables import select_scored_runs
from simclr_med.report.sections import build_content
from simclr_med.report.tested_runs import select_tested_runs

Add = Callable[..., Path]


def add_test(
    add: Add,
    classifier: Path,
    errors: dict[str, float],
    clean: float = 0.2,
    family: str = "ct",
    change: Callable[[dict[str, Any]], None] | None = None,
) -> Path:
    """Write a run of stage=test on a classifier whose balanced errors rise with the severity to twice their mean."""
    seed = json.loads((classifier / "result.json").read_text("utf-8"))["seed"]
    run = {"name": "model", "salt": classifier.name}  # so that each run has its own folder
    folder = add("test", dataset=classifier.parent.name, budget="full", seed=seed, init=run, change=change)
    lines = ["corruption,severity,accuracy,auroc,balanced_error", f"none,0,{1 - clean},0.9,{clean}"]
    for name, error in errors.items():
        lines += [f"{name},{s},{1 - error * s / 3},{0.95 - 0.1 * s},{error * s / 3}" for s in range(1, 6)]
    (folder / "corruptions.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    record = json.loads((folder / "result.json").read_text("utf-8"))
    mean = float(np.mean(list(errors.values())))
    record["metrics"] |= {"test/corrupted_accuracy": 1 - mean, "test/corrupted_balanced_error": mean}
    record["metrics"] |= {"test/corrupted_auroc": 0.65, "test/ood_knn/scans": 0.8, "test/ood_energy/scans": 0.7}
    record["intervals"]["test/ood_knn/scans"] = [0.7, 0.9]
    for score in ("accuracy", "auroc"):
        for severity in range(1, 6):
            record["metrics"][f"test/corrupted_{score}/{severity}"] = 0.9 - 0.1 * severity
            record["intervals"][f"test/corrupted_{score}/{severity}"] = [0.85 - 0.1 * severity, 0.95 - 0.1 * severity]
    record["provenance"] |= {
        "model": {"stage": classifier.parent.parent.name, "dataset": classifier.parent.name},
        "corruptions": {"family": family},
    }
    record["provenance"]["init"]["run"] = classifier.name
    (folder / "result.json").write_text(json.dumps(record), encoding="utf-8")
    return folder


def read_tested(runs: Path) -> Any:
    table = collect_runs(runs).table
    return select_tested_runs(table, select_scored_runs(table))


def test_errors_are_relative_to_the_baseline(add: Add, runs: Path) -> None:
    probe, baseline = add("probe"), add("baseline")
    add_test(add, probe, {"blur": 0.3, "noise": 0.4, "light": 0.21}, clean=0.2)
    add_test(add, baseline, {"blur": 0.6, "noise": 0.5, "light": 0.105}, clean=0.1)
    table, by_corruption = build_corrupted_image_tables(read_tested(runs), [])
    numbers = table.numbers.set_index("method")
    found = numbers.loc["untrained control"]
    assert found["reference"] == "baseline"
    assert found["mean_corruption_error"] == pytest.approx((0.3 / 0.6 + 0.4 / 0.5 + 0.21 / 0.105) / 3)
    assert found["relative_corruption_error"] == pytest.approx((0.1 / 0.5 + 0.2 / 0.4) / 2)  # light does too little
    own = numbers.loc["baseline"]
    assert (own["mean_corruption_error"], own["relative_corruption_error"]) == pytest.approx((1, 1))
    assert found["budget"] == "n50"  # the classifier's, not that of the test run
    assert by_corruption.shown["corruption"].tolist() == ["none (clean images)", "blur", "noise", "light"]
    assert by_corruption.shown["baseline, 50 labels"].tolist() == ["0.900", "0.650", "0.650", "0.650"]
    assert by_corruption.numbers["noise balanced_error"].tolist() == pytest.approx([0.4, 0.5])


def test_the_control_is_the_reference_where_there_is_no_baseline(add: Add, runs: Path) -> None:
    control, probe = add("probe"), add("probe", init={"name": "imagenet"})
    add_test(add, control, {"blur": 0.205}, clean=0.2)
    add_test(add, probe, {"blur": 0.41}, clean=0.2)
    numbers = build_corrupted_image_tables(read_tested(runs), [])[0].numbers.set_index("method")
    assert numbers.loc["probe, ImageNet", "reference"] == "untrained control"
    assert numbers.loc["probe, ImageNet", "mean_corruption_error"] == pytest.approx(2)
    assert np.isnan(numbers.loc["probe, ImageNet", "relative_corruption_error"])  # the control's error hardly rises


def test_families_and_their_values_are_kept_apart(add: Add, runs: Path) -> None:
    probe = add("probe")
    add_test(add, probe, {"blur": 0.3})
    add_test(add, add("probe", seed=1), {"blur": 0.3}, family="xray")

    def change(content: dict[str, Any]) -> None:
        content["stage"]["families"]["ct"]["pixelate"] = [0.9, 0.8, 0.7, 0.6, 0.5]

    add_test(add, add("probe", seed=2), {"blur": 0.3}, change=change)
    names = set(build_corrupted_image_tables(read_tested(runs), [])[0].numbers["family"])
    assert names == {"ct", "ct (2)", "xray"}
    assert len(plot_corrupted_images(read_tested(runs))) == 3


def test_the_curve_shows_each_severity_with_its_interval(add: Add, runs: Path) -> None:
    add_test(add, add("probe"), {"blur": 0.3})
    (chart,) = plot_corrupted_images(read_tested(runs))
    left, right = chart.figure.axes
    line = right.containers[0].lines[0]
    assert line.get_ydata()[1:].tolist() == pytest.approx([0.8, 0.7, 0.6, 0.5, 0.4])
    (bars,) = right.containers[0].lines[2]
    assert bars.get_segments()[3][:, 1].tolist() == pytest.approx([0.55, 0.65])
    assert left.get_xlabel() == "severity"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "expected 5 severities"),
        ("corruption,severity,accuracy,auroc,balanced_error\nnone,0,0.5,0.5,7\n", "fractions"),
        ("corruption,severity,accuracy,auroc,balanced_error\nnone,0,0.5,0.5,0.5\nblur,1,0.5,0.5,0.5\n", "5 severities"),
        ("corruption,severity\nnone,0\n", "accuracy"),
        ("corruption,severity,accuracy,auroc,balanced_error\nnone,0,half,0.5,0.5\n", "could not convert"),
    ],
)
def test_a_damaged_file_is_a_note(add: Add, runs: Path, text: str, reason: str) -> None:
    folder = add_test(add, add("probe"), {"blur": 0.3})
    (folder / "corruptions.csv").write_text(text, encoding="utf-8")
    notes: list[str] = []
    (table,) = build_corrupted_image_tables(read_tested(runs), notes)
    assert table.shown["mean corruption error"].tolist() == [NONE]
    assert len(notes) == 1
    assert reason in notes[0]
    assert str(folder) in notes[0]


def test_foreign_images_are_a_table(add: Add, runs: Path) -> None:
    add_test(add, add("probe"), {"blur": 0.3})
    (table,) = build_foreign_image_table(read_tested(runs))
    (row,) = table.shown.to_dict("records")
    assert row["against"] == "scans"
    assert row["nearest neighbours"].startswith("0.800 [0.700, 0.900]")
    assert row["Mahalanobis"] == NONE


def test_both_are_sections_and_absent_without_tests(add: Add, runs: Path) -> None:
    probe = add("probe")
    assert not {"corrupted", "foreign"} & {section.key for section in build_content(collect_runs(runs)).sections}
    add_test(add, probe, {"blur": 0.3})
    assert {"corrupted", "foreign"} <= {section.key for section in build_content(collect_runs(runs)).sections}


def test_a_classifier_that_is_gone_has_no_row(add: Add, runs: Path) -> None:
    probe = add("probe")
    folder = add_test(add, probe, {"blur": 0.3})
    record = json.loads((folder / "result.json").read_text("utf-8"))
    record["provenance"]["init"]["run"] = "another"
    (folder / "result.json").write_text(json.dumps(record), encoding="utf-8")
    assert build_corrupted_image_tables(read_tested(runs), []) == []
    assert plot_corrupted_images(read_tested(runs)) == []
    assert build_foreign_image_table(read_tested(runs)) == []
