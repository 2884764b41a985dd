"""The state of a run, by the files in its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from simclr_med.safe_files import read_json

State = Literal["pending", "unfinished", "finished", "failed"]


def run_state(folder: Path, config_hash: str) -> State:
    """Return the state of the run in a folder. An unreadable result.json counts as unfinished."""
    if not folder.is_dir():
        return "pending"
    recorded = _read_result(folder)
    if recorded is not None and recorded.get("config_hash") == config_hash:
        return "finished"
    return "failed" if (folder / "failure.json").exists() else "unfinished"


def _read_result(folder: Path) -> dict[str, Any] | None:
    """Return the content of result.json, or None if it is missing or unreadable."""
    try:
        content = read_json(folder / "result.json")
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
