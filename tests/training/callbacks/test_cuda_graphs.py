"""CUDA graphs are refused without a GPU and are off by default."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from simclr_med.config.validate import find_problems
from simclr_med.errors import RunError
from simclr_med.training.callbacks.cuda_graphs import CudaGraphs, record_forward


def test_graphs_need_a_gpu() -> None:
    module: Any = SimpleNamespace(encoder=nn.Linear(3, 2), device=torch.device("cpu"))
    with pytest.raises(RunError, match=r"trainer\.cuda_graphs=true: needs a GPU"):
        CudaGraphs().on_train_start(None, module)  # type: ignore[arg-type]
    assert "forward" not in vars(module.encoder)


def test_evaluation_uses_the_eager_forward_pass() -> None:
    encoder, rows = nn.Linear(3, 2), torch.ones(4, 3)
    expected = encoder(rows)
    recorded = record_forward(encoder)
    with torch.no_grad():
        assert torch.equal(recorded(rows), expected)
    assert torch.equal(encoder.eval() and recorded(rows), expected)


@pytest.mark.parametrize("override", ["trainer.devices=2", "stage.accumulate=2"])
def test_what_graphs_cannot_do_is_said_before(composed, override: str) -> None:
    words = ("stage=pretrain", "dataset=synthetic", "trainer.cuda_graphs=true")
    assert find_problems(composed(*words)) == []
    (problem,) = find_problems(composed(*words, override))
    assert problem.startswith(f"trainer.cuda_graphs=true: not available with {override}")
