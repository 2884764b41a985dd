"""mypy rejects a misspelt key, and an assignment, in every stage."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from hydra.utils import get_method
from mypy import api
from omegaconf import OmegaConf

from simclr_med.config.registry import NODES

ROOT = Path(__file__).parents[2]
WRONG = ("run.cfg.stage.monitr_every", "run.cfg.traner", 'run.cfg.stage.name = "x"', "run.cfg.seed = 1")
STAGES = sorted((ROOT / "conf" / "stage").glob("*.yaml"))


def stage_of(cfg: Any) -> Any:
    return get_method(cfg.stage._target_)


@pytest.mark.parametrize("path", STAGES, ids=lambda path: path.stem)
def test_a_stage_states_the_type_that_its_yaml_is_bound_to(composed, path: Path) -> None:
    more = ["stage.run=a"] if path.stem in ("test", "predict") else []
    cfg = composed(f"stage={path.stem}", *more)
    function = stage_of(cfg)
    first = next(iter(inspect.signature(function).parameters))
    module = inspect.getmodule(function)
    hints = {"Source": object, **vars(module)}
    (config,) = get_args(get_type_hints(function, hints)[first])
    assert get_args(config) == (OmegaConf.get_type(cfg.stage),)


def test_mypy_rejects_misspelt_keys_and_assignments(tmp_path: Path) -> None:
    lines = [
        "from simclr_med.config import select_nodes, stage_nodes, training_nodes",
        "from simclr_med.config.schema import Config",
        "from simclr_med.runs.run import Run",
    ]
    wrong: dict[int, str] = {}
    for kind in NODES["stage"].values():
        name = kind.__name__
        lines.append(f"def {name.lower()}(run: Run[Config[{kind.__module__.rpartition('.')[2]}.{name}]]) -> None:")
        lines.append("    print(run.cfg.stage.name, run.cfg.trainer.threads)")
        for statement in (
            "run.cfg.stage.monitr_every",
            "run.cfg.traner",
            'run.cfg.stage.name = "x"',
            "run.cfg.seed = 1",
        ):
            lines.append(f"    {statement}")
            wrong[len(lines)] = statement
    snippet = tmp_path / "snippet.py"
    snippet.write_text("\n".join(lines) + "\n")
    cache = str(ROOT / ".mypy_cache")  # of `make types`
    out, _, _ = api.run(["--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", cache, str(snippet)])
    found = {int(line.split(":")[1]) for line in out.splitlines() if "snippet.py" in line and ": error:" in line}
    assert found == set(wrong), out
