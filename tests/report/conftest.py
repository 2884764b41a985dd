"""Fixtures that write folders of runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from run_folders import write


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """The folder of all runs; it does not exist yet."""
    return tmp_path / "runs"


@pytest.fixture
def add(runs: Path) -> Callable[..., Path]:
    """Write one run; see `write`."""
    return lambda stage, **more: write(runs, stage, **more)
