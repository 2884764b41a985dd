"""Stages run in this process, on data sets of a few images."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from simclr_med import build
from simclr_med.config.validate import validate_config
from simclr_med.runs.run import open_run

QUICK = ("encoder=tiny", "logger=none", "trainer=cpu", "trainer.threads=1")


@pytest.fixture
def staged(composed: Callable[..., Any], noisy: Path, tmp_path: Path) -> Callable[..., Path]:
    """Run one stage as the command would, on `noisy` or another file (or source), and give the run's folder."""

    def run(stage: str, *words: str, source: Any = None, path: Path = noisy) -> Path:
        data = () if any(word.startswith("dataset=") for word in words) else ("dataset=npz", f"dataset.path={path}")
        where = () if any(word.startswith("paths.runs=") for word in words) else (f"paths.runs={tmp_path / 'runs'}",)
        cfg = validate_config(composed(f"stage={stage}", *data, *where, *QUICK, *words))
        found = build.build_source(cfg) if source is None else source
        with open_run(cfg, found.content_hash(), build.build_init(cfg)) as run:
            build.import_stage(cfg)(run, found)
            return run.folder

    return run


@pytest.fixture
def result() -> Callable[[Path], dict[str, Any]]:
    """What a finished run recorded."""
    return lambda folder: dict(json.loads((folder / "result.json").read_text(encoding="utf-8")))


@pytest.fixture
def arrays() -> Callable[..., dict[str, np.ndarray]]:
    """48, 24 and 24 images of 28 px in MedMNIST's layout, without any structure: scores vary at random."""

    def make(classes: int = 3, columns: int = 1, channels: int = 3, size: int = 28, seed: int = 0) -> dict[str, Any]:
        generator = np.random.default_rng(seed)
        content: dict[str, np.ndarray] = {}
        for split, count in (("train", 48), ("val", 24), ("test", 24)):
            labels = generator.integers(0, 2, (count, columns)) if columns > 1 else np.arange(count)[:, None] % classes
            shape = (count, size, size, 3) if channels == 3 else (count, size, size)
            content[f"{split}_images"] = generator.integers(0, 256, shape, dtype=np.uint8)
            content[f"{split}_labels"] = labels.astype(np.uint8)
        return content

    return make


@pytest.fixture
def noisy(arrays: Callable[..., dict[str, np.ndarray]], tmp_path: Path) -> Path:
    """A file of `arrays`."""
    np.savez(tmp_path / "noisy.npz", **arrays())
    return tmp_path / "noisy.npz"


@pytest.fixture
def small_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures of few pixels, for the time they take."""
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda figure, target: save(figure, target, dpi=20))
