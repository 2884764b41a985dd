"""Folders of runs of several kinds."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from run_folders import pretrained, write


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """The folder of all runs; it is not there yet."""
    return tmp_path / "runs"


@pytest.fixture
def add(runs: Path) -> Callable[..., Path]:
    """Write one run; see `write`."""
    return lambda stage, **more: write(runs, stage, **more)


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
