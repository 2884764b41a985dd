"""The command line: one line per mistake, and no files written."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from simclr_med.config.validate import find_problems

CONF = Path(__file__).parents[1] / "conf"
Command = Callable[..., subprocess.CompletedProcess[str]]

BAD = [
    ("dataset=bloodmist", "dataset=bloodmist: unknown option.", "Did you mean bloodmnist?"),
    ("datset=bloodmnist", "datset=bloodmnist: unknown key", "Did you mean dataset?"),
    ("stage.epoch=3", "stage.epoch=3: unknown key", "Did you mean stage.epochs?"),
    ("epochs=3", "epochs=3: unknown key", "Did you mean stage.epochs?"),
    ("stage.epochs=many", "stage.epochs=many: expected an integer", ""),
    ("stage.epochs=0", "stage.epochs=0: expected an integer >= 1", ""),
    ("stage.temperature=-1", "stage.temperature=-1.0: expected a number > 0", ""),
    ("stage.temperature=nan", "stage.temperature=nan: expected a finite number", ""),
    ("optimizer.lr=0", "optimizer.lr=0.0: expected a number > 0", ""),
    ("seed=-1", "seed=-1: expected an integer >= 0", ""),
    ("overwrite=maybe", "overwrite=maybe: expected true or false", ""),
    ("dataset=npz", "dataset.path=???: a value is required", "dataset.path=..."),
    ("stage=pretain", "stage=pretain: unknown option.", "Did you mean pretrain?"),
    ("keep=some", "keep=some: expected one of least, all", ""),
    ("trainer.precision=8", "trainer.precision=8: expected one of ", ""),
]


@pytest.mark.parametrize(("word", "start", "remedy"), BAD, ids=[word for word, *_ in BAD])
def test_a_mistake_is_one_line(command: Command, tmp_path: Path, word: str, start: str, remedy: str) -> None:
    done = command(word)
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 2, done.stderr
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith(start)
    assert remedy in lines[0]
    assert done.stdout == ""
    assert [path for path in tmp_path.rglob("*") if path.name != "work"] == []


def test_all_mistakes_are_reported_at_once(command: Command) -> None:
    done = command("dataset=bloodmist", "stage.epochs=0", "stage.temprature=1", "stage.temperature=-1", "seed=x")
    assert done.returncode == 2
    keys = [line.split("=")[0] for line in done.stderr.strip().splitlines()]
    assert sorted(keys) == ["dataset", "seed", "stage.epochs", "stage.temperature", "stage.temprature"]


def test_a_mistake_inside_a_sweep(command: Command, tmp_path: Path) -> None:
    done = command("-m", "dataset=synthetic,bloodmist", "stage.epoch=1")
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 2
    assert [path for path in tmp_path.rglob("*") if path.name != "work"] == []


def test_torch_is_not_imported_for_a_bad_command(command: Command, tmp_path: Path) -> None:
    # A package of that name that cannot be imported stands before the real one.
    trap = tmp_path / "work" / "torch"
    trap.mkdir(parents=True)
    (trap / "__init__.py").write_text("raise SystemExit('torch was imported')")
    done = command("stage.epochs=0", PYTHONPATH=os.pathsep.join((str(trap.parent), os.environ.get("PYTHONPATH", ""))))
    assert done.returncode == 2
    assert "torch was imported" not in done.stderr


def test_paths_with_special_characters_need_no_second_quotes(command: Command, cells: Path) -> None:
    place = cells.parent / "Mäuse (2) 'neu'"
    place.mkdir()
    path = cells.rename(place / "zellen.npz")
    done = command("dataset=npz", f"dataset.path={path}", "dry_run=true")
    assert done.returncode == 0, done.stderr
    assert "/pretrain/zellen/" in done.stdout


def test_missing_encoder_is_reported_with_the_command_that_makes_it(command: Command) -> None:
    done = command("dataset=synthetic", "init=pretrained", "seed=3")
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("init=pretrained: no finished pretraining run under ")
    assert line.endswith(
        "Make one: simclr-med stage=pretrain dataset=synthetic augmentation=microscopy encoder=resnet14 seed=0"
    )


def test_command_for_a_missing_encoder_makes_the_wanted_one(command: Command, cells: Path, tmp_path: Path) -> None:
    place = tmp_path / "it's, mine"
    place.mkdir()
    path = cells.rename(place / "cells.npz")
    words = ("dataset=npz", f"dataset.path={path}", "dataset.name=blood", "encoder=tiny", f"paths.runs={place / 'r'}")
    more = ("logger=none", "stage.epochs=1", "schedule.warmup_epochs=0")
    missing = command("stage=probe", *words)
    make = shlex.split(missing.stderr.strip().partition("Make one: simclr-med ")[2])
    assert command(*make, *more).returncode == 0
    found = command("stage=probe", *words, "dry_run=true")
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("pending ")


def test_a_damaged_file_is_one_line_and_a_recorded_failure(command: Command, cells: Path, tmp_path: Path) -> None:
    cells.write_bytes(cells.read_bytes()[:3000])
    done = command("dataset=npz", f"dataset.path={cells}", "logger=none", "encoder=tiny")
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert str(cells) in line
    (failure,) = tmp_path.glob("runs/pretrain/cells/*/failure.json")
    assert json.loads(failure.read_text())["message"] == line


def test_help_names_the_groups_and_first_commands(command: Command) -> None:
    done = command("--help")
    assert done.returncode == 0
    assert "simclr-med stage=pretrain dataset=bloodmnist" in done.stdout
    assert "augmentation " in done.stdout
    assert "schema" not in done.stdout
    for path in (CONF / "stage").glob("*.yaml"):  # each with what it does
        assert re.search(rf"^  {path.stem} +[A-Z].{{15,}}$", done.stdout, flags=re.MULTILINE), path.stem


UNREAD = [
    ("stage=probe", "optimizer.lr=1", "stage.solvers holds what its solvers take"),
    ("stage=probe", "augmentation=novel", "its features are extracted without augmentation"),
    ("stage=test", "data_fraction=n50", "it takes every image"),
    ("stage=report", "data_fraction=n50", "it shows the runs that there are"),
    ("stage=pretrain", "data_fraction.validation=split", "it makes no choice with labels"),
]


@pytest.mark.parametrize(("stage", "word", "why"), UNREAD)
def test_override_that_the_stage_ignores_is_an_error(composed, stage: str, word: str, why: str) -> None:
    more = ["stage.run=runs/probe/cells/a"] if stage == "stage=test" else []
    cfg = composed(stage, word, *more)
    assert find_problems(cfg) == []  # as a sweep job, whose overrides are for several stages
    assert find_problems(cfg, [stage, word]) == [f"{word}: not used by {stage} ({why}). Remove it."]


def test_ignored_override_is_reported_before_anything_runs(command: Command, tmp_path: Path) -> None:
    done = command("stage=probe", "init=random", "optimizer=sgd", "logger=none")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("optimizer=sgd: not used by stage=probe")
    assert not (tmp_path / "runs").exists()


def test_unread_groups_and_keys_exist(composed) -> None:
    for path in (CONF / "stage").glob("*.yaml"):
        more = ["stage.run=a"] if path.stem in ("test", "predict") else []
        cfg = composed(f"stage={path.stem}", *more)
        for name in cfg.stage.get("unread", {}):
            group, _, key = str(name).partition(".")
            assert group in cfg, (path.stem, name)
            assert not key or key in cfg[group], (path.stem, name)
