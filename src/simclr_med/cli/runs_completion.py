"""What the Tab key offers after ``simclr-med runs``; Hydra completes every other command."""

from __future__ import annotations

from simclr_med.cli.runs_command import ACTIONS, FLAGS, parse_query
from simclr_med.errors import UserError
from simclr_med.runs.run_folders import find_run_folders

_FILTERS = ("stage", "dataset", "state", "budget", "seed", "init")
_STATES = ("finished", "unfinished", "failed")
_NAMING = ("show", "compare", "rm")  # actions that runs are named for


def complete_runs(line: str) -> list[str] | None:
    """Return the words that may end a command line, or None if it is not about runs.

    Args:
        line: as typed, up to the cursor, with the name of the command.
    """
    *before, word = line.split(" ")
    before = [one for one in before[1:] if one]
    if not before:
        return ["runs"] if word and "runs".startswith(word) else None
    if before[0] != "runs":
        return None
    try:
        query = parse_query(before[1:])
    except UserError:
        return []
    if word.startswith("-"):
        return [flag for flag in FLAGS if flag.startswith(word)]
    folders = list(find_run_folders(query.folder))
    key, has_value, _ = word.partition("=")
    if has_value:
        values = {
            "stage": {folder.parent.parent.name for folder in folders},
            "dataset": {folder.parent.name for folder in folders},
            "state": set(_STATES),
        }
        return [f"{key}={value}" for value in sorted(values.get(key, ()))]
    words = [] if before[1:] else [action for action in ACTIONS if action != "list"]
    if query.action in _NAMING:
        words = sorted({folder.name for folder in folders} - set(query.names))
    return [one for one in (*words, *(f"{name}=" for name in _FILTERS)) if one.startswith(word)]
