"""Finished runs in a folder of runs, and the configs that runs recorded."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from simclr_med.runs.config_files import read_config
from simclr_med.runs.fields import Fields, describe_error, make_printable
from simclr_med.safe_files import read_json


def find_finished_runs(runs: Path, stage: str, dataset: str) -> Iterator[tuple[Path, DictConfig, dict[str, Any]]]:
    """Yield (folder, config, result) of each finished run of a stage on a data set, sorted by folder."""
    for path in sorted((runs / stage / dataset).glob("*/result.json")):
        folder, file = path.parent, path.name
        try:
            result = dict(Fields.from_record(read_json(path)).content)
            file = "config.yaml"
            cfg = _create_config(folder)
        except (OSError, ValueError) as error:
            _report_unreadable(folder, f"{file}: {describe_error(error)}")
            continue
        yield folder, cfg, result


@cache  # the runs of a sweep search the same folders
def _report_unreadable(folder: Path, reason: str) -> None:
    """Print one line about a folder that the search ignores; once in this process."""
    text = f"{folder}: result.json or config.yaml is unreadable. The run is ignored. Reason: {reason}."
    print(make_printable(text), file=sys.stderr)


def load_config(folder: Path) -> DictConfig | None:
    """Return a run's config.yaml, or None if it is missing, unreadable, incomplete or not resolved."""
    try:
        return _create_config(folder)
    except (OSError, ValueError):
        return None


def _create_config(folder: Path) -> DictConfig:
    """Return a run's config.yaml with attributes for its keys. It holds no references, so that nothing is resolved.

    Raises:
        OSError, ValueError: as `read_config`, or a value is not one of a config.
    """
    try:
        return OmegaConf.create(read_config(folder / "config.yaml"))
    except OmegaConfBaseException as error:
        raise ValueError(str(error)) from error
