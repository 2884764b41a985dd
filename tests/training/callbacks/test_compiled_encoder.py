"""A compiled encoder is used in training alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from simclr_med.errors import RunError
from simclr_med.training.callbacks.compiled_encoder import CompiledEncoder


def start(how: str, monkeypatch: pytest.MonkeyPatch) -> tuple[CompiledEncoder, Any]:
    """Start training with an encoder whose compiled forward pass returns zeros."""
    monkeypatch.setattr(torch, "compile", lambda forward, dynamic: lambda images: torch.zeros(len(images), 2))
    module: Any = SimpleNamespace(encoder=nn.Linear(3, 2), device=torch.device("cpu"))
    callback = CompiledEncoder(how)
    callback.on_train_start(None, module)  # type: ignore[arg-type]
    return callback, module


def test_compiled_forward_runs_in_training_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    callback, module = start("inductor", monkeypatch)
    rows, encoder = torch.ones(4, 3), module.encoder
    assert not encoder(rows).any()
    with torch.no_grad():
        assert encoder(rows).any()
    assert encoder.eval()(rows).any()
    callback.on_train_end(None, module)  # type: ignore[arg-type]
    assert encoder.train()(rows).any()
    assert "forward" not in vars(encoder)


def test_none_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    _, module = start("none", monkeypatch)
    assert "forward" not in vars(module.encoder)


def test_graphs_need_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RunError, match=r"trainer\.compile=graphs: needs a GPU"):
        start("graphs", monkeypatch)
