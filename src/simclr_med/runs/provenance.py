"""Package versions, git commit and the origin of weights, recorded with every result."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from simclr_med.runs.identity import Init

PACKAGES = (
    "simclr-med",
    "torch",
    "torchvision",
    "lightning",
    "hydra-core",
    "omegaconf",
    "medmnist",
    "scikit-learn",
    "numpy",
)


def package_versions() -> dict[str, str]:
    """Return the version of Python and of each installed package that results depend on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def git_commit() -> dict[str, Any] | None:
    """Return the commit of the checkout and whether files changed since; None outside a checkout."""
    top = Path(__file__).parents[3]
    if not (top / ".git").exists():
        return None
    try:
        commit = _git(top, "rev-parse", "HEAD")
        return {"commit": commit, "changed": bool(_git(top, "status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.SubprocessError):
        return None


def record_init(init: Init) -> dict[str, Any]:
    """Return what result.json says of weights that a run uses."""
    return {
        "kind": init.kind,
        "run": init.run and init.run.name,
        "hash": init.hash,
        "path": init.path and str(init.path),
    }


def _git(top: Path, *arguments: str) -> str:
    finished = subprocess.run(["git", *arguments], cwd=top, capture_output=True, text=True, timeout=10, check=True)
    return finished.stdout.strip()
