"""Expand one command into the configs of several label budgets, seeds and encoders."""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from simclr_med.config.bounds import expected_value
from simclr_med.config.data_nodes import DataFraction
from simclr_med.config.stage_kinds import CurveStage
from simclr_med.errors import ConfigError

BUDGET_RULE = "expected a number of images, n50, pct10, per_class25 or full. Correct it."
_AMOUNTS = {"n": "samples", "pct": "percent", "per_class": "per_class"}
_BUDGET = re.compile(r"(n|pct|per_class)([0-9]+(?:\.[0-9]+)?)")


def expand_budgets(cfg: DictConfig) -> list[DictConfig]:
    """Return one config for each of ``stage.init_seeds`` times ``stage.budgets`` times ``stage.seeds``, in this order.

    Args:
        cfg: as composed, with unresolved interpolations: a value that refers to the seed then follows each run's seed.

    Returns:
        the config itself where the stage lists none of them.

    Raises:
        ConfigError: a value that is no label budget, or seeds of encoders where ``init`` has no seed or names one run.
    """
    kind = OmegaConf.get_type(cfg.stage)
    if kind is None or not issubclass(kind, CurveStage):
        return [cfg]
    budgets, seeds, init_seeds = (list(cfg.stage[key]) for key in ("budgets", "seeds", "init_seeds"))
    if not budgets and not seeds and not init_seeds:
        return [cfg]
    problems = list(budget_problems("stage.budgets", budgets))
    for item in fields(CurveStage):
        if item.name in ("seeds", "init_seeds") and (expected := expected_value(cfg.stage[item.name], item)):
            problems.append(f"stage.{item.name}={cfg.stage[item.name]}: expected {expected}. Correct it.")
    if init_seeds and "seed" not in cfg.init:
        problems.append(f"stage.init_seeds={init_seeds}: init={cfg.init.name} has no seed. Remove it.")
    elif init_seeds and cfg.init.get("run") is not None:
        problems.append(f"stage.init_seeds={init_seeds}: not used with init.run={cfg.init.run}. Remove one of them.")
    if problems:
        raise ConfigError(*problems)
    runs = itertools.product(init_seeds or [None], budgets or [None], seeds or [None])
    return [_expand(cfg, init_seed, budget, seed) for init_seed, budget, seed in runs]


def budget_problems(key: str, budgets: Sequence[Any]) -> Iterator[str]:
    """Yield one sentence for each value of a list that is no label budget.

    Args:
        key: of the list.
        budgets: its values.
    """
    bounds = {item.name: item for item in fields(DataFraction)}
    for budget in budgets:
        amounts = parse_budget(budget)
        if amounts is None:
            yield f"{key}={budget}: {BUDGET_RULE}"
            continue
        for name in _AMOUNTS.values():
            if expected := expected_value(amounts[name], bounds[name]):
                yield f"{key}={budget}: expected {expected}. Correct it."


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


def _expand(cfg: DictConfig, init_seed: int | None, budget: Any, seed: int | None) -> DictConfig:
    single = copy.deepcopy(cfg)
    with open_dict(single):
        if init_seed is not None:
            single.init.seed = init_seed
        if budget is not None:
            OmegaConf.update(single, "data_fraction", parse_budget(budget))
        if seed is not None:
            single.seed = seed
        for key in ("budgets", "seeds", "init_seeds"):
            single.stage[key] = []
    return single
