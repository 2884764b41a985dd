"""Expand one command into the configs of several label budgets and seeds."""

from __future__ import annotations

import copy
import re
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from simclr_med.config.stage_nodes import CurveStage
from simclr_med.errors import ConfigError

BUDGET_RULE = "expected a number of images, n50, pct10, per_class25 or full. Correct it."
_AMOUNTS = {"n": "samples", "pct": "percent", "per_class": "per_class"}
_BUDGET = re.compile(r"(n|pct|per_class)([0-9]+(?:\.[0-9]+)?)")


def expand_budgets(cfg: DictConfig) -> list[DictConfig]:
    """Return one config for each of ``stage.budgets`` times ``stage.seeds``, budgets first, or the config itself.

    Args:
        cfg: as composed, with unresolved interpolations: a value that refers to the seed then follows each run's seed.

    Raises:
        ConfigError: a value that is no label budget.
    """
    kind = OmegaConf.get_type(cfg.stage)
    if kind is None or not issubclass(kind, CurveStage):
        return [cfg]
    budgets, seeds = list(cfg.stage.budgets), list(cfg.stage.seeds)
    if not budgets and not seeds:
        return [cfg]
    wrong = [str(budget) for budget in budgets if parse_budget(budget) is None]
    if wrong:
        raise ConfigError(*(f"stage.budgets={budget}: {BUDGET_RULE}" for budget in wrong))
    return [_with_budget(cfg, budget, seed) for budget in budgets or [None] for seed in seeds or [None]]


def parse_budget(budget: Any) -> dict[str, Any] | None:
    """The keys of data_fraction that a budget (50, n50, pct10, per_class25 or full) sets; None for any other value."""
    none: dict[str, Any] = dict.fromkeys(_AMOUNTS.values())
    if budget == "full":
        return {"name": "full", **none}
    if isinstance(budget, int) and not isinstance(budget, bool):
        budget = f"n{budget}"
    found = _BUDGET.fullmatch(str(budget))
    if found is None or (found[1] != "pct" and "." in found[2]):
        return None
    number = float(found[2]) if found[1] == "pct" else int(found[2])
    return {"name": str(budget), **none, _AMOUNTS[found[1]]: number}


def _with_budget(cfg: DictConfig, budget: Any, seed: int | None) -> DictConfig:
    single = copy.deepcopy(cfg)
    with open_dict(single):
        if budget is not None:
            OmegaConf.update(single, "data_fraction", parse_budget(budget))
        if seed is not None:
            single.seed = seed
        single.stage.budgets = []
        single.stage.seeds = []
    return single
