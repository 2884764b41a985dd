"""Grad-CAM against its equations, on the last stage with maps of 4 pixels or more."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from simclr_med.models.encoders import tiny

pytest.importorskip("captum", reason="the extra analyse is not installed")
from simclr_med.evaluation.gradcam import grad_cam


@pytest.mark.parametrize(("side", "stage"), [(28, "layer2"), (64, "layer3"), (128, "layer4"), (8, "layer1")])
def test_the_heat_map_equals_equation_two(side: int, stage: str) -> None:
    torch.manual_seed(0)
    encoder, head = tiny().eval(), nn.Linear(64, 3, dtype=torch.float64)
    images, targets = torch.rand(4, 3, side, side), torch.tensor([0, 2, 1, 0])
    heat, name = grad_cam(encoder, head, images, targets)
    assert name == stage
    maps: list[torch.Tensor] = []
    hook = encoder.get_submodule(name).register_forward_hook(lambda _m, _i, out: maps.append(out))
    logits = head(encoder(images).double())[torch.arange(4), targets]
    hook.remove()
    (gradient,) = torch.autograd.grad(logits.sum(), maps[0])
    expected = (gradient.mean(dim=(2, 3), keepdim=True) * maps[0]).sum(dim=1).relu()
    expected = (expected / expected.amax(dim=(1, 2), keepdim=True).clamp_min(1e-12)).detach()
    torch.testing.assert_close(heat, expected, rtol=1e-4, atol=1e-5)
    assert 0 <= heat.min() <= heat.max() <= 1
