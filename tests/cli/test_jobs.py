"""A job whose teacher does not exist yet: a line of dry_run=true, an error of a run. Remedies for too little memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from simclr_med.cli.failures import ProblemPrinter, describe_unexpected
from simclr_med.cli.jobs import Job
from simclr_med.config.validate import validate_config


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


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (["stage=pretrain"], "Lower stage.batch_size or dataset.size, or raise stage.accumulate."),
        (["stage=finetune"], "Lower stage.batch_size or dataset.size."),
        (["stage=probe"], "Lower dataset.size."),
        (["stage=probe", "dataset=npz", "dataset.path=a.npz"], "Use a machine with more."),
        (["stage=baseline", "dataset=npz", "dataset.path=a.npz"], "Lower stage.batch_size."),
    ],
)
def test_remedy_for_memory_names_keys_of_the_run(composed, words: list[str], remedy: str) -> None:
    config = validate_config(composed("dataset=synthetic", *words)).plain
    assert describe_unexpected(MemoryError(), config) == f"Out of memory (MemoryError). {remedy}"
