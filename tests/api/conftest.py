"""Two finished runs on drawn images, for every test of the Python API."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from simclr_med.cli.main import run_command

QUICK = (
    *("dataset=synthetic", "dataset.train=96", "dataset.val=32", "dataset.test=32", "encoder=tiny", "logger=none"),
    *("trainer=cpu", "trainer.threads=1"),
)


class Made(NamedTuple):
    """Folders of all runs, and of the two in it."""

    runs: Path
    pretrained: Path
    probe: Path


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A pretraining run and a probe of its encoder, which tests read alone."""
    runs = tmp_path_factory.mktemp("api") / "runs"
    common = (*QUICK, f"paths.runs={runs}")
    assert run_command(["stage=pretrain", "stage.epochs=1", "stage.batch_size=48", *common]) == 0
    assert run_command(["stage=probe", "data_fraction.samples=40", "stage.resamples=0", *common]) == 0
    (pretrained,), (probe,) = runs.glob("pretrain/*/*"), runs.glob("probe/*/*")
    return Made(runs, pretrained, probe)
