"""What a result was made with. A leaf."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

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
    """Version of Python and of each package that a result depends on; one that is not installed is left out."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def git_commit() -> dict[str, Any] | None:
    """Commit of the checkout that the code runs from, and whether it was changed; None outside a checkout."""
    top = Path(__file__).parents[3]
    if not (top / ".git").exists():
        return None
    try:
        commit = _git(top, "rev-parse", "HEAD")
        return {"commit": commit, "changed": bool(_git(top, "status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _git(top: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=top, capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()
