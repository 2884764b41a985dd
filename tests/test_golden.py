"""The losses of a short float64 training, recorded: a refactor leaves them as they are.

A change that is meant to alter results raises `runs.PROTOCOL_VERSION` and records the new ones.
"""

from __future__ import annotations

import pytest

from simclr_med import build
from simclr_med.config.validate import validate_config
from simclr_med.metrics_csv import read_rows
from simclr_med.runs.run import open_run
from simclr_med.stages.pretrain import pretrain

# augmentation -> train/loss of each epoch
GOLDEN = {
    "novel": [5.008898371, 5.006447795, 4.779699050],
    "simclr": [5.015768996, 4.736405804, 4.707323706],
}


@pytest.mark.parametrize("augmentation", sorted(GOLDEN))
def test_losses_are_the_recorded_ones(composed, tmp_path, augmentation: str) -> None:
    cfg = validate_config(
        composed(
            *("dataset=synthetic", "dataset.train=96", "dataset.val=16", "dataset.test=8", "encoder=tiny"),
            *(f"augmentation={augmentation}", "stage.epochs=3", "stage.batch_size=32", "logger=none", "trainer=cpu"),
            *("trainer.precision=64-true", "trainer.threads=1", f"paths.runs={tmp_path}"),
            *("stage.temperature=0.07", "optimizer.lr=5e-4"),
        )
    )
    source = build.build_source(cfg)
    with open_run(cfg, source.content_hash(), build.instantiate_node(cfg.init)) as run:
        pretrain(run, source)
    losses = [float(row["train/loss"]) for row in read_rows(run.folder / "metrics.csv")]
    assert losses == pytest.approx(GOLDEN[augmentation], rel=1e-4)
