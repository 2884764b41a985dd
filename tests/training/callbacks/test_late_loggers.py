"""Loggers that start in a thread: the first step does not wait for them, and their error ends the run."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest
from lightning.pytorch.loggers import Logger

from simclr_med.errors import ConfigError
from simclr_med.training.callbacks.late_loggers import LateLoggers


def after_step(late: LateLoggers, trainer: Any) -> None:
    late.on_train_batch_end(trainer, None, None, None, 0)  # type: ignore[arg-type]


def test_the_trainer_gets_the_loggers_after_its_first_step() -> None:
    has_stepped, loggers = threading.Event(), [object()]

    def start() -> list[Logger]:
        assert has_stepped.wait(10)
        return loggers  # type: ignore[return-value]

    late, trainer = LateLoggers(start), SimpleNamespace(loggers=[])
    with pytest.raises(TimeoutError):
        late.join(0.01)
    has_stepped.set()
    after_step(late, trainer)
    assert trainer.loggers is loggers
    trainer.loggers = others = [object()]
    after_step(late, trainer)
    assert trainer.loggers is others


def test_an_error_of_their_start_is_raised_after_the_step() -> None:
    def start() -> list[Logger]:
        raise ConfigError("WANDB_MODE=x: wrong.")

    with pytest.raises(ConfigError, match="WANDB_MODE=x"):
        after_step(LateLoggers(start), SimpleNamespace(loggers=[]))
