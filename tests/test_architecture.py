"""The imports between packages are the ones that the design allows, and no others."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "simclr_med"
STANDARD = set(sys.stdlib_module_names) | {"__future__"}

# Packages and modules from the bottom up: each may import those of the rows above it, and its own.
ROWS: tuple[set[str], ...] = (
    {"types", "errors", "atomic", "build", "metrics_csv", "streams"},
    {"runs", "plots", "metrics", "models", "data", "augment"},
    {"evaluation", "config"},
    {"training", "cli"},
    {"report", "tracking"},
    {"stages"},
)
# The leaves that need another leaf.
LEAF_NEEDS = {"build": {"errors"}}
# What is forbidden although it stands in a row above.
FORBIDDEN: dict[str, set[str]] = {
    "report": {"models", "data", "augment", "training", "evaluation", "config", "cli"},  # it reads files
    "cli": {"models", "data", "augment", "plots", "evaluation"},  # torch is imported by a stage
    "config": {"models", "data", "augment", "plots"},
}
# Third parties of each package.
THIRD: dict[str, set[str]] = {
    "types": {"torch", "numpy"},
    "errors": set(),
    "atomic": set(),
    "metrics_csv": set(),
    "streams": set(),
    "build": {"hydra", "omegaconf"},
    "runs": {"omegaconf", "hydra", "yaml", "filelock", "platformdirs", "rich"},
    "plots": {"numpy", "matplotlib", "pandas", "scipy", "rich"},
    "metrics": {"numpy", "sklearn", "scipy", "pandas"},
    "models": {"numpy", "torch", "torchvision", "safetensors"},
    "data": {
        "numpy",
        "torch",
        "torchvision",
        "sklearn",
        "PIL",
        "tifffile",
        "filelock",
        "platformdirs",
        "rich",
        "pandas",
    },
    "augment": {"numpy", "torch", "torchvision"},
    "evaluation": {"numpy", "torch", "torchvision", "sklearn", "filelock", "safetensors", "pandas"},
    "config": {"omegaconf", "hydra", "yaml", "typing_extensions"},
    "training": {"numpy", "torch", "lightning", "torchmetrics", "rich"},
    "cli": {"hydra", "omegaconf", "yaml"},
    "report": {"numpy", "scipy", "pandas", "matplotlib", "jinja2", "rich", "yaml", "omegaconf"},
    "tracking": {"numpy", "lightning", "wandb"},
    "stages": {"numpy", "torch", "lightning", "sklearn", "omegaconf", "hydra", "rich"},
}
# One module of a package that needs more than its neighbours, and the package itself for its version.
EXTRA = {
    "data/datamodule.py": {"lightning"},
    "training/devices.py": {"simclr_med"},
    "evaluation/projections.py": {"threadpoolctl", "umap"},
    "evaluation/probe.py": {"threadpoolctl"},
    "evaluation/gradcam.py": {"captum"},
    "tracking/workspaces.py": {"wandb_workspaces"},
    "tracking/panels.py": {"wandb_workspaces"},
}


def allowed_of(package: str) -> set[str]:
    """The packages of ours that this one may import."""
    row = next(number for number, names in enumerate(ROWS) if package in names)
    above: set[str] = set().union(*ROWS[:row])
    return (above - FORBIDDEN.get(package, set())) | {package} | LEAF_NEEDS.get(package, set())


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
    if package == "__main__":  # python -m simclr_med
        assert imported(path) == ["simclr_med.cli.main"]
        return
    ours, third = allowed_of(package), THIRD[package]
    for name in imported(path):
        top, *rest = name.split(".")
        if top == "simclr_med":
            allowed = rest[0] in ours if rest else "simclr_med" in EXTRA.get(place.as_posix(), set())
        else:
            allowed = top in STANDARD | third | EXTRA.get(place.as_posix(), set())
        assert allowed, f"{place} imports {name}"


def test_main_imports_no_torch() -> None:
    code = "import sys, simclr_med.cli.main; sys.exit('torch' in sys.modules or 'lightning' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_no_dumping_grounds() -> None:
    names = {path.stem for path in SOURCE.rglob("*.py")}
    assert not names & {"utils", "util", "helpers", "common", "misc", "base", "manager"}
