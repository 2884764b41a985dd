"""What a command of several runs prints at its end."""

from __future__ import annotations

from pathlib import Path

import pytest

from simclr_med.runs.mean_scores import print_means


def test_several_runs_end_with_the_means_of_each_budget(capsys: pytest.CaptureFixture[str]) -> None:
    scores = [("n50", 0.2, 0.5), ("n50", 0.3, 0.6), ("full", 0.4, 0.9)]
    results = [(budget, {"test/accuracy": one, "test/auroc": two, "loss": 1.0}) for budget, one, two in scores]
    print_means(Path("runs/probe/cells"), results)
    lines = capsys.readouterr().out.splitlines()
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if line.startswith("│")]
    assert cells == [
        ["n50", "2", "0.250  (0.200 to 0.300)", "0.550  (0.500 to 0.600)"],
        ["full", "1", "0.400", "0.900"],
    ]
    assert lines[-1] == "Runs:     runs/probe/cells"


def test_offline_logs_of_several_runs_are_uploaded_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "n50-random-s0-0123456789" / "wandb" / "offline-run-1").mkdir(parents=True)
    print_means(tmp_path, [("n50", {"test/accuracy": 0.2, "test/auroc": 0.5})])
    line = f"W&B:      offline logs; upload them with: wandb sync {tmp_path}/*/wandb/offline-run-*"
    assert capsys.readouterr().out.splitlines()[-1] == line
