"""The optimizer of a config, built for the batches that a run has, and the start of several processes."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn

from simclr_med.config.validate import validate_config
from simclr_med.stages.setup import build_optimizer, build_strategy
from simclr_med.training.devices import QuietDDPStrategy


@pytest.mark.parametrize(
    ("words", "rate"),
    [
        (["optimizer=lars"], 0.3 * 256 / 256),
        (["optimizer=lars", "optimizer.batch_size=null"], 0.3 * 64 / 256),
        (["experiment=simclr_v1_paper"], 0.3 * 64 / 256),
        (["experiment=simclr_v2_paper"], 0.1 * 8),
        (["optimizer=adamw"], 5e-4),
    ],
)
def test_rate_is_scaled_by_the_images_of_a_batch(composed: Callable[..., Any], words: list[str], rate: float) -> None:
    cfg = validate_config(composed(*words))
    optimizer = build_optimizer(cfg.optimizer, list(nn.Linear(2, 2).named_parameters()), batch_size=64)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(rate)


@pytest.mark.parametrize("words", [["trainer=cpu"], ["trainer=auto"], ["trainer.strategy=ddp"], ["trainer=ddp_cpu"]])
def test_several_devices_never_repeat_the_command(composed: Callable[..., Any], words: list[str]) -> None:
    run: Any = SimpleNamespace(cfg=validate_config(composed(*words, "trainer.devices=2")))
    strategy = build_strategy(run)
    assert isinstance(strategy, QuietDDPStrategy)
    assert strategy._start_method == "spawn"
    run = SimpleNamespace(cfg=validate_config(composed(*words, "trainer.devices=1")))
    assert build_strategy(run) == "auto"
