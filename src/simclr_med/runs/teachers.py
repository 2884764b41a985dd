"""The teacher of stage=distill: the finished run whose classifier labels the images. Loads no weights."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from simclr_med.errors import MissingTeacherError, RunError
from simclr_med.runs.finished_runs import find_finished_runs, load_config
from simclr_med.runs.identity import Init, budget_name
from simclr_med.runs.init import classifier_of
from simclr_med.runs.names import shown_path
from simclr_med.runs.run_folders import find_run_folders

# What decides which images' labels a run learns from.
_BUDGET = ("samples", "percent", "per_class", "strategy", "imbalance_factor", "seed", "validation", "selection_hash")


def find_teacher(cfg: Any) -> Init:
    """Return the classifier that `stage.teacher` names, or else that of the finetune run with this run's fields.

    Args:
        cfg: validated config of stage=distill.

    Raises:
        RunError: no run or several fit, the run has no classifier, or it learned from another label budget.
    """
    named = cfg.stage.teacher
    folder = _find_matching(cfg) if named is None else _find_named(Path(cfg.paths.runs).absolute(), named)
    teacher = classifier_of("stage.teacher", str(folder))
    _check_budget(cfg.data_fraction.to_dict(), folder)
    return teacher


def _find_named(runs: Path, name: str) -> Path:
    """Return the run of a path, of a folder's name, or of the first digits of a hash.

    Raises:
        RunError: none fits, or several do.
    """
    path = Path(os.path.expanduser(name)).absolute()
    if path.is_dir():
        return path
    folders = list(find_run_folders(runs))
    found = [folder for folder in folders if folder.name == name]
    found = found or [folder for folder in folders if folder.name.rpartition("-")[2].startswith(name)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise RunError(f"stage.teacher={name}: no such run. List them with simclr-med runs.")
    raise RunError(f"stage.teacher={name}: {len(found)} runs fit. Write more of the name:", *_lines(found))


def _find_matching(cfg: Any) -> Path:
    """Return the finished finetune run with this run's data set, encoder, budget, seed and pretrained encoder.

    Raises:
        MissingTeacherError: none has these fields.
        RunError: several have them.
    """
    finished = list(find_finished_runs(Path(cfg.paths.runs).absolute(), "finetune", cfg.dataset.name))
    more = dict(text.split("=", 1) for text in cfg.stage.teacher_fields)
    wanted = {**_describe(cfg.plain), **more}
    found = [folder for folder, recorded, _ in finished if {**_describe(recorded), **_select(recorded, more)} == wanted]
    if len(found) == 1:
        return found[0]
    fields = " ".join(f"{key}={value}" for key, value in wanted.items() if value is not None)
    if found:
        raise RunError(
            f"stage.teacher=null: {len(found)} finished finetune runs have {fields}. Choose one with stage.teacher=:",
            *_lines(found),
        )
    listed = [f"Finished finetune runs on {cfg.dataset.name}:", *_lines([folder for folder, _, _ in finished])]
    raise MissingTeacherError(
        f"stage.teacher=null: no finished finetune run has {fields}. Run stage=finetune first, or give "
        "stage.teacher=<run>.",
        *(listed if finished else []),
    )


def _describe(config: Any) -> dict[str, Any]:
    """Return the fields that a student and its teacher share; those of init where the config has them."""
    encoder, init = config.encoder, config.init
    return {
        "encoder": encoder.name,
        "encoder.model": encoder.get("model"),
        "dataset.size": config.dataset.get("size"),
        "budget": budget_name(config.data_fraction),
        "data_fraction.selection_hash": config.data_fraction.get("selection_hash"),
        "seed": config.seed,
        "init.seed": init.get("seed"),
        "init.augmentation": init.get("augmentation"),
    }


def _select(config: DictConfig, keys: Iterable[str]) -> dict[str, str]:
    return {key: _text(OmegaConf.select(config, key)) for key in keys}


def _check_budget(own: Mapping[str, Any], folder: Path) -> None:
    """Compare the label budget with the teacher's: a student's result counts the labels of its teacher.

    Raises:
        RunError: they differ.
    """
    recorded = load_config(folder)
    if recorded is None:
        raise RunError(f"{folder / 'config.yaml'}: missing or unreadable. Repeat this run with overwrite=true.")
    fraction = {"selection_hash": None, **recorded.data_fraction}  # early runs have no such key
    differing = [key for key in _BUDGET if key in fraction and fraction[key] != own.get(key)]
    if differing:
        typed = [key.replace("selection_hash", "file") for key in differing]
        given, needed = (
            " ".join(f"data_fraction.{key}={_text(node.get(key))}" for key in typed) for node in (own, fraction)
        )
        raise RunError(
            f"{given}: the teacher learned from other labels ({shown_path(folder)}), which count as this run's. Add "
            f"{needed}."
        )


def _text(value: Any) -> str:
    """Return a value as on the command line."""
    return "null" if value is None else f"{value:.15g}" if isinstance(value, float) else str(value)


def _lines(folders: list[Path]) -> Iterator[str]:
    return (f"  {shown_path(folder)}" for folder in folders)
