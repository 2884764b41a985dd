"""The imports between packages are the ones that the design allows, and no others."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "simclr_med"
STANDARD = set(sys.stdlib_module_names) | {"__future__"}

# Packages and modules from the bottom up: each may import those of the rows above it, and its own.
ROWS: tuple[set[str], ...] = (
    {
        "types",
        "errors",
        "atomic",
        "build",
        "metrics_csv",
        "csv_cells",
        "streams",
        "safe_files",
        "selection_csv",
        "https",
        "transfer",
    },
    {"runs", "plots", "metrics", "models", "data", "augment"},
    {"evaluation", "config", "corruptions"},
    {"training", "cli", "audit"},
    {"report", "tracking"},
    {"stages"},
    {"api"},
)
# The leaves that need another leaf.
LEAF_NEEDS = {
    "build": {"errors"},
    "metrics_csv": {"safe_files"},
    "selection_csv": {"safe_files", "csv_cells"},
}
# What is forbidden although it stands in a row above.
FORBIDDEN: dict[str, set[str]] = {
    "report": {"models", "data", "augment", "training", "evaluation", "config", "cli"},  # it reads files
    "audit": {"config"},
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
    "safe_files": {"yaml"},
    "transfer": {"torch"},
    "csv_cells": set(),
    "selection_csv": set(),
    "https": set(),
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
    "corruptions": {"numpy", "torch", "PIL"},
    "evaluation": {"numpy", "torch", "torchvision", "sklearn", "filelock", "safetensors", "pandas"},
    "config": {"omegaconf", "hydra", "yaml", "typing_extensions"},
    "training": {"numpy", "torch", "lightning", "torchmetrics", "rich"},
    "audit": {"numpy", "torch", "scipy"},
    "cli": {"hydra", "omegaconf", "yaml"},
    "report": {"numpy", "scipy", "pandas", "matplotlib", "jinja2", "rich", "yaml", "omegaconf"},
    "tracking": {"numpy", "lightning", "wandb"},
    "api": {"numpy", "torch", "sklearn", "pandas", "PIL", "omegaconf"},
    "stages": {"numpy", "torch", "lightning", "sklearn", "omegaconf", "hydra", "rich"},
}
# One module of a package that needs more than its neighbours, and the package itself for its version.
EXTRA = {
    "data/datamodule.py": {"lightning"},
    "models/timm_encoder.py": {"timm"},
    "models/exports.py": {"timm", "onnxruntime"},
    "runs/connection.py": {"torch", "lightning"},
    "runs/processes.py": {"lightning"},
    "runs/hub.py": {"huggingface_hub", "timm"},
    "data/decoding.py": {"joblib"},
    "data/dicom.py": {"pydicom"},
    "data/arrow_files.py": {"pyarrow"},
    "training/devices.py": {"simclr_med"},
    "cli/hydra_app.py": {"simclr_med"},
    "evaluation/projections.py": {"threadpoolctl", "umap"},
    "evaluation/probe.py": {"threadpoolctl"},
    "evaluation/monitors.py": {"threadpoolctl"},
    "evaluation/gradcam.py": {"captum"},
    "tracking/energy.py": {"codecarbon"},
    "tracking/workspaces.py": {"wandb_workspaces"},
    "tracking/panels.py": {"wandb_workspaces"},
    "tracking/mlflow_history.py": {"mlflow"},
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
        # The public functions are imported when they are used.
        assert {name for name in imported(path) if not name.startswith("simclr_med.api.")} == {
            "importlib",
            "typing",
            "__future__",
        }
        return
    if package == "__main__":  # python -m simclr_med
        assert imported(path) == ["simclr_med.cli.entry"]
        return
    ours, third = allowed_of(package), THIRD[package]
    for name in imported(path):
        top, *rest = name.split(".")
        if top == "simclr_med":
            allowed = rest[0] in ours if rest else "simclr_med" in EXTRA.get(place.as_posix(), set())
        else:
            allowed = top in STANDARD | third | EXTRA.get(place.as_posix(), set())
        assert allowed, f"{place} imports {name}"


# Packages that take a tenth of a second or more to import.
HEAVY = {
    "torch",
    "lightning",
    "torchvision",
    "torchmetrics",
    "sklearn",
    "scipy",
    "pandas",
    "matplotlib",
    "wandb",
    "timm",
    "PIL",
}
# Of a study: each composes a config, and all import the same.
FEW_STEPS = ("stage.curve=[50]", "stage.supervised=[]", "stage.encoders=1", "stage.probe_repeats=[0]")
# Those that Lightning imports itself, so that no stage can do without them.
OF_LIGHTNING = {"torch", "lightning", "torchvision", "torchmetrics", "scipy", "matplotlib", "PIL"}


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--help",), 0),
        (("stage=pretrain", "dataset=synthetic", "stage.epochs=0"), 2),
        (
            ("stage=pretrain", "dataset=synthetic", "dry_run=true"),
            0,
        ),  # all that a finished run does before it is skipped
        (("stage=study", "dataset=synthetic", "dry_run=true", *FEW_STEPS), 0),
        (("runs",), 1),  # there are none
    ],
)
def test_nothing_heavy_is_imported_before_a_stage(words: tuple[str, ...], code: int, tmp_path: Path) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "simclr_med", *words, f"paths.runs={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    names = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "simclr_med.cli.main" in names
    assert not names & HEAVY


def test_training_starts_without_what_only_its_end_needs() -> None:
    code = "import sys, simclr_med.stages.pretrain, simclr_med.stages.supervised; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) & HEAVY == OF_LIGHTNING


def test_list_and_completion_of_runs_start_without_hydra() -> None:
    code = "import sys, simclr_med.cli.main; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names = set(done.stdout.split())
    assert "simclr_med.runs.run_table" in names
    assert "hydra" not in names


def test_no_dumping_grounds() -> None:
    names = {path.stem for path in SOURCE.rglob("*.py")}
    assert not names & {"utils", "util", "helpers", "common", "misc", "base", "manager"}


# The map: docs/architecture.md names `file` and `file::symbol`, files relative to src/simclr_med or to the top.
ROOT = SOURCE.parents[1]
MAP = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
NAME = re.compile(r"`((?:[\w.-]+/)*[\w.-]+\.(?:py|yaml|html))(?:::([\w.]+))?`")
MOST_FILES = 15  # that a reader opens to answer the ten questions


def locate_file(name: str) -> Path:
    """The file that the map names."""
    top = name.split("/")[0] in ("conf", "tests", "benchmarks", "docs")
    return (ROOT if top else SOURCE) / name


def defines(path: Path, symbol: str) -> bool:
    """Whether a file itself defines a class, a function, a module's name, or `Class.member`."""
    nodes: list[ast.stmt] = ast.parse(path.read_text(encoding="utf-8")).body
    for part in symbol.split("."):
        found = [node for node in nodes if part in _defined(node)]
        if not found:
            return False
        nodes = list(getattr(found[0], "body", []))
    return True


def _defined(node: ast.stmt) -> set[str]:
    """The names that a statement defines; an import defines none."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return {node.name}
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return {target.id for target in targets if isinstance(target, ast.Name)}


@pytest.mark.parametrize(("name", "symbol"), sorted(set(NAME.findall(MAP))), ids=str)
def test_name_on_map_exists(name: str, symbol: str) -> None:
    path = locate_file(name)
    assert path.is_file(), f"docs/architecture.md names {name}"
    assert not symbol or defines(path, symbol), f"docs/architecture.md names {name}::{symbol}"


def test_map_names_files_and_symbols_in_one_notation() -> None:
    """No `path::symbol` or path to code escapes the test above by another spelling."""
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", MAP, flags=re.DOTALL))
    assert [span for span in spans if ("::" in span or ".py" in span) and not NAME.fullmatch(f"`{span}`")] == []
    assert len([symbol for _, symbol in NAME.findall(MAP) if symbol]) >= 40


def test_symbols_are_resolved_strictly() -> None:
    assert defines(SOURCE / "runs/run.py", "Run.finish")
    assert not defines(SOURCE / "runs/run.py", "Run.finished")
    assert not defines(SOURCE / "runs/run.py", "finish")
    assert not defines(SOURCE / "runs/run.py", "write_json")  # imported there, defined elsewhere


def test_map_names_every_package() -> None:
    packages = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    leaves = {path.name for path in SOURCE.glob("*.py") if not path.name.startswith("__")}
    table = MAP.partition("## The packages")[2].partition("\n## ")[0]
    named = set(re.findall(r"`([\w.]+?)/?`", table))
    assert named == packages | leaves | {"conf"}


def test_map_answers_ten_questions_from_few_files() -> None:
    answers = re.split(r"^### \d+\. .*\?$", MAP.partition("## Ten questions")[2], flags=re.MULTILINE)[1:]
    assert len(answers) == 10
    assert all(any(symbol for _, symbol in NAME.findall(answer)) for answer in answers)
    opened = {name for answer in answers for name, _ in NAME.findall(answer)}
    assert len(opened) <= MOST_FILES, sorted(opened)


def test_map_shows_rows_of_imports() -> None:
    shown = MAP.partition("Imports go down only")[2].partition("``` { .text .diagram }\n")[2].partition("```")[0]
    assert [set(line.split(", ")) for line in shown.strip().splitlines()[::-1]] == list(ROWS)
