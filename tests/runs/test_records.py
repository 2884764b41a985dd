"""The records of runs, and the choices among them: filters, names, differences, the best model, what may be deleted."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from foreign_folders import DAMAGES, MORE_DAMAGES
from run_folders import pretrained, write

from simclr_med.errors import BusyError, ConfigError, RunError
from simclr_med.runs.lock import hold_lock
from simclr_med.runs.records import RunRecord, read_record, read_records
from simclr_med.runs.removal import find_dependents, remove_run
from simclr_med.runs.run_table import format_age, to_dicts
from simclr_med.runs.selection import (
    filter_records,
    find_differences,
    find_named,
    rank_candidates,
    sort_records,
)
from simclr_med.runs.settings import flatten_settings


def scored(folder: Path, **metrics: float) -> Path:
    """Replace the metrics of a run's record that begin with val."""
    path = folder / "result.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["metrics"] |= {name.replace("_", "/", 1): value for name, value in metrics.items()}
    path.write_text(json.dumps(content), encoding="utf-8")
    return folder


def epochs(count: int) -> Callable[[dict], None]:
    return lambda config: config["stage"].update(epochs=count)


def by_name(records: list[RunRecord]) -> dict[str, RunRecord]:
    return {record.folder.name: record for record in records}


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two encoders of a set; probes and finetuned runs of the first; a failed run and an unfinished one."""
    top = tmp_path / "runs"
    made = [
        scored(write(top, "pretrain", seed=seed, augmentation="novel", budget="full"), val_probe_auroc=0.7 + seed / 10)
        for seed in (0, 1)
    ]
    for seed, score in ((0, 0.80), (1, 0.90)):
        start = {"init": pretrained(seed=0), "made_by": made[0], "budget": "full", "seed": seed}
        scored(write(top, "finetune", change=epochs(5), **start), val_auroc=score)
        scored(write(top, "probe", **start), val_auroc=score - 0.01)
    lucky = write(top, "finetune", init=pretrained(), made_by=made[0], budget="n50", seed=0)
    scored(lucky, val_auroc=0.99)
    for state in ("failed", "unfinished"):
        write(top, "baseline", budget="n250", state=state, seed=len(state))
    return top


def test_record_has_what_a_list_shows(runs: Path) -> None:
    records, problems = read_records(runs)
    assert problems == []
    assert len(records) == 9
    rows = to_dicts(records)
    assert {row["state"] for row in rows} == {"finished", "failed", "unfinished"}
    (failed,) = (row for row in rows if row["state"] == "failed")
    assert (failed["stage"], failed["budget"], failed["message"]) == ("baseline", "n250", "Out of memory.")
    tuned = next(record for record in records if record.stage == "finetune")
    assert tuned.start == "pretrained cells novel"
    assert tuned.started_from in by_name(records)
    assert tuned.seeds in ("0/0", "1/0")


@pytest.mark.parametrize(("seed", "shown"), [(0, "0"), (2, "0/2"), (None, "0")])
def test_seed_of_random_weights_is_shown_where_it_differs(seed: int | None, shown: str, runs: Path) -> None:
    record = next(record for record in read_records(runs)[0] if record.seed == 0)
    init = {"name": "random", "seed": seed}
    assert replace(record, config={**record.config, "init": init}).seeds == shown


def test_config_of_the_result_is_preferred(runs: Path) -> None:
    folder = next(iter((runs / "probe" / "cells").iterdir()))
    old = read_record(folder)
    content = json.loads((folder / "result.json").read_text(encoding="utf-8")) | {"config": dict(old.config)}
    (folder / "result.json").write_text(json.dumps(content), encoding="utf-8")
    (folder / "config.yaml").unlink()
    assert read_record(folder).settings == old.settings


def test_damaged_runs_are_reported_or_read_but_end_nothing(tmp_path: Path) -> None:
    damages = [damage for damage, _ in (DAMAGES | MORE_DAMAGES).values()]
    for number, damage in enumerate(damages):
        damage(write(tmp_path, "probe", seed=number))
    records, problems = read_records(tmp_path)
    assert len(records) + len(problems) == len(damages)
    assert len(problems) > len(DAMAGES) / 2
    assert all(problem.isprintable() for problem in problems)
    find_differences(records)


def test_best_runs_come_first(runs: Path) -> None:
    records = sort_records(read_records(runs)[0])
    scores = [record.validation for record in records]
    assert scores[:3] == [0.99, 0.90, 0.89]
    assert scores[-2:] == [None, None]


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ({"stage": "probe,finetune"}, 5),
        ({"state": "failed"}, 1),
        ({"budget": "n50"}, 1),
        ({"seed": "1", "stage": "probe"}, 1),
        ({"stage.epochs": "5"}, 2),
        ({"init": "pretrained"}, 5),
        ({"init": "random", "stage": "probe"}, 0),
        ({"encoder": "tiny"}, 9),
    ],
)
def test_filters_compare_columns_and_settings(runs: Path, filters: dict[str, str], count: int) -> None:
    assert len(filter_records(read_records(runs)[0], filters)) == count


def test_unknown_keys_and_values_are_errors(runs: Path) -> None:
    records = read_records(runs)[0]
    with pytest.raises(ConfigError, match=r"stge=probe: no run has this key\. Did you mean stage\?"):
        filter_records(records, {"stge": "probe"})
    with pytest.raises(
        ConfigError, match=r"stage=prob: no run has this value\. There are baseline, finetune, pretrain"
    ):
        filter_records(records, {"stage": "prob"})


def test_runs_are_found_by_folder_name_and_hash(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = read_records(runs)[0]
    wanted = records[0]
    monkeypatch.chdir(runs)
    for name in (str(wanted.folder), os.path.relpath(wanted.folder), wanted.folder.name, wanted.id):
        assert find_named(records, name) is wanted
    with pytest.raises(RunError, match="none: no such run"):
        find_named(records, "none")
    with pytest.raises(RunError, match=": 9 runs fit"):
        find_named(records, "")


def test_differences_are_those_of_the_stage(runs: Path) -> None:
    records = filter_records(read_records(runs)[0], {"stage": "finetune"})
    found = {record.folder: differences for record, differences in zip(records, find_differences(records), strict=True)}
    short = [differences for folder, differences in found.items() if read_record(folder).budget == "full"]
    assert short == [{}, {}]  # two of three runs have 5 epochs: the usual value
    (other,) = (differences for folder, differences in found.items() if read_record(folder).budget == "n50")
    assert other == {"epochs": "100"}


def test_best_is_the_highest_mean_under_the_largest_budget(runs: Path) -> None:
    records = [record for record in read_records(runs)[0] if record.stage in ("probe", "finetune")]
    ranked = rank_candidates(records)
    # By hand: finetune (0.80 + 0.90) / 2 = 0.85, probe (0.79 + 0.89) / 2 = 0.84; 0.99 has 50 labels and does not count.
    assert [(one.best.stage, round(one.mean, 6), one.scores) for one in ranked] == [
        ("finetune", 0.85, (0.90, 0.80)),
        ("probe", 0.84, (0.89, 0.79)),
    ]
    assert ranked[0].best.seed == 1


def test_earlier_runs_have_the_values_of_keys_that_were_added_later() -> None:
    later = {"stage": {"name": "pretrain", "positives": "patient"}}
    earlier = {"stage": {"name": "pretrain"}}
    assert flatten_settings(later)["stage.positives"] == '"patient"'
    assert flatten_settings(earlier)["stage.positives"] == '"image"'
    assert flatten_settings({"stage": {"name": "probe"}}) == flatten_settings({"stage": []} | {"stage": {}}) == {}


def test_an_encoder_in_use_has_dependents(runs: Path) -> None:
    records = read_records(runs)[0]
    first, second = (record for record in records if record.stage == "pretrain")
    assert [len(find_dependents(record, records)) for record in (first, second)] == [5, 0]
    waiting = read_record(write(runs, "probe", init=pretrained(seed=1, encoder="tiny"), seed=9, state="unfinished"))
    assert find_dependents(second, [waiting]) == [waiting]


def test_removal_takes_the_lock(runs: Path) -> None:
    (record,) = filter_records(read_records(runs)[0], {"state": "unfinished"})
    lock = runs / ".locks" / f"{record.folder.name.rpartition('-')[2]}{'0' * 30}.lock"
    with hold_lock(lock, record.folder), pytest.raises(BusyError):
        remove_run(record, runs)
    assert record.folder.is_dir()
    remove_run(record, runs)
    assert not record.folder.exists()


def test_ages_have_one_unit() -> None:
    assert [format_age(seconds) for seconds in (-1, 59, 60, 3599, 7200, 200_000)] == [
        "0 s",
        "59 s",
        "1 min",
        "59 min",
        "2 h",
        "2 d",
    ]
