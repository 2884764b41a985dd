"""Early stopping: when training stops, and that a checkpoint holds the state after its own epoch."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from simclr_med.training.callbacks.early_stopping import EarlyStopping

NAN = float("nan")


def epochs_until_stop(callback: EarlyStopping, values: list[float]) -> int | None:
    """Return the number of epochs after which training stops; None when it does not."""
    trainer: Any = SimpleNamespace(
        should_stop=False, strategy=SimpleNamespace(reduce_boolean_decision=lambda decision, all: decision)
    )
    for count, value in enumerate(values, start=1):
        trainer.current_epoch = count - 1
        callback.on_train_epoch_end(trainer, SimpleNamespace(epoch_metrics={"val/x": value}))  # type: ignore[arg-type]
        if trainer.should_stop:
            return count
    return None


@pytest.mark.parametrize(
    ("values", "epochs", "higher", "expected"),
    [
        ([0.5, 0.6, 0.55, 0.59], 2, True, 4),
        ([0.5, 0.6, 0.55, 0.7, 0.6, 0.6], 2, True, 6),
        ([0.5, 0.5, 0.5], 2, True, 3),
        ([0.5, 0.4, 0.3, 0.2], 1, False, None),
        ([0.5, 0.4, 0.45], 1, False, 3),
        ([NAN, 0.5, NAN, NAN], 2, True, 4),
        ([NAN, NAN], 2, True, 2),
        ([NAN], 1, True, 1),
    ],
)
def test_training_stops_after_epochs_without_improvement(
    values: list[float], epochs: int, higher: bool, expected: int | None
) -> None:
    assert epochs_until_stop(EarlyStopping("val/x", higher, epochs), values) == expected


def test_epochs_of_the_warm_up_do_not_count() -> None:
    values = [0.9, 0.8, 0.5, 0.6, 0.5, 0.5]
    assert epochs_until_stop(EarlyStopping("val/x", True, 2), values) == 3
    assert epochs_until_stop(EarlyStopping("val/x", True, 2, first=2), values) == 6


@pytest.mark.parametrize("cut", range(8))
def test_resumed_run_continues_the_count(cut: int) -> None:
    values = [0.5, 0.6, 0.55, 0.58, 0.7, 0.1, 0.2, 0.3]
    first = EarlyStopping("val/x", True, 3)
    assert epochs_until_stop(first, values[:cut]) is None
    state = first.state_dict()
    assert state["ended"] is False
    again = EarlyStopping("val/x", True, 3)
    again.load_state_dict(state)
    assert epochs_until_stop(again, values[cut:]) == len(values) - cut
    assert again.state_dict()["ended"] is True
