"""What building leaves behind."""

from __future__ import annotations

import gc
from collections.abc import Callable

from omegaconf import DictConfig

from simclr_med import build


def test_what_a_job_of_a_sweep_leaves_is_still_garbage(composed: Callable[..., DictConfig]) -> None:
    cfg = composed("stage=pretrain")
    build.import_stage(cfg)
    set_aside = gc.get_freeze_count()
    assert set_aside > 0
    kept = [[] for _ in range(1000)]
    build.import_stage(cfg)
    assert gc.get_freeze_count() <= set_aside
    assert gc.isenabled()
    del kept
