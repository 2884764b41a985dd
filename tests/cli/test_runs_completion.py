"""The Tab key after `simclr-med runs` offers actions, filters and the runs of the folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from run_folders import write

from simclr_med.cli.main import run_command
from simclr_med.cli.runs_completion import complete_runs

FILTERS = ["stage=", "dataset=", "state=", "budget=", "seed=", "init="]


@pytest.fixture
def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of two runs in the folder `runs` of the working directory."""
    monkeypatch.delenv("SIMCLR_MED_RUNS", raising=False)
    monkeypatch.chdir(tmp_path)
    runs = tmp_path / "runs"
    return sorted([write(runs, "probe", seed=0).name, write(runs, "finetune", seed=0).name])


def test_actions_and_filters_come_first(names: list[str]) -> None:
    assert complete_runs("simclr-med runs ") == ["show", "compare", "best", "rm", *FILTERS]
    assert complete_runs("simclr-med runs s") == ["show", "stage=", "state=", "seed="]
    assert complete_runs("simclr-med runs best --y") == ["--yes"]


def test_actions_on_named_runs_offer_the_other_runs(names: list[str]) -> None:
    assert complete_runs("simclr-med runs show ") == [*names, *FILTERS]
    assert complete_runs(f"simclr-med runs compare {names[0]} ") == [names[1], *FILTERS]
    assert complete_runs(f"simclr-med runs rm {names[1][:-1]}") == [names[1]]
    assert complete_runs("simclr-med runs best ") == FILTERS


def test_values_of_filters(names: list[str]) -> None:
    assert complete_runs("simclr-med runs stage=") == ["stage=finetune", "stage=probe"]
    assert complete_runs("simclr-med runs show dataset=") == ["dataset=cells"]
    assert complete_runs("simclr-med runs state=") == ["state=failed", "state=finished", "state=unfinished"]


def test_another_folder_and_a_wrong_word(names: list[str], tmp_path: Path) -> None:
    assert complete_runs(f"simclr-med runs show paths.runs={tmp_path / 'none'} ") == FILTERS
    assert complete_runs("simclr-med runs wrong ") == []


def test_other_commands_are_left_to_hydra(names: list[str]) -> None:
    assert complete_runs("simclr-med ru") == ["runs"]
    for line in ("", "simclr-med ", "simclr-med stage=", "simclr-med stage=probe ", "simclr-med stage=probe runs"):
        assert complete_runs(line) is None


def test_shell_asks_the_command(
    names: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COMP_LINE", "simclr-med runs s")
    assert run_command(["-sc", "query=bash"]) == 0
    assert capsys.readouterr().out.split() == ["show", "stage=", "state=", "seed="]
