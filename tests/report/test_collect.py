"""Every run's folder becomes one row, in any state; runs that cannot be read are listed and counted."""

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


def test_finished_run_is_read_unchanged(add: Add) -> None:
    folder = add("probe", budget="pct10", seed=3, init=pretrained("skin", "simple"))
    result = read_result(folder)
    recorded = json.loads((folder / "result.json").read_text())
    assert (result.state, result.stage, result.dataset, result.encoder) == ("finished", "probe", "cells", "tiny")
    assert (result.budget, result.seed, result.size, result.augmentation) == ("pct10", 3, 28, "none")
    assert (result.init.kind, result.init.dataset, result.init.augmentation) == ("pretrained", "skin", "simple")
    assert result.metrics == recorded["metrics"]
    assert (result.wall_s, result.images_per_s, result.protocol_version) == (36.0, None, 1)
    assert result.classes == ("red", "green", "blue")


def test_failed_and_unfinished_runs_are_rows(add: Add, runs: Path) -> None:
    add("baseline", state="failed")
    add("baseline", state="unfinished", seed=1)
    add("baseline", seed=2)
    collection = collect_runs(runs)
    assert count_states(collection) == {"finished": 1, "unfinished": 1, "failed": 1}
    table = collection.table.set_index("seed")
    assert table.loc[0, "message"] == "Out of memory."
    assert list(collection.select_finished("baseline")["seed"]) == [2]


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
def test_damaged_run_is_listed_counted_and_excluded(add: Add, runs: Path, file: str, text: str) -> None:
    broken = add("probe", seed=0)
    add("probe", seed=1)
    (broken / file).write_text(text)
    with pytest.raises(DamagedRunError, match=file):
        read_result(broken)
    collection = collect_runs(runs)
    assert list(collection.table["seed"]) == [1]
    assert len(collection.damaged) == 1
    assert str(broken / file) in collection.damaged[0]
    assert "\n" not in collection.damaged[0]
    assert count_states(collection) == {"finished": 1, "unreadable": 1}


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
def test_invalid_tables_count_as_damage(add: Add, runs: Path, key: str, value: object) -> None:
    broken = add("probe", seed=0)
    result = json.loads((broken / "result.json").read_text())
    result["tables"][key] = value
    (broken / "result.json").write_text(json.dumps(result))
    add("probe", seed=1)
    collection = collect_runs(runs)
    assert list(collection.table["seed"]) == [1]
    assert len(collection.damaged) == 1
    assert str(broken / "result.json") in collection.damaged[0]


def test_error_without_runs_names_the_folder(add: Add, runs: Path) -> None:
    with pytest.raises(RunError, match="found no runs under") as caught:
        collect_runs(runs)
    assert str(runs.absolute()) in str(caught.value)
    add("probe")
    with pytest.raises(RunError, match=r"runs of skin \(there are runs of cells\)"):
        collect_runs(runs, ["skin"])


def test_mixed_protocol_versions_need_stage_mixed(add: Add, runs: Path) -> None:
    add("probe", seed=0)
    add("probe", seed=1, protocol_version=2)
    with pytest.raises(RunError, match="protocol versions 1, 2"):
        collect_runs(runs)
    collection = collect_runs(runs, mixed=True)
    assert collection.versions == [1, 2]
    assert sorted(collection.table["method"]) == [f"untrained control (protocol_version={n})" for n in (1, 2)]


def test_selected_data_sets(add: Add, runs: Path) -> None:
    made = add("pretrain", dataset="skin", augmentation="simple", budget="full")
    add("probe", init=pretrained(run=str(made)), made_by=made)
    collection = collect_runs(runs, ["cells"])
    assert list(collection.table["dataset"]) == ["cells"]
    assert (
        collection.table["origin"].item() == "skin simple"
    )  # the pretraining run is read although its data set is not selected


def test_hidden_folders_reports_and_files_are_skipped(add: Add, runs: Path) -> None:
    folder = add("probe")
    for other in (".features/cells/a", "report/all/b", "probe/cells/empty", "probe/cells/.x"):
        (runs / other).mkdir(parents=True)
    for other in (".features/cells/a", "report/all/b", "probe/cells/.x"):
        shutil.copy(folder / "config.yaml", runs / other)
    (runs / "notes.txt").write_text("")
    assert list(find_run_folders(runs)) == [folder]


def test_five_hundred_runs_are_read_within_ten_seconds(add: Add, runs: Path) -> None:
    """The limit is 20 s for a thousand runs."""
    folder = add("probe")
    for number in range(500):
        copy = folder.with_name(f"copy{number}")
        copy.mkdir()
        for name in ("config.yaml", "result.json"):
            (copy / name).symlink_to(folder / name)
    began = time.monotonic()
    assert len(collect_runs(runs).table) == 501
    assert time.monotonic() - began < 10
