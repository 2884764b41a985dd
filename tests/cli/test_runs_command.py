"""`simclr-med runs`: its words, what it prints, what it deletes, and the command line without any word."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from run_folders import pretrained, write

import simclr_med
from simclr_med.cli.main import run_command
from simclr_med.cli.runs_command import parse_query


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An encoder and two probes, in the folder `runs` of the working directory."""
    monkeypatch.delenv("SIMCLR_MED_RUNS", raising=False)
    monkeypatch.chdir(tmp_path)
    encoder = write(tmp_path / "runs", "pretrain", augmentation="novel", budget="full")
    for seed, score in ((0, 0.75), (1, 0.5)):
        folder = write(tmp_path / "runs", "probe", seed=seed, init=pretrained(), made_by=encoder)
        (folder / "head.safetensors").touch()
        path = folder / "result.json"
        content = json.loads(path.read_text(encoding="utf-8"))
        content["metrics"]["val/auroc"] = score
        path.write_text(json.dumps(content), encoding="utf-8")
    return tmp_path / "runs"


def only(runs: Path, stage: str) -> str:
    (name,) = (path.name for path in (runs / stage / "cells").iterdir())
    return name


def test_words_are_names_filters_and_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIMCLR_MED_RUNS", str(tmp_path / "mine"))
    (tmp_path / "a=b").mkdir()
    query = parse_query(["rm", str(tmp_path / "a=b"), "--yes", "stage=probe,finetune"])
    assert (query.action, query.names, query.flags) == ("rm", [str(tmp_path / "a=b")], {"--yes"})
    assert (query.filters, query.folder) == ({"stage": "probe,finetune"}, tmp_path / "mine")
    assert parse_query([f"paths.runs={tmp_path}"]).folder == tmp_path


def test_list_in_a_pipe_has_all_columns_and_relative_paths(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["runs"]) == 0
    header, *rows = (line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert ",".join(header) == "id,stage,data set,differs,budget,seeds,validation,state,age,path"
    assert [row[header.index("validation")] for row in rows] == ["0.750", "0.500", ""]
    assert all((Path.cwd() / row[-1]).is_dir() and not Path(row[-1]).is_absolute() for row in rows)


@pytest.mark.parametrize("columns", [80, 160])
def test_table_fits_the_terminal(
    runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    assert run_command(["runs"]) == 0
    title, *lines = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out).splitlines()
    assert title == "3 runs in runs, data set cells, state finished"
    assert max(map(len, lines)) <= columns
    assert any(only(runs, "pretrain") in line for line in lines) == (columns >= 140)
    assert any(" age" in line for line in lines) == (columns >= 100)


def test_json_has_metrics_and_config(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["runs", "stage=probe", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["metrics"]["val/auroc"] for row in rows] == [0.75, 0.5]
    assert rows[0]["config"]["stage"]["name"] == "probe"


def test_best_names_the_run_and_the_command_that_uses_it(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["runs", "best"]) == 0
    out = capsys.readouterr().out
    assert "2 (0.500 to 0.750)" in out
    assert "0.625" in out
    assert "differs" not in out, "no column without content"
    (winner,) = (path for path in (runs / "probe" / "cells").iterdir() if "-seed0-" in path.name)
    assert f"simclr-med stage=predict stage.run={winner.relative_to(Path.cwd())}" in out


def test_show_and_compare_say_what_differs(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["runs", "show", only(runs, "pretrain")]) == 0
    assert "2 runs" in capsys.readouterr().out
    assert run_command(["runs", "compare", "stage=probe"]) == 0
    out = capsys.readouterr().out
    assert "seed " in out
    assert "0.750" in out
    assert "test/" not in out


def test_removal_asks_and_keeps_what_others_use(
    runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = only(runs, "pretrain")
    assert run_command(["runs", "rm", encoder, "--yes"]) == 1
    assert "used by 2 runs" in capsys.readouterr().err
    assert run_command(["runs", "rm", "stage=probe"]) == 1  # nobody to ask
    assert "There is no terminal to ask. Add --yes." in capsys.readouterr().err
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    for answer, left in (("", 2), ("y", 0)):
        monkeypatch.setattr("builtins.input", lambda question, answer=answer: answer)
        assert run_command(["runs", "rm", "stage=probe"]) == (1 if left else 0)
        assert len(list((runs / "probe" / "cells").iterdir())) == left
    assert run_command(["runs", "rm", encoder, "--yes"]) == 0
    assert not (runs / "pretrain" / "cells" / encoder).exists()


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["frob"], 2, "frob: expected show, compare, best, rm or <key>=<value>. See simclr-med runs --help."),
        (["--frob"], 2, "--frob: unknown flag. See simclr-med runs --help."),
        (["show"], 2, "simclr-med runs show: no run given. Name one, or give <key>=<value>."),
        (["show", "none"], 1, "none: no such run. List them with simclr-med runs."),
        (["compare", "stage=pretrain"], 2, "simclr-med runs compare: expected two runs or more."),
        (
            ["best", "stage=pretrain"],
            1,
            "simclr-med runs best: no finished run has a validation score. Run stage=probe, or stage=finetune with "
            "data_fraction.validation=split.",
        ),
        (["paths.runs=nowhere"], 1, "paths.runs="),
        (["stge=probe"], 2, "stge=probe: no run has this key. Did you mean stage?"),
    ],
)
def test_mistakes_are_one_line(
    runs: Path, capsys: pytest.CaptureFixture[str], words: list[str], status: int, message: str
) -> None:
    assert run_command(["runs", *words]) == status
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(message)


def test_no_words_print_the_help_and_write_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_command([]) == 0
    without = capsys.readouterr().out
    assert run_command(["--help"]) == 0
    assert capsys.readouterr().out == without
    assert run_command(["--version"]) == 0
    assert capsys.readouterr().out == f"simclr-med {simclr_med.__version__}\n"
    assert list(tmp_path.iterdir()) == []
