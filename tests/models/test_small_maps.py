"""The products against the convolutions that they stand for."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from simclr_med.models.small_maps import (
    MIN_IMAGES,
    SmallMapConv2d,
    patch_products,
    rewrite_small_maps,
    toeplitz_products,
)

# (kernel, stride, height, width)
SHAPES = [
    (3, 1, 1, 1),
    (3, 2, 1, 1),
    (3, 2, 2, 2),
    (1, 2, 2, 2),
    (1, 1, 1, 1),
    (3, 1, 2, 2),
    (3, 2, 4, 4),
    (3, 2, 3, 3),
]
ODD = [(3, 2, 2, 1), (3, 2, 3, 4), (1, 2, 3, 4)]


def conv_and_images(kernel: int, stride: int, height: int, width: int, dtype: torch.dtype, batch: int = MIN_IMAGES):
    generator = torch.Generator().manual_seed(kernel * 1000 + stride * 100 + height * 10 + width)
    images = torch.randn(batch, 24, height, width, generator=generator, dtype=dtype)
    weight = torch.randn(40, 24, kernel, kernel, generator=generator, dtype=dtype) / 15
    conv = nn.Conv2d(24, 40, kernel, stride, kernel // 2, bias=False, dtype=dtype)
    conv.weight = nn.Parameter(weight)
    return conv, images


def gradients(output: torch.Tensor, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
    cotangent = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).sin().view(output.shape)
    return torch.autograd.grad(output, inputs, cotangent)


def apart(one: torch.Tensor, two: torch.Tensor) -> float:
    return float(((one - two).abs().max() / two.abs().max()).detach())


@pytest.mark.parametrize("shape", SHAPES + ODD, ids=str)
@pytest.mark.parametrize(("dtype", "forward", "backward"), [(torch.float32, 2e-6, 6e-6), (torch.float64, 1e-12, 1e-12)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_rewriting_equals_the_convolution(shape, dtype, forward, backward, layout) -> None:
    conv, images = conv_and_images(*shape, dtype)
    images = images.contiguous(memory_format=layout).requires_grad_()
    rewritten = rewrite_small_maps(nn.Sequential(conv))[0]
    assert type(rewritten) is SmallMapConv2d
    assert rewritten.weight is conv.weight
    expected, output = conv(images), rewritten(images)
    assert output.shape == expected.shape
    assert apart(output, expected) <= forward
    for got, want in zip(gradients(output, images, conv.weight), gradients(expected, images, conv.weight), strict=True):
        assert apart(got, want) <= backward


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape != (3, 1, 2, 2)], ids=str)
def test_patch_products_by_their_gradients(shape) -> None:
    conv, images = conv_and_images(*shape, torch.float64, batch=2)
    images, weight = images[:, :2].requires_grad_(), conv.weight[:3, :2].detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda x, w: patch_products(x, w, shape[1]), (images, weight))


def test_toeplitz_products_by_their_gradients() -> None:
    conv, images = conv_and_images(3, 1, 2, 2, torch.float64, batch=2)
    images, weight = images[:, :2].requires_grad_(), conv.weight[:3, :2].detach().requires_grad_()
    assert torch.autograd.gradcheck(toeplitz_products, (images, weight))
    assert apart(toeplitz_products(images, weight), F.conv2d(images, weight, None, 1, 1)) < 1e-14


def convolutions(conv: nn.Conv2d, images: torch.Tensor) -> int:
    """How many convolutions torch runs in a call."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile, torch.no_grad():
        conv(images)
    return sum(event.count for event in profile.key_averages() if event.key == "aten::convolution")


@pytest.mark.parametrize(
    ("shape", "batch", "expected"),
    [
        ((3, 1, 1, 1), MIN_IMAGES, 0),
        ((3, 1, 1, 1), 1, 0),
        ((3, 1, 2, 2), MIN_IMAGES, 0),
        ((3, 1, 2, 2), MIN_IMAGES - 1, 1),
        ((3, 2, 4, 4), MIN_IMAGES, 0),
        ((1, 2, 4, 4), MIN_IMAGES, 1),
        ((3, 1, 4, 4), MIN_IMAGES, 1),
        ((3, 2, 7, 7), MIN_IMAGES, 1),
    ],
    ids=str,
)
def test_products_run_where_they_win(shape, batch, expected) -> None:
    conv, images = conv_and_images(*shape, torch.float32, batch)
    assert convolutions(rewrite_small_maps(nn.Sequential(conv))[0], images) == expected


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape != (1, 2, 2, 2)], ids=str)
def test_bfloat16_errs_by_its_rounding(shape) -> None:
    conv, images = conv_and_images(*shape, torch.float32)
    small = rewrite_small_maps(nn.Sequential(conv))[0]
    inputs = images.clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = small(inputs)
    assert output.dtype == torch.bfloat16
    found = (output, *gradients(output, inputs, small.weight))
    exact_conv, exact_images = conv_and_images(*shape, torch.float64)
    exact_conv.weight = nn.Parameter(small.weight.detach().double())
    exact_images = images.double().requires_grad_()
    expected = exact_conv(exact_images)
    wanted = (expected, *gradients(expected, exact_images, exact_conv.weight))
    for one, two in zip(found, wanted, strict=True):
        # Inputs, weights, gradients and results are each rounded by up to 2**-9.
        assert float((one.double() - two).detach().norm() / two.detach().norm()) < 5e-3


@pytest.mark.parametrize("shape", [(3, 1, 1, 1), (3, 1, 2, 2), (3, 2, 4, 4)], ids=str)
def test_products_run_in_bfloat16_as_well(shape) -> None:
    conv, images = conv_and_images(*shape, torch.float32)
    small = rewrite_small_maps(nn.Sequential(conv))[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert convolutions(small, images) == 0
    assert convolutions(small.to(torch.bfloat16), images.to(torch.bfloat16)) == 0


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(4, 4, 3, padding=0, bias=False),
        nn.Conv2d(4, 4, 3, padding=1, bias=True),
        nn.Conv2d(4, 4, 3, padding=1, groups=2, bias=False),
        nn.Conv2d(4, 4, 3, padding=2, dilation=2, bias=False),
        nn.Conv2d(4, 4, 3, padding=1, bias=False, padding_mode="reflect"),
        nn.Conv2d(4, 4, (3, 1), padding=(1, 0), bias=False),
        nn.Conv2d(4, 4, 5, padding=2, bias=False),
    ],
    ids=str,
)
def test_other_convolutions_are_left_alone(conv) -> None:
    assert rewrite_small_maps(nn.Sequential(conv))[0] is conv


def test_state_dict_and_mode_stay() -> None:
    module = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)).eval()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    after = rewrite_small_maps(module).state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert not module[0].training
