"""A job whose teacher does not exist yet: a line of dry_run=true, an error of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from simclr_med.cli.failures import ProblemPrinter
from simclr_med.cli.jobs import Job


@pytest.mark.parametrize(("dry_run", "state", "code"), [("true", "missing teacher", 0), ("false", "failed", 1)])
def test_missing_teacher_is_pending_in_a_dry_run(
    composed, tmp_path: Path, capsys: pytest.CaptureFixture[str], dry_run: str, state: str, code: int
) -> None:
    words = ("stage=distill", "encoder=tiny", f"paths.runs={tmp_path}", "data_fraction=n50", f"dry_run={dry_run}")
    (outcome,) = Job(composed(*words), words).run(ProblemPrinter())
    assert (outcome.outcome, outcome.status) == (state, code)
    out, err = capsys.readouterr()
    assert ("no teacher  stage.teacher=null: no finished finetune run has" in out) == (code == 0)
    assert ("stage.teacher=null: no finished finetune run has" in err) == (code == 1)
