"""One job that covers several budgets and seeds: the configs of its runs, each as if typed by itself."""

from __future__ import annotations

import copy
import re
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from simclr_med.errors import ConfigError

_AMOUNTS = {"n": "samples", "pct": "percent", "per_class": "per_class"}
_BUDGET = re.compile(r"(n|pct|per_class)([0-9]+(?:\.[0-9]+)?)")


def expand_budgets(cfg: DictConfig) -> list[DictConfig]:
    """The config itself, or one config for each of ``stage.budgets`` times ``stage.seeds``, budgets first.

    Args:
        cfg: as composed, interpolations unresolved, so that what follows the seed goes on following it.

    Raises:
        ConfigError: a budget that is none.
    """
    budgets, seeds = (list(cfg.stage.get(key) or []) if "stage" in cfg else [] for key in ("budgets", "seeds"))
    if not budgets and not seeds:
        return [cfg]
    wrong = [str(word) for word in budgets if parse_budget(word) is None]
    if wrong:
        raise ConfigError(
            *(
                f"stage.budgets={word}: must be a number of images, n50, pct10, per_class25 or full. Correct it."
                for word in wrong
            )
        )
    return [_cell(cfg, budget, seed) for budget in budgets or [None] for seed in seeds or [None]]


def parse_budget(word: Any) -> dict[str, Any] | None:
    """The keys of data_fraction that a budget sets, from 50, n50, pct10, per_class25 or full; None if it is none."""
    none: dict[str, Any] = dict.fromkeys(_AMOUNTS.values())
    if word == "full":
        return {"name": "full", **none}
    if isinstance(word, int) and not isinstance(word, bool):
        word = f"n{word}"
    found = _BUDGET.fullmatch(str(word))
    if found is None or (found[1] != "pct" and "." in found[2]):
        return None
    number = float(found[2]) if found[1] == "pct" else int(found[2])
    return {"name": str(word), **none, _AMOUNTS[found[1]]: number}


def _cell(cfg: DictConfig, budget: Any, seed: int | None) -> DictConfig:
    cell = copy.deepcopy(cfg)
    with open_dict(cell):
        if budget is not None:
            OmegaConf.update(cell, "data_fraction", parse_budget(budget))
        if seed is not None:
            cell.seed = seed
        cell.stage.budgets, cell.stage.seeds = [], []
    return cell
