"""What a command of several runs prints at its end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from simclr_med.runs.mean_scores import print_means


def save(run: Path, accuracy: float, auroc: float) -> Path:
    run.mkdir(parents=True)
    metrics = {"test/accuracy": accuracy, "test/auroc": auroc, "test/loss": 1.0}
    (run / "result.json").write_text(json.dumps({"metrics": metrics}), encoding="utf-8")
    return run


def test_several_runs_end_with_the_means_of_each_budget(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = [("n50", 0.2, 0.5), ("n50", 0.3, 0.6), ("full", 0.4, 0.9)]
    print_means([(name, save(tmp_path / str(number), *pair)) for number, (name, *pair) in enumerate(scores)])
    lines = capsys.readouterr().out.splitlines()
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if line.startswith("│")]
    assert cells == [
        ["n50", "2", "0.250  (0.200 to 0.300)", "0.550  (0.500 to 0.600)"],
        ["full", "1", "0.400", "0.900"],
    ]
    assert lines[-1] == f"Runs:     {tmp_path}"


def test_a_result_that_cannot_be_read_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [save(tmp_path / name, 0.4, 0.9) for name in "abc"]
    (runs[0] / "result.json").write_text("{", encoding="utf-8")
    (runs[1] / "result.json").write_text('{"metrics": {}}', encoding="utf-8")
    print_means([("n50", run) for run in runs])
    printed = capsys.readouterr()
    assert [line.split("│")[2].strip() for line in printed.out.splitlines() if line.startswith("│")] == ["1"]
    assert printed.err.count("left out of the means") == 2


def test_offline_logs_of_several_runs_are_uploaded_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = save(tmp_path / "my runs" / "n50-random-s0-0123456789", 0.2, 0.5)
    (run / "wandb" / "offline-run-1").mkdir(parents=True)
    print_means([("n50", run)])
    line = f"W&B:      offline logs; upload them with: wandb sync '{run.parent}'/*/wandb/offline-run-*"
    assert capsys.readouterr().out.splitlines()[-1] == line
