"""The imports between packages are the ones that the design allows, and no others."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "simclr_med"
LEAVES = {"types", "errors", "files"}
STANDARD = set(sys.stdlib_module_names) | {"__future__"}

# package -> (ours that it may import, third parties that it may import)
ALLOWED: dict[str, tuple[set[str], set[str]]] = {
    "types": (set(), {"torch", "numpy"}),
    "errors": (set(), set()),
    "files": (set(), set()),
    "provenance": (set(), set()),
    "metrics": ({"errors", "types"}, {"numpy", "sklearn", "scipy"}),
    "intervals": ({"metrics", "types"}, {"numpy", "scipy"}),
    "config": (LEAVES | {"config"}, {"omegaconf", "hydra", "yaml"}),
    "gpus": (set(), {"filelock", "platformdirs"}),
    "locks": ({"errors"}, {"filelock"}),
    "stopping": (set(), set()),
    "naming": (set(), {"omegaconf"}),
    "runs": (LEAVES | {"locks", "naming", "stopping"}, {"omegaconf", "hydra", "yaml"}),
    "sweeps": (LEAVES, {"hydra", "omegaconf", "rich"}),
    "origins": (LEAVES | {"config", "naming", "runs"}, {"omegaconf"}),
    "build": (LEAVES | {"config"}, {"hydra", "omegaconf"}),
    "data": (
        LEAVES | {"data"},
        {"numpy", "torch", "torchvision", "sklearn", "PIL", "tifffile", "filelock", "platformdirs", "rich", "pandas"},
    ),
    "augment": (LEAVES | {"augment"}, {"numpy", "torch", "torchvision"}),
    "models": (LEAVES | {"models"}, {"numpy", "torch", "torchvision", "safetensors"}),
    "evaluation": (
        LEAVES | {"evaluation", "models", "metrics"},
        {"numpy", "torch", "torchvision", "sklearn", "filelock", "safetensors"},
    ),
    "learning": (
        LEAVES | {"learning", "metrics", "models", "evaluation"},
        {"numpy", "torch", "lightning", "torchmetrics", "rich", "wandb"},
    ),
    "stages": (
        LEAVES
        | {"stages", "build", "config", "naming", "runs", "metrics", "intervals", "provenance", "reporting"}
        | {"data", "augment", "models", "learning", "evaluation"},
        {"numpy", "torch", "lightning", "sklearn", "omegaconf", "hydra", "rich"},
    ),
    "reporting": (
        LEAVES | {"reporting", "metrics", "intervals", "naming"},
        {"numpy", "scipy", "pandas", "matplotlib", "jinja2", "wandb", "rich", "yaml"},
    ),
    "main": (LEAVES | {"config", "naming", "runs", "build", "gpus", "stopping", "sweeps"}, {"hydra", "omegaconf"}),
}
# One module of a package that needs more than its neighbours, and the package itself for its version.
EXTRA = {
    "data/datamodule.py": {"lightning"},
    "learning/devices.py": {"simclr_med"},
    "evaluation/maps.py": {"threadpoolctl", "umap"},
    "evaluation/probe.py": {"threadpoolctl"},
    "evaluation/attention.py": {"captum"},
    "reporting/dashboard.py": {"wandb_workspaces"},
    "reporting/panels.py": {"wandb_workspaces"},
}


def imported(path: Path) -> list[str]:
    """Absolute names of the modules that a file imports, anywhere in it."""
    found: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            # `from simclr_med import build` names a module of ours.
            found += [f"simclr_med.{alias.name}" for alias in node.names] if module == "simclr_med" else [module]
    return found


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_every_import_is_allowed(path: Path) -> None:
    place = path.relative_to(SOURCE)
    package = place.parts[0].removesuffix(".py")
    if package == "__init__":
        assert imported(path) == []
        return
    ours, third = ALLOWED[package]
    for name in imported(path):
        top, *rest = name.split(".")
        if top == "simclr_med":
            allowed = rest[0] in ours if rest else "simclr_med" in EXTRA.get(place.as_posix(), set())
        else:
            allowed = top in STANDARD | third | EXTRA.get(place.as_posix(), set())
        assert allowed, f"{place} imports {name}"


def test_main_imports_no_torch() -> None:
    code = "import sys, simclr_med.main; sys.exit('torch' in sys.modules or 'lightning' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_no_dumping_grounds() -> None:
    names = {path.stem for path in SOURCE.rglob("*.py")}
    assert not names & {"utils", "util", "helpers", "common", "misc", "base", "manager"}


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_files_stay_small(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 250
