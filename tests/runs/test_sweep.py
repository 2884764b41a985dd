"""Sweeps on the command line: summary, exit code, jobs that share a run, jobs that fail."""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from simclr_med.runs import sweep
from simclr_med.runs.sweep import RunOutcome, SweepJob

Command = Callable[..., subprocess.CompletedProcess[str]]


def test_dry_run_of_a_narrowed_grid_lists_its_jobs(command: Command, tmp_path: Path) -> None:
    words = ("dataset=synthetic", "encoder=tiny", "data_fraction=n50,n100", "seed=0", "init.augmentation=novel,simple")
    done = command("grid=supervised", *words, "init.seed=0", "dry_run=true")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert sum(line.startswith("Job ") for line in lines) == 8
    assert sum(line.startswith("no encoder") for line in lines) == 4
    pending = [line.split()[1] for line in lines if line.startswith("pending ")]
    assert (len(pending), len(set(pending))) == (
        4,
        2,
    )  # a baseline has no sequence, so the jobs of two sequences share a run
    assert "Sweep of 8 jobs, 2 runs" in lines
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {".sweeps"}


def test_job_without_its_encoder_fails_at_once_with_the_command_that_makes_it(command: Command, cells: Path) -> None:
    data = ("dataset=npz", f"dataset.path={cells}")
    done = command("-m", "stage=probe,finetune", *data, "encoder=tiny", "init.start=pathmnist")
    assert done.returncode == 1
    recipe = "augmentation=microscopy encoder=tiny seed=0"
    make = f"Make one: simclr-med stage=pretrain dataset=npz dataset.path={cells} {recipe}"
    assert done.stderr.count(f"{make} init=pretrained init.dataset=pathmnist") == 2
    assert "Sweep of 2 jobs, 0 runs" in done.stdout
    assert "Repeat the command to run what is left." in done.stdout


def test_a_key_that_only_the_swept_stages_have_is_set_in_every_job(command: Command, cells: Path) -> None:
    words = ("dataset=npz", f"dataset.path={cells}", "stage.patience=5", "stage.budgets=[20,per_class5]", "keep=all")
    done = command("-m", "stage=baseline,finetune", *words, "dry_run=true", "init=random", "encoder=tiny")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("stage.patience=5 stage.budgets=[20,per_class5]") == 2
    assert done.stdout.count("\npending ") == 4


def test_unknown_launcher_is_reported_in_one_line(command: Command) -> None:
    done = command("-m", "seed=0,1", "hydra/launcher=cluster")
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("hydra/launcher=cluster: unknown option. Choose one of basic, ")


def test_runs_folder_that_is_a_file_is_reported_in_one_line(command: Command, cells: Path) -> None:
    done = command("-m", "seed=0,1", f"paths.runs={cells}")
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert ": cannot be written (Not a directory). Choose another paths.runs." in line


def test_outcomes_are_read_in_the_order_of_the_jobs(tmp_path: Path) -> None:
    ends = [
        RunOutcome("done", folder="a", seconds=2.5),
        RunOutcome("failed", 1, "dataset=x: not found.\nmore"),
        RunOutcome("started", 1),
    ]
    for number, outcome in reversed(list(enumerate(ends * 4))):
        sweep.record_outcomes(SweepJob(tmp_path, number, (f"seed={number}",)), [outcome])
    found = sweep.read_outcomes(tmp_path)
    assert [overrides for overrides, _ in found] == [f"seed={number}" for number in range(12)]
    assert [outcome for _, outcome in found] == ends * 4
    summary = sweep.sweep_summary(found, tmp_path).splitlines()
    assert summary[0] == "Sweep of 12 jobs, 1 runs"
    assert summary.count("failed: dataset=x: not found.") == 1
    assert "  seed=10" in summary
    assert sweep.exit_status(outcome for _, outcome in found) == 1
    assert sweep.exit_status([RunOutcome("done"), RunOutcome("skipped")]) == 0


def test_a_job_of_several_runs_is_one_job(tmp_path: Path) -> None:
    for number in range(2):
        runs = [RunOutcome("done", folder=f"{number}-{budget}") for budget in range(3)]
        sweep.record_outcomes(SweepJob(tmp_path, number, (f"init.seed={number}",)), runs)
    assert sweep.sweep_summary(sweep.read_outcomes(tmp_path), tmp_path).startswith("Sweep of 2 jobs, 6 runs\n")


def test_unwritable_record_does_not_end_the_sweep(tmp_path: Path, capsys) -> None:
    (tmp_path / "jobs").write_text("")
    sweep.record_outcomes(SweepJob(tmp_path, 0, ()), [RunOutcome("done")])
    assert "could not be written" in capsys.readouterr().err


def test_records_are_plain_json(tmp_path: Path) -> None:
    sweep.record_outcomes(SweepJob(tmp_path, 3, ("seed=1",)), [RunOutcome("busy", 1, "x")])
    content = json.loads((tmp_path / "jobs" / "3.json").read_text(encoding="utf-8"))
    assert content["overrides"] == ["seed=1"]
    assert content["runs"][0]["outcome"] == "busy"


@pytest.mark.parametrize(
    "record",
    [
        "[",
        "[]",
        "{}",
        '{"overrides": [], "runs": {}}',
        '{"overrides": [], "runs": [1]}',
        '{"overrides": [], "runs": [{"outcome": "odd", "status": 0, "seconds": 0}]}',
        '{"overrides": [], "runs": [{"outcome": "done", "status": [], "seconds": 0}]}',
    ],
)
def test_damaged_records_are_left_out_with_one_line(tmp_path: Path, capsys, record: str) -> None:
    sweep.record_outcomes(SweepJob(tmp_path, 0, ("seed=0",)), [RunOutcome("done")])
    (tmp_path / "jobs" / "1.json").write_text(record)
    (tmp_path / "jobs" / "notes.json").write_text("")
    assert sweep.read_outcomes(tmp_path) == [("seed=0", RunOutcome("done"))]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{tmp_path / 'jobs' / '1.json'}: unreadable and left out of the summary (")


def test_objective_is_the_mean_of_the_recorded_metric(tmp_path: Path, capsys) -> None:
    outcomes = []
    for number, value in enumerate((0.5, 0.75)):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "result.json").write_text(json.dumps({"metrics": {"val/probe_auroc": value}}))
        outcomes.append(RunOutcome("skipped", folder=str(folder)))
    assert sweep.mean_objective(outcomes, "val/probe_auroc") == 0.625
    assert math.isnan(sweep.mean_objective(outcomes, "val/loss"))
    assert "objective=val/loss: " in capsys.readouterr().err
    failed = [outcomes[0], RunOutcome("failed", 1, "collapsed at epoch 1")]
    assert math.isnan(sweep.mean_objective(failed, "val/probe_auroc"))
    assert "collapsed at epoch 1" in capsys.readouterr().err


def test_objective_on_the_test_split_is_refused(command: Command, cells: Path) -> None:
    done = command("-m", "stage=probe", "dataset=npz", f"dataset.path={cells}", "seed=0,1", "objective=test/auroc")
    assert done.returncode == 2
    assert done.stderr.startswith("objective=test/auroc: expected a validation metric")
