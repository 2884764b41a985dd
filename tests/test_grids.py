"""Every grid holds cells that compose, and can be narrowed from the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from simclr_med.config.validate import validate_config

GRIDS = sorted((Path(__file__).parents[1] / "conf" / "grid").glob("*.yaml"))
NAMES = [path.stem for path in GRIDS]


def axes(path: Path) -> dict[str, list[str]]:
    """The values of each axis, as Hydra's sweeper reads them; the ends of an interval."""
    params = OmegaConf.load(path).hydra.sweeper.params
    parse = OverridesParser.create().parse_override
    found = {}
    for key, value in params.items():
        override = parse(f"{key}={value}")
        if override.is_interval_sweep():
            interval = override.value()
            found[str(key)] = [str(interval.start), str(interval.end)]
        else:
            sweep = override.is_sweep_override()
            found[str(key)] = list(override.sweep_string_iterator()) if sweep else [str(value)]
    return found


@pytest.mark.parametrize("path", GRIDS, ids=NAMES)
def test_every_value_of_every_axis_composes(composed: Callable[..., DictConfig], path: Path) -> None:
    found = axes(path)
    for i in range(max(map(len, found.values()))):  # each value once, not each pair of values
        cfg = validate_config(composed(*(f"{key}={values[i % len(values)]}" for key, values in found.items())))
        assert cfg.stage.name in ("pretrain", "probe", "finetune", "baseline", "distill")


@pytest.mark.parametrize("path", GRIDS, ids=NAMES)
def test_the_first_and_the_last_cell_compose(composed: Callable[..., DictConfig], path: Path) -> None:
    found = axes(path)
    for place in (0, -1):
        validate_config(composed(*(f"{key}={values[place]}" for key, values in found.items()), f"grid={path.stem}"))


def test_the_grids_of_the_study_are_there() -> None:
    wanted = "pretrain label_efficiency class_balance transfer further_pretrain augmentation_ablation seeds control"
    assert set(wanted.split()) <= set(NAMES)
