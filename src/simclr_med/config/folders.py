"""The folders of the configuration, and what stands in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

# In a wheel conf/ is inside the package; in a checkout it is at the top.
_PACKAGED = Path(__file__).parents[1] / "conf"
CONF = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parents[3] / "conf"


def list_options(folders: Sequence[Path], group: str) -> list[str]:
    """Return the names of all options of a group, sorted.

    Args:
        folders: of the configuration, ours and the user's.
        group: name of the group.
    """
    return sorted({path.stem for folder in folders for path in (folder / group).glob("*.yaml")})


def list_sequences(folders: Sequence[Path]) -> list[str]:
    """Return the names of all augmentation sequences that have at least one op, sorted.

    Args:
        folders: of the configuration, ours and the user's. A file that is no YAML is left out: Hydra reports it.
    """
    files = {path.stem: path for folder in folders for path in sorted((folder / "augmentation").glob("*.yaml"))}
    return sorted(name for name, path in files.items() if _has_ops(path))


def _has_ops(path: Path) -> bool:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return False
    # A sequence that is a delta of another one has no ops of its own.
    return isinstance(content, dict) and content.get("ops") != []
