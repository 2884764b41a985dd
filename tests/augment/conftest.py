"""Test images, a seeded generator and the PIL references."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

PARITY = Path(__file__).parents[2] / "benchmarks" / "parity.py"


@pytest.fixture(scope="session")
def parity() -> ModuleType:
    """benchmarks/parity.py, which holds the PIL reference of each op."""
    spec = importlib.util.spec_from_file_location("parity", PARITY)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["parity"] = module
    spec.loader.exec_module(module)
    return module


def draw_pictures(count: int = 48, height: int = 28, width: int = 28) -> Tensor:
    """Draw uint8 [count, height, width, 3]: noise, smooth colour, low contrast, grey and constant images in turn."""
    generator = torch.Generator().manual_seed(7)
    noise = torch.rand(count, 3, height, width, generator=generator)
    smooth = interpolate(torch.rand(count, 3, 5, 5, generator=generator), (height, width), mode="bicubic").clamp(0, 1)
    kinds = [
        noise,
        smooth,
        0.4 + 0.15 * smooth + 0.02 * noise,
        (0.8 * smooth[:, :1] + 0.2 * noise[:, :1]).expand(-1, 3, -1, -1),
        smooth.mean((2, 3), keepdim=True).expand_as(smooth),
        (smooth - 0.5).mul(4.0).add(0.5 + 0.1 * noise).clamp(0, 1),
    ]
    images = torch.stack([kinds[i % len(kinds)][i] for i in range(count)])
    return images.mul(255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


@pytest.fixture(scope="session")
def make_pictures() -> Callable[..., Tensor]:
    """Function that draws test images (`draw_pictures`)."""
    return draw_pictures


@pytest.fixture
def generator() -> torch.Generator:
    """CPU generator with a fixed seed."""
    return torch.Generator().manual_seed(11)
