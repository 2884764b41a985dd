"""Importing a stage excludes its objects from garbage collection once."""

from __future__ import annotations

import gc
from collections.abc import Callable

from omegaconf import DictConfig

from simclr_med import build


def test_objects_of_earlier_jobs_are_still_collected(composed: Callable[..., DictConfig]) -> None:
    cfg = composed("stage=pretrain")
    gc.unfreeze()  # of what the tests froze
    build.import_stage(cfg)
    frozen = gc.get_freeze_count()
    assert frozen > 0
    kept = [[] for _ in range(1000)]
    build.import_stage(cfg)
    assert gc.get_freeze_count() <= frozen
    assert gc.isenabled()
    del kept
