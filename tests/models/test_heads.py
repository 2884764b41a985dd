from __future__ import annotations

import pytest
import torch
from torch import nn

from simclr_med.models.heads import classifier_from, classifier_on, linear_head, projection_head


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


@pytest.mark.parametrize("layers", [2, 3])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_a_classifier_on_the_projection_heads_first_layer(layers: int, batch_norm: bool) -> None:
    """SimCLRv2: the head's first layer, with its norm, a ReLU, and a new linear layer."""
    torch.manual_seed(0)
    projection = projection_head(8, 6, 4, layers=layers, batch_norm=batch_norm)
    projection(torch.randn(16, 8))  # running statistics unlike a new one's
    head = classifier_on(projection.state_dict(), 8, 3)
    assert kinds(head) == ["Linear", *["BatchNorm1d"] * batch_norm, "ReLU", "Linear"]
    features, count = torch.randn(5, 8), 2 + batch_norm
    hidden = projection.eval()[:count](features)
    torch.testing.assert_close(head.eval()[:count](features), hidden, atol=0, rtol=0)
    assert head(features).shape == (5, 3)
    before = projection[0].weight.detach().clone()
    with torch.no_grad():
        head[0].weight.zero_()
    assert torch.equal(projection[0].weight, before), "a copy, not the same tensor"


@pytest.mark.parametrize("batch_norm", [False, True])
def test_no_classifier_without_a_hidden_layer_or_on_another_width(batch_norm: bool) -> None:
    with pytest.raises(ValueError, match="2 layers or more on 8 features"):
        classifier_on(projection_head(8, 6, 4, layers=1, batch_norm=batch_norm).state_dict(), 8, 3)
    with pytest.raises(ValueError, match="2 layers or more on 9 features"):
        classifier_on(projection_head(8, 6, 4, batch_norm=batch_norm).state_dict(), 9, 3)
    with pytest.raises(ValueError, match="2 layers or more"):
        classifier_on({}, 8, 3)


def test_a_classifier_from_its_weights() -> None:
    torch.manual_seed(0)
    for head in (
        linear_head(8, 3),
        linear_head(8, 3).double(),
        classifier_on(projection_head(8, 6, 4).state_dict(), 8, 3),
        classifier_on(projection_head(8, 6, 4, batch_norm=True).state_dict(), 8, 3),
    ):
        again = classifier_from(head.state_dict())
        features = torch.randn(5, 8, dtype=next(head.parameters()).dtype)
        assert torch.equal(again.eval()(features), head.eval()(features))


def test_no_classifier_from_other_weights() -> None:
    for state in ({}, {"conv1.weight": torch.ones(1)}, projection_head(8, 6, 4, layers=3).state_dict()):
        with pytest.raises(ValueError, match="not the state dict of a classifier"):
            classifier_from(state)
