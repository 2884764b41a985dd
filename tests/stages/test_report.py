"""Stage report: of runs as the other stages leave them, and always anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from simclr_med import build
from simclr_med.config.validate import find_problems, validate_config
from simclr_med.errors import RunError
from simclr_med.runs.run import open_run

Staged = Callable[..., Path]


@pytest.fixture
def reported(composed: Callable[..., Any], tmp_path: Path) -> Callable[..., Path]:
    """Run the stage as the command would, and give the run's folder."""

    def run(*words: str) -> Path:
        cfg = validate_config(composed("stage=report", f"paths.runs={tmp_path / 'runs'}", *words))
        source = build.build_source(cfg)
        with open_run(cfg, source.content_hash(), build.build_init(cfg)) as run:
            assert run.state != "finished"
            build.import_stage(cfg)(run, source)
            return run.folder

    return run


@pytest.mark.process
def test_real_runs_are_read_and_the_report_is_made_again(
    staged: Staged, reported: Callable[..., Path], result: Callable[[Path], Any], capsys: Any, tmp_path: Path
) -> None:
    staged("pretrain", "stage.epochs=1", "stage.batch_size=16")
    probe = staged("probe", "init=pretrained", "stage.resamples=0", "data_fraction.samples=20")
    folder = reported()
    assert folder == tmp_path / "runs" / "report" / "all"
    assert capsys.readouterr().out.splitlines()[-1] == f"Report:   {folder / 'report.html'}"
    numbers = pd.read_csv(folder / "tables" / "label_efficiency_auroc.csv")
    assert list(numbers["method"]) == ["probe, own microscopy"]
    assert numbers["test/auroc mean"].item() == result(probe)["metrics"]["test/auroc"]
    assert numbers["images"].item() == 20
    staged("probe", "init=random", "stage.resamples=0", "data_fraction.samples=20")
    assert reported() == folder
    again = pd.read_csv(folder / "tables" / "label_efficiency_auroc.csv")
    assert set(again["method"]) == {"untrained control", "probe, own microscopy"}
    assert (folder / "tables" / "comparisons.csv").exists()
    assert (folder / "figures" / "pretraining_noisy_tiny.png").exists()


def test_some_data_sets_and_a_folder_of_choice(staged: Staged, reported: Callable[..., Path], tmp_path: Path) -> None:
    staged("probe", "init=random", "stage.resamples=0")
    folder = reported("stage.datasets=[noisy]", f"stage.out={tmp_path / 'paper'}")
    assert folder.name == "noisy"
    assert (tmp_path / "paper" / "report.html").exists()
    assert not (folder / "report.html").exists()
    with pytest.raises(RunError, match=r"there are runs of noisy"):
        reported("stage.datasets=[cells]")


def test_no_runs_is_one_line(reported: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(RunError, match="found no runs under") as caught:
        reported()
    assert str(tmp_path / "runs") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_out_that_is_a_file_is_one_line(staged: Staged, reported: Callable[..., Path], tmp_path: Path) -> None:
    staged("probe", "init=random", "stage.resamples=0")
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written") as caught:
        reported(f"stage.out={tmp_path / 'file'}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["dataset=bloodmnist"], "stage.datasets=[bloodmnist]"),
        (["stage.datasets=[../x]"], "stage.datasets=../x: expected the name of a folder of runs"),
    ],
)
def test_what_it_cannot_take_is_told_before(composed: Callable[..., Any], words: list[str], message: str) -> None:
    found = find_problems(composed("stage=report", *words))
    assert any(message in problem for problem in found)
