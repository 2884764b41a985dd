"""Folders of runs of several kinds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from run_folders import write


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """The folder of all runs; it is not there yet."""
    return tmp_path / "runs"


@pytest.fixture
def add(runs: Path) -> Callable[..., Path]:
    """Write one run; see `write`."""
    return lambda stage, **more: write(runs, stage, **more)
