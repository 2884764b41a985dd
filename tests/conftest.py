"""What several tests share: tiny data sets made on the spot, and the command line called in this process or another."""

from __future__ import annotations

import copy
import gc
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import forked_commands
import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hypothesis import HealthCheck, settings
from omegaconf import DictConfig
from run_folders import pretrained, write

from simclr_med.config.registry import register

Done = subprocess.CompletedProcess[str]
ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"

# Property tests: few examples, the same ones each time; HYPOTHESIS_PROFILE=fuzz draws many new ones.
_ALLOWED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile(
    "default", max_examples=50, derandomize=True, deadline=None, database=None, suppress_health_check=_ALLOWED
)
settings.register_profile("fuzz", max_examples=1_000, deadline=None, suppress_health_check=_ALLOWED)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_configure() -> None:
    """Collect no garbage during the imports: they make none."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Exclude what the imports made from garbage collection, which would visit all of it again and again."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def compositions() -> dict[tuple[object, ...], DictConfig]:
    """What `composed` composed before, by working directory and overrides."""
    return {}


@pytest.fixture
def composed(compositions: dict[tuple[object, ...], DictConfig]) -> Callable[..., DictConfig]:
    """Compose the configuration with some overrides, as the command line does; equal overrides compose once."""
    register()

    def compose_it(*overrides: str) -> DictConfig:
        key = (Path.cwd(), overrides)
        if key not in compositions:
            GlobalHydra.instance().clear()
            with initialize_config_dir(str(CONF), version_base="1.3"):
                compositions[key] = compose("config", list(overrides))
        # A copy: a test may change its config. Interpolations (environment, home) resolve in the test.
        return copy.deepcopy(compositions[key])

    return compose_it


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    """A small file in MedMNIST's layout: 40, 16 and 12 images of 28 px, RGB, three classes that differ in colour."""
    return drawn(tmp_path / "cells.npz")


def drawn(path: Path) -> Path:
    """Write the file of `cells`."""
    generator = np.random.default_rng(0)
    content = {}
    for split, count in (("train", 40), ("val", 16), ("test", 12)):
        labels = generator.integers(0, 3, (count, 1))
        labels[:3, 0] = (0, 1, 2)
        images = generator.integers(0, 120, (count, 28, 28, 3))
        images[np.arange(count), :, :, labels[:, 0]] += 100
        content |= {f"{split}_images": images.astype(np.uint8), f"{split}_labels": labels.astype(np.uint8)}
    np.savez(path, **content)
    return path


@pytest.fixture(scope="session")
def shared_cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, for the tests that read it alone."""
    return drawn(tmp_path_factory.mktemp("data") / "cells.npz")


def enclosed(folder: Path) -> dict[str, str]:
    """The variables of a command that keeps everything inside a folder."""
    return {
        "SIMCLR_MED_RUNS": str(folder / "runs"),
        "SIMCLR_MED_DATA": str(folder / "data"),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "OMP_NUM_THREADS": "1",
    }


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the real command line in a new Python, in an empty folder, with everything it keeps inside tmp_path."""

    def run(
        *words: str, cwd: Path | None = None, timeout: float = 300, **more: str
    ) -> subprocess.CompletedProcess[str]:
        place = cwd or tmp_path / "work"
        place.mkdir(exist_ok=True)
        return subprocess.run(
            [sys.executable, "-m", "simclr_med", *words],
            cwd=place,
            env={**os.environ, **enclosed(tmp_path), **more},
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    return run


@pytest.fixture
def forked(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """As `command`, in a fork: see `forked_commands`."""

    def run(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "work").mkdir(exist_ok=True)
        return forked_commands.run(words, tmp_path / "work", {**os.environ, **enclosed(tmp_path), **more})

    return run


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pretraining, probe, control, baseline and finetune on two data sets, with a failed and an unfinished run.

    One folder for all tests, which read it alone.
    """
    runs = tmp_path_factory.mktemp("study") / "runs"
    add = partial(write, runs)
    for dataset, budgets in (("cells", ("n50", "n100", "per_class10")), ("skin", ("n50",))):
        made = {a: add("pretrain", dataset=dataset, augmentation=a, budget="full") for a in ("novel", "simple")}
        for budget in budgets:
            for seed in (0, 1, 2):
                common = {"dataset": dataset, "budget": budget, "seed": seed}
                add("probe", quality=0.3, **common)
                for place, (augmentation, folder) in enumerate(made.items()):
                    init = pretrained(dataset, augmentation)
                    add("probe", quality=1.5 + place / 2, init=init, made_by=folder, **common)
                add("baseline", quality=1.0, **common)
                add("finetune", quality=2.5, init=pretrained(dataset), made_by=made["novel"], **common)
    for seed in (0, 1, 2):
        add("probe", dataset="skin", budget="n50", seed=seed, quality=1.4, init=pretrained("cells"))
    add("baseline", budget="n250", seed=0, state="failed")
    add("baseline", budget="n250", seed=1, state="unfinished")
    return runs
