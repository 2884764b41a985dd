from __future__ import annotations

import pytest
import torch
from torch import nn

from simclr_med.models.heads import linear_head, projection_head


def kinds(head: nn.Sequential) -> list[str]:
    return [type(module).__name__ for module in head]


def test_the_original_head() -> None:
    head = projection_head(512, 512, 128)
    assert kinds(head) == ["Linear", "ReLU", "Linear"]
    shapes = {name: tuple(tensor.shape) for name, tensor in head.state_dict().items()}
    assert shapes == {"0.weight": (512, 512), "0.bias": (512,), "2.weight": (128, 512), "2.bias": (128,)}


@pytest.mark.parametrize(("layers", "norms"), [(1, 1), (2, 2), (3, 3)])
def test_simclr_heads_have_a_norm_after_every_layer_and_no_shift_at_the_end(layers: int, norms: int) -> None:
    head = projection_head(8, 16, 4, layers=layers, batch_norm=True)
    assert kinds(head) == (["Linear", "BatchNorm1d", "ReLU"] * layers)[:-1]
    batch_norms = [module for module in head if isinstance(module, nn.BatchNorm1d)]
    assert len(batch_norms) == norms
    assert all(module.bias is None for module in head if isinstance(module, nn.Linear))
    assert [norm.bias is None for norm in batch_norms] == [False] * (layers - 1) + [True]


def test_simclr_head_runs_and_its_output_is_centred() -> None:
    head = projection_head(8, 16, 4, layers=3, batch_norm=True)
    output = head(torch.randn(32, 8))
    output.square().mean().backward()
    torch.testing.assert_close(output.mean(dim=0), torch.zeros(4), atol=1e-5, rtol=0)
    assert head.eval()(torch.randn(1, 8)).shape == (1, 4)


def test_no_layers_are_refused() -> None:
    with pytest.raises(ValueError, match="layers=0"):
        projection_head(8, 8, 8, layers=0)


def test_linear_head() -> None:
    head = linear_head(64, 9)
    assert head(torch.zeros(2, 64)).shape == (2, 9)
    assert head.bias is not None
