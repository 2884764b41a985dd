"""Files that a killed process left in the folder of a finished run."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from simclr_med.atomic import TEMPORARY
from simclr_med.safe_files import read_yaml

RESUMABLE = ("last.ckpt", "previous.ckpt")  # in checkpoints/: a finished run does not need them


def find_leftovers(folder: Path, keep: str) -> list[Path]:
    """Return the temporary files under a finished run's folder, and the checkpoints that only a resume needs.

    Args:
        folder: of the run.
        keep: of this command. Checkpoints stay with ``all`` here or in the run's own config.yaml, and if that file is
            unreadable.
    """
    found = list(folder.rglob(TEMPORARY))
    if keep == "least" and _recorded_keep(folder) == "least":
        found += [path for name in RESUMABLE if (path := folder / "checkpoints" / name).is_file()]
    return found


def remove_leftovers(folder: Path, keep: str) -> None:
    """Delete what `find_leftovers` returns. The caller holds the lock; a read-only disk keeps its files."""
    with suppress(OSError):
        for path in find_leftovers(folder, keep):
            path.unlink(missing_ok=True)


def _recorded_keep(folder: Path) -> object:
    try:
        content = read_yaml(folder / "config.yaml")
    except (OSError, ValueError):
        return None
    return content.get("keep") if isinstance(content, dict) else None
