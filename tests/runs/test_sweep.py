"""Sweeps as a user meets them: the table at the end, the exit code, cells that are one run, cells that fail."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

from simclr_med.runs import sweep
from simclr_med.runs.sweep import RunOutcome, SweepJob

Command = Callable[..., subprocess.CompletedProcess[str]]


def test_a_grid_is_narrowed_and_listed_without_a_run(command: Command, tmp_path: Path) -> None:
    words = ("dataset=synthetic", "encoder=tiny", "data_fraction=n50,n100", "seed=0", "init.augmentation=novel,simple")
    done = command("grid=label_efficiency", *words, "dry_run=true")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert sum(line.startswith("Cell ") for line in lines) == 12
    assert sum(line.startswith("no encoder") for line in lines) == 8
    new = [line.split()[1] for line in lines if line.startswith("new ")]
    assert (len(new), len(set(new))) == (4, 2)  # a baseline has no sequence, so those of two are one run
    assert "Sweep of 12 cells, 2 runs" in lines
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {".sweeps"}


def test_a_cell_without_its_encoder_fails_at_once_with_the_command_that_makes_it(command: Command, cells: Path) -> None:
    data = ("dataset=npz", f"dataset.path={cells}")
    done = command("-m", "stage=probe,finetune", *data, "encoder=tiny", "init.start=pathmnist")
    assert done.returncode == 1
    make = (
        f"Make one: simclr-med stage=pretrain dataset=npz dataset.path={cells} augmentation=novel encoder=tiny seed=0"
    )
    assert done.stderr.count(f"{make} init=pretrained init.dataset=pathmnist") == 2
    assert "Sweep of 2 cells, 0 runs" in done.stdout
    assert "The same command goes on with what is left." in done.stdout


def test_a_key_of_the_swept_stages_alone_is_set_in_every_cell(command: Command, cells: Path) -> None:
    words = ("dataset=npz", f"dataset.path={cells}", "stage.patience=5", "stage.budgets=[20,per_class5]", "keep=all")
    done = command("-m", "stage=baseline,finetune", *words, "dry_run=true", "init=random", "encoder=tiny")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("stage.patience=5 stage.budgets=[20,per_class5]") == 2
    assert done.stdout.count("\nnew ") == 4


def test_a_launcher_that_is_not_there_is_one_line(command: Command) -> None:
    done = command("-m", "seed=0,1", "hydra/launcher=cluster")
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert "not cluster" in line


def test_a_runs_folder_that_is_a_file_is_one_line(command: Command, cells: Path) -> None:
    done = command("-m", "seed=0,1", f"paths.runs={cells}")
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert "must be a folder that can be written (Not a directory)" in line


def test_what_became_of_the_cells_is_read_back_in_their_order(tmp_path: Path) -> None:
    ends = [
        RunOutcome("done", folder="a", seconds=2.5),
        RunOutcome("failed", 1, "dataset=x: must be there.\nmore"),
        RunOutcome("started", 1),
    ]
    for number, cell in reversed(list(enumerate(ends * 4))):
        sweep.record_outcomes(SweepJob(tmp_path, number, (f"seed={number}",)), [cell])
    found = sweep.read_outcomes(tmp_path)
    assert [words for words, _ in found] == [f"seed={number}" for number in range(12)]
    assert [cell for _, cell in found] == ends * 4
    told = sweep.sweep_summary(found, tmp_path).splitlines()
    assert told[0] == "Sweep of 12 cells, 1 runs"
    assert told.count("failed: dataset=x: must be there.") == 1
    assert "  seed=10" in told
    assert sweep.exit_status(cell for _, cell in found) == 1
    assert sweep.exit_status([RunOutcome("done"), RunOutcome("skipped")]) == 0


def test_a_record_that_cannot_be_written_ends_nothing(tmp_path: Path, capsys) -> None:
    (tmp_path / "cells").write_text("")
    sweep.record_outcomes(SweepJob(tmp_path, 0, ()), [RunOutcome("done")])
    assert "could not be written" in capsys.readouterr().err


def test_the_records_are_plain_json(tmp_path: Path) -> None:
    sweep.record_outcomes(SweepJob(tmp_path, 3, ("seed=1",)), [RunOutcome("busy", 1, "x")])
    content = json.loads((tmp_path / "cells" / "3.json").read_text(encoding="utf-8"))
    assert content["words"] == ["seed=1"]
    assert content["runs"][0]["outcome"] == "busy"
