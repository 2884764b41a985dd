"""Every run's folder becomes one row, whatever state it is in; what cannot be read is listed and counted."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from run_folders import pretrained

from simclr_med.errors import RunError
from simclr_med.report.collect import collect_runs, find_run_folders
from simclr_med.report.results import DamagedRunError, read_result
from simclr_med.report.sections import count_states

Add = Callable[..., Path]


def test_a_finished_run_is_read_as_it_was_recorded(add: Add) -> None:
    folder = add("probe", budget="pct10", seed=3, init=pretrained("skin", "simple"))
    found = read_result(folder)
    recorded = json.loads((folder / "result.json").read_text())
    assert (found.state, found.stage, found.dataset, found.encoder) == ("finished", "probe", "cells", "tiny")
    assert (found.budget, found.seed, found.size, found.augmentation) == ("pct10", 3, 28, "none")
    assert (found.start.kind, found.start.dataset, found.start.augmentation) == ("pretrained", "skin", "simple")
    assert found.metrics == recorded["metrics"]
    assert (found.wall_s, found.images_per_s, found.protocol_version) == (36.0, None, 1)
    assert found.classes == ("red", "green", "blue")


def test_failed_and_unfinished_runs_are_rows_too(add: Add, runs: Path) -> None:
    add("baseline", state="failed")
    add("baseline", state="unfinished", seed=1)
    add("baseline", seed=2)
    found = collect_runs(runs)
    assert count_states(found) == {"finished": 1, "unfinished": 1, "failed": 1}
    table = found.table.set_index("seed")
    assert table.loc[0, "message"] == "Out of memory."
    assert list(found.finished("baseline")["seed"]) == [2]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("result.json", '{"metrics": {"test/acc'),
        ("result.json", '{"metrics": {}}'),
        ("result.json", "[1, 2]"),
        ("result.json", ""),
        ("config.yaml", "stage: [unclosed"),
        ("config.yaml", "stage: {name: probe}"),
        ("config.yaml", "just words"),
    ],
)
def test_a_damaged_run_is_named_counted_and_left_out(add: Add, runs: Path, file: str, text: str) -> None:
    broken = add("probe", seed=0)
    add("probe", seed=1)
    (broken / file).write_text(text)
    with pytest.raises(DamagedRunError, match=file):
        read_result(broken)
    found = collect_runs(runs)
    assert list(found.table["seed"]) == [1]
    assert len(found.damaged) == 1
    assert str(broken / file) in found.damaged[0]
    assert "\n" not in found.damaged[0]
    assert count_states(found) == {"finished": 1, "cannot be read": 1}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("classes", "rgb"),
        ("confusion_matrix", [[1, 2, 3], [4]]),
        ("confusion_matrix", [[1, 2], [3, 4]]),
        ("confusion_matrix", None),
        ("reliability", {"count": [1], "confidence": ["x"], "accuracy": [0.5]}),
        ("reliability", {"count": [1, 2], "confidence": [0.5], "accuracy": [0.5]}),
        ("reliability", []),
    ],
)
def test_tables_that_no_picture_can_be_drawn_of_are_damage(add: Add, runs: Path, key: str, value: object) -> None:
    broken = add("probe", seed=0)
    result = json.loads((broken / "result.json").read_text())
    result["tables"][key] = value
    (broken / "result.json").write_text(json.dumps(result))
    add("probe", seed=1)
    found = collect_runs(runs)
    assert list(found.table["seed"]) == [1]
    assert len(found.damaged) == 1
    assert str(broken / "result.json") in found.damaged[0]


def test_nothing_to_report_says_where_it_looked(add: Add, runs: Path) -> None:
    with pytest.raises(RunError, match="there are none under") as caught:
        collect_runs(runs)
    assert str(runs.absolute()) in str(caught.value)
    add("probe")
    with pytest.raises(RunError, match=r"runs of skin \(there are runs of cells\)"):
        collect_runs(runs, ["skin"])


def test_results_of_several_protocols_are_refused_unless_asked_for(add: Add, runs: Path) -> None:
    add("probe", seed=0)
    add("probe", seed=1, protocol_version=2)
    with pytest.raises(RunError, match="protocol versions 1, 2"):
        collect_runs(runs)
    found = collect_runs(runs, mixed=True)
    assert found.versions == [1, 2]
    assert sorted(found.table["method"]) == [f"untrained control (protocol_version={n})" for n in (1, 2)]


def test_only_some_data_sets(add: Add, runs: Path) -> None:
    made = add("pretrain", dataset="skin", augmentation="simple", budget="full")
    add("probe", init=pretrained(run=str(made)), made_by=made)
    found = collect_runs(runs, ["cells"])
    assert list(found.table["dataset"]) == ["cells"]
    assert found.table["origin"].item() == "skin simple"  # known although the pretraining's own set is left out


def test_hidden_folders_reports_and_files_are_no_runs(add: Add, runs: Path) -> None:
    folder = add("probe")
    for other in (".features/cells/a", "report/all/b", "probe/cells/empty", "probe/cells/.x"):
        (runs / other).mkdir(parents=True)
    for other in (".features/cells/a", "report/all/b", "probe/cells/.x"):
        shutil.copy(folder / "config.yaml", runs / other)
    (runs / "notes.txt").write_text("")
    assert list(find_run_folders(runs)) == [folder]


def test_five_hundred_runs_are_read_in_seconds(add: Add, runs: Path) -> None:
    """20 s are the limit for a thousand."""
    folder = add("probe")
    for number in range(500):
        copy = folder.with_name(f"copy{number}")
        copy.mkdir()
        for name in ("config.yaml", "result.json"):
            (copy / name).symlink_to(folder / name)
    began = time.monotonic()
    assert len(collect_runs(runs).table) == 501
    assert time.monotonic() - began < 10
