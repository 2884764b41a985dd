"""Small data sets, and an empty cache folder per test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty cache folder of the user."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name, *_: folder / name)
    return folder / "simclr-med"


@pytest.fixture
def make_arrays() -> Callable[..., dict[str, np.ndarray]]:
    """Function that makes arrays in MedMNIST's layout: 12 / 6 / 6 random images; labels cycle through the classes.

    Keyword arguments replace arrays; None removes an array.
    """

    def make(size: int = 8, channels: int = 3, classes: int = 3, multi_label: bool = False, **more: Any) -> dict:
        rng = np.random.default_rng(0)
        arrays = {}
        for split, count in (("train", 12), ("val", 6), ("test", 6)):
            shape = (count, size, size) if channels == 1 else (count, size, size, channels)
            arrays[f"{split}_images"] = rng.integers(0, 256, shape, np.uint8)
            labels = rng.integers(0, 2, (count, classes)) if multi_label else np.arange(count)[:, None] % classes
            arrays[f"{split}_labels"] = labels.astype(np.uint8)
        return {key: value for key, value in (arrays | more).items() if value is not None}

    return make
