"""The folder of a run. Its name says what differs from the defaults, and ends with the run's identity."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from omegaconf import DictConfig

from simclr_med.runs.identity import Init, budget_name, encoder_name, slug, validation_of_budget

# The keys whose values stand in a folder's name where they differ from the defaults of conf/, in the order of the name.
# {} is the value.
SHOWN: Mapping[str, str] = {
    "augmentation.name": "{}",
    "encoder.name": "{}",
    "encoder.model": "{}",
    "dataset.size": "{}px",
    "data_fraction": "{}",
    "init.name": "{}",
    "stage.temperature": "t{}",
    "stage.epochs": "e{}",
    "stage.batch_size": "b{}",
    "optimizer.name": "{}",
    "optimizer.lr": "lr{}",
    "stage.positives": "{}-positives",
    "stage.mask_same_patient": "masked",
    "stage.solver": "{}",
    "stage.method": "{}",
    "trainer.limit_steps": "{}steps",
}
NO_CHANGES: Mapping[str, Any] = MappingProxyType({})
LONGEST = 120  # bytes of the readable part; file systems allow 255 for the whole name


def run_folder(cfg: DictConfig, config_hash: str, init: Init, changes: Mapping[str, Any] = NO_CHANGES) -> Path:
    """Return ``<runs>/<stage>/<dataset>/<readable>-<hash>``; for a report ``<runs>/report/<datasets or all>``.

    A folder that exists already is found by its hash, whatever its readable part, which other releases write
    differently.

    Args:
        cfg: resolved config.
        config_hash: of the run.
        init: initial weights of its encoder.
        changes: the values of `SHOWN` that differ from the defaults, by their keys.
    """
    top = Path(cfg.paths.runs).absolute() / cfg.stage.name
    if cfg.stage.folder is not None:
        return top / str(cfg.stage.folder)
    place, ending = top / cfg.dataset.name, f"-{config_hash[:10]}"
    return _find_folder(place, ending) or place / f"{_readable_name(cfg, init, changes)}{ending}"


def method_name(cfg: DictConfig, init: Init) -> str:
    """Return what all runs of one curve share: data, stage, init, views, encoder, and how its images were selected."""
    size = f" {cfg.dataset.size} px" if cfg.dataset.get("size") else ""
    views = (cfg.augmentation.name,) if cfg.augmentation.name != "none" else ()
    source, start = init.run, init.kind
    if source is not None:  # the name of a pretraining run starts with its augmentation
        own = source.parent.parent.name if init.kind == "model" else source.name.partition("-")[0]
        start = f"{init.kind} {source.parent.name} {own}"
    name = (f"{cfg.dataset.name}{size}", cfg.stage.name, start.replace("_", " "), *views, encoder_name(cfg.encoder))
    selected = cfg.data_fraction.get("selected_by")
    return ", ".join((*name, f"selected by {selected}") if selected else name)


def shown_path(path: Path) -> str:
    """Return a path as the terminal shows it: relative to the working directory where it is inside."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except (OSError, ValueError):
        return str(path)


def readable_part(folder: Path) -> str:
    """Return the name of a run's folder without its hash."""
    return folder.name.rpartition("-")[0]


def _find_folder(place: Path, ending: str) -> Path | None:
    try:
        with os.scandir(place) as entries:
            names = sorted(entry.name for entry in entries if entry.name.endswith(ending) and entry.is_dir())
    except OSError:
        return None
    return place / names[0] if names else None


def _readable_name(cfg: DictConfig, init: Init, changes: Mapping[str, Any]) -> str:
    """Return the part of a folder's name that people read. A run on a saved model has the name of that model's run."""
    source = init.run
    if source is not None and cfg.stage.named_after_init:
        return "-".join((source.parent.parent.name, source.parent.name, readable_part(source)))
    values = {"data_fraction": _budget_with_choices(cfg), **changes}
    if cfg.augmentation.name != "none":
        values["augmentation.name"] = cfg.augmentation.name
    if source is not None:
        other = () if source.parent.name == cfg.dataset.name else (source.parent.name,)
        values["init.name"] = "_".join(("from", *other, readable_part(source).replace("-", "_")))
    parts = [_format(SHOWN[key], values[key]) for key in SHOWN if values.get(key)]
    seed = f"s{cfg.seed}"
    short = "-".join(parts).encode()[: LONGEST - len(seed)].decode(errors="ignore").rstrip("-.")
    return "-".join(filter(None, (short, seed)))


def _format(shape: str, value: Any) -> str:
    return slug(shape.format(f"{value:g}" if isinstance(value, float) else value), LONGEST)


def _budget_with_choices(cfg: DictConfig) -> str:
    """Return the label budget, the method that selected its images, and data_fraction.validation if it is not the
    default; empty for all labels.
    """
    node, name = cfg.data_fraction, budget_name(cfg.data_fraction)
    usual = node.get("validation") in (None, validation_of_budget(node.samples, node.percent, node.per_class))
    parts = ("" if name == "full" and usual else name, node.get("selected_by"), "" if usual else node.validation)
    return "_".join(filter(None, parts))
