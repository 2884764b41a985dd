"""Students in the report: named and paired by the encoder of their teacher, and compared with finetuning."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from run_folders import pretrained

from simclr_med.report.collect import collect_runs
from simclr_med.report.comparisons import compare_methods, find_pairs
from simclr_med.report.score_tables import select_scored_runs

Add = Callable[..., Path]


@pytest.fixture
def distilled(add: Add) -> Callable[..., Path]:
    """Write the run of a student whose teacher is another run."""

    def write(teacher: Path, **more: Any) -> Path:
        folder = add("distill", **more)
        path = folder / "result.json"
        content = json.loads(path.read_text(encoding="utf-8"))
        content["provenance"]["teacher"] = {"kind": "model", "run": teacher.name, "hash": "h", "path": None}
        path.write_text(json.dumps(content), encoding="utf-8")
        return folder

    return write


def test_distill_is_compared_with_finetune_of_the_same_encoders(add: Add, runs: Path, distilled) -> None:
    for seed in (0, 1, 2):
        teacher = add("finetune", seed=seed, quality=1.0, init=pretrained(seed=seed))
        distilled(teacher, seed=seed, quality=2.5)
        add("baseline", seed=seed, quality=1.0)
    rows = select_scored_runs(collect_runs(runs).table)
    student, finetune = "distill, own novel", "finetune, own novel"
    assert set(find_pairs(rows)) == {(student, finetune), (student, "baseline"), (finetune, "baseline")}
    found = {(item.a, item.b): item for item in compare_methods(rows)[0]}
    assert found[student, finetune].verdict == "better"
    assert found[student, finetune].designs[0].seeds == (0, 1, 2)
    assert list(rows[rows["method"] == student]["start"]) == list(rows[rows["method"] == finetune]["start"])


def test_another_student_or_teacher_is_another_method(add: Add, runs: Path, distilled) -> None:
    finetune = add("finetune", init=pretrained())
    probe = add("probe", init=pretrained())
    first = distilled(finetune)
    folders = [
        first,
        distilled(finetune, init=pretrained(seed=3)),
        distilled(probe, seed=1),
        distilled(first, seed=2),
    ]
    table = collect_runs(runs).table
    names = [str(table[table["folder"] == folder]["method"].item()) for folder in folders]
    assert len(set(names)) == 4
    assert all(name.startswith("distill, own novel (") for name in names)
    assert "init=random" in names[0]
    assert "init=pretrained" in names[1]
    assert "teacher stage=probe" in names[2]
    assert "teacher stage=distill" in names[3]


def test_student_of_a_missing_teacher_keeps_its_row(add: Add, runs: Path, distilled) -> None:
    folder = distilled(runs / "finetune" / "cells" / "gone-0123456789")
    table = collect_runs(runs).table
    assert table[table["folder"] == folder]["method"].item() == "distill"
