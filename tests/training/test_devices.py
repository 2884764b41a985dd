"""The precision that a run names is the one that it computes in."""

from __future__ import annotations

import pytest
import torch

from simclr_med.training import devices
from simclr_med.training.devices import name_precision, resolve_precision


@pytest.mark.parametrize(
    ("requested", "device", "named", "flag"),
    [
        ("16-mixed", "cpu", "bf16-mixed", "bf16-mixed"),
        ("16-mixed", "cuda", "16-mixed", "16-mixed"),
        ("tf32", "cpu", "32-true", "32-true"),
        ("tf32", "cuda", "tf32", "32-true"),
        ("64-true", "cpu", "64-true", "64-true"),
        ("bf16-mixed", "cpu", "bf16-mixed", "bf16-mixed"),
    ],
)
def test_name_is_that_of_the_device(
    monkeypatch: pytest.MonkeyPatch, requested: str, device: str, named: str, flag: str
) -> None:
    monkeypatch.setattr(devices, "resolve_device", lambda _: torch.device(device))
    assert name_precision(requested, "auto") == named
    assert resolve_precision(requested, "auto") == flag
