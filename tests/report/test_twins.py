"""Scores with and without the test images that an audit found in another split."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from run_folders import drawn, pretrained
from sklearn.metrics import roc_auc_score

from simclr_med.report.collect import collect_runs
from simclr_med.report.score_tables import select_scored_runs
from simclr_med.report.sections import build_content
from simclr_med.report.twins import find_twins, read_test_twins

Add = Callable[..., Path]
HEAD = "kind,split,index,other_split,other_index,score,detail\n"
ROWS = (
    "exact_duplicate,test,3,train,17,1.0,\n"
    "near_duplicate,val,2,test,5,0.99,\n"
    "near_duplicate,train,1,val,4,0.99,\n"  # no test image
    "near_duplicate,test,8,test,9,0.99,\n"  # inside the test split
    "label_error,test,11,train,4,0.9,\n"
    "exact_duplicate,test,3,val,7,1.0,\n"
)


def add_audit(runs: Path, like: Path, findings: str = HEAD + ROWS, data_hash: str = "sha256:abcdef") -> Path:
    """Write a finished run of stage=audit with the config of another run."""
    folder = runs / "audit" / "cells" / "audit-abc"
    folder.mkdir(parents=True)
    config = (like / "config.yaml").read_text(encoding="utf-8").replace("name: probe", "name: audit")
    (folder / "config.yaml").write_text(config, encoding="utf-8")
    record = json.loads((like / "result.json").read_text(encoding="utf-8"))
    record |= {"stage": "audit", "metrics": {}, "intervals": {}, "tables": {}, "files": {}}
    record["provenance"]["data_hash"] = data_hash
    (folder / "result.json").write_text(json.dumps(record), encoding="utf-8")
    (folder / "findings.csv").write_text(findings, encoding="utf-8")
    return folder


def test_scores_without_twins_are_those_of_the_other_images(add: Add, runs: Path) -> None:
    made, aurocs = None, []
    for seed in range(3):
        labels, probabilities = drawn(1.0, seed)
        probabilities[[3, 5]] = np.eye(3)[labels[[3, 5], 0]]  # twins are known by heart
        made = add("probe", seed=seed, init=pretrained(), predictions=(labels, probabilities))
        kept = np.setdiff1d(np.arange(120), [3, 5])
        aurocs.append(np.mean([roc_auc_score(labels[kept, 0] == k, probabilities[kept, k]) for k in range(3)]))
    assert made is not None
    add_audit(runs, made)
    content = build_content(collect_runs(runs))
    (section,) = [section for section in content.sections if section.key == "twins"]
    row = section.tables[0].numbers.iloc[0]
    assert row["test/auroc mean kept"] == pytest.approx(np.mean(aurocs))
    assert row["test/auroc mean all"] > row["test/auroc mean kept"]
    assert row["test/auroc low kept"] < row["test/auroc mean kept"] < row["test/auroc high kept"]
    short = content.answers[0].questions[-1].short
    assert short.startswith("2 of 120 test images have a twin in another split (AUROC changes by -")


def test_an_audit_without_twins_says_nothing(add: Add, runs: Path) -> None:
    add_audit(runs, add("probe"), HEAD)
    content = build_content(collect_runs(runs))
    assert not [section for section in content.sections if section.key == "twins"]
    assert "twins" not in content.answers[0].questions[-1].short


def test_an_audit_of_other_data_is_not_used(add: Add, runs: Path) -> None:
    add_audit(runs, add("probe"), data_hash="sha256:other")
    collection = collect_runs(runs)
    assert find_twins(collection.table, select_scored_runs(collection.table), []) == []
    assert "Nobody has looked for twins" in build_content(collection).answers[0].questions[-1].short


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no column index, kind, other_index, other_split, split"),
        ("kind,split\n", "no column index, other_index, other_split"),
        (HEAD + "exact_duplicate,test,120,train,1,1,\n", "line 2: expected a row of the 120 test images, found '120'"),
        (HEAD + "exact_duplicate,test,x,train,1,1,\n", "found 'x'"),
        (HEAD + "exact_duplicate,test,-1,train,1,1,\n", "found '-1'"),
    ],
)
def test_damaged_findings_are_a_note(add: Add, runs: Path, text: str, reason: str) -> None:
    folder = add_audit(runs, add("probe"), text)
    with pytest.raises(ValueError, match=reason.replace("(", r"\(")):
        read_test_twins(folder / "findings.csv", 120)
    collection, notes = collect_runs(runs), []
    assert find_twins(collection.table, select_scored_runs(collection.table), notes) == []
    assert len(notes) == 1
    assert reason in notes[0]


def test_missing_findings_are_a_note(add: Add, runs: Path) -> None:
    (add_audit(runs, add("probe")) / "findings.csv").unlink()
    collection, notes = collect_runs(runs), []
    assert find_twins(collection.table, select_scored_runs(collection.table), notes) == []
    assert "findings.csv" in notes[0]
