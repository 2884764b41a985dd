"""Smooth random images in MedMNIST's layout, which differ from each other as those of a real set do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from simclr_med.audit.pool import Pool, read_pool
from simclr_med.data.npz import Npz

SIDE = 28


def smooth(count: int, seed: int = 0, channels: int = 1) -> np.ndarray:
    """uint8 [count, 28, 28], or with channels of 3 [count, 28, 28, 3]: blurred noise of two scales."""
    generator = np.random.default_rng(seed)
    coarse = np.kron(generator.normal(size=(count, 7, 7, channels)), np.ones((1, 4, 4, 1)))
    fine = np.kron(generator.normal(size=(count, 14, 14, channels)), np.ones((1, 2, 2, 1)))
    images = np.clip(128 + 35 * coarse + 20 * fine, 1, 254).astype(np.uint8)
    return images if channels == 3 else images[..., 0]


@pytest.fixture
def content() -> dict[str, np.ndarray]:
    """120, 40 and 40 images of three classes; tests plant into them what an audit is to find."""
    made: dict[str, np.ndarray] = {}
    for number, (split, count) in enumerate((("train", 120), ("val", 40), ("test", 40))):
        made[f"{split}_images"] = smooth(count, number)
        made[f"{split}_labels"] = (np.arange(count) % 3)[:, None].astype(np.uint8)
    return made


@pytest.fixture
def pooled(tmp_path: Path) -> Callable[[dict[str, np.ndarray]], Pool]:
    """Read arrays as an audit does."""

    def read(content: dict[str, np.ndarray]) -> Pool:
        np.savez(tmp_path / "pooled.npz", **content)
        return read_pool(Npz("pooled", str(tmp_path / "pooled.npz"), None, None))

    return read
