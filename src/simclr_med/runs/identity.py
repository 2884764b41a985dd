"""What a run is called: the hash of all that decides its result, and the name of its folder."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Protocol

from omegaconf import DictConfig, OmegaConf

# Raised when a change of the code changes the results of an unchanged config.
PROTOCOL_VERSION = 1

# What a config says about where and how a run is done, not about what it computes.
OPERATIONAL = {
    "": ("paths", "logger", "init", "overwrite", "dry_run", "keep", "experiment", "grid"),
    "dataset": ("root", "path", "groups_csv", "verify", "info"),
    "stage": (
        "checkpoint_every_s",
        "collapse",
        "budgets",
        "seeds",
        "run",
        "chunk",
        "out",
        "dashboard",
        "wandb",
        "unread",
        "folder",
        "named_after_init",
    ),
    "trainer": ("accelerator", "devices", "strategy", "threads"),
}

# Groups whose option's name is recorded and looked up, and so part of the run; of the others the values alone count.
NAMED = ("dataset", "stage", "augmentation", "encoder")


class LabelBudget(Protocol):
    """The part of the group data_fraction that says how many labelled images are used."""

    @property
    def samples(self) -> int | None: ...

    @property
    def percent(self) -> float | None: ...

    @property
    def per_class(self) -> int | None: ...


@dataclass(frozen=True)
class Init:
    """Where a run's encoder starts from.

    Attributes:
        kind: random, pretrained, checkpoint, imagenet or model.
        hash: of the weights' content; of the kind alone when there is no file.
        path: the weights, or None.
        run: the folder of the run that made them, or None.
        url: where the file at path comes from when it is not there yet, or None.
    """

    kind: str
    hash: str
    path: Path | None = None
    run: Path | None = None
    url: str | None = None


def compute_config_hash(cfg: DictConfig, data_hash: str, origin_hash: str) -> str:
    """The hash (40 hex digits of SHA-256) of all that decides a run's result.

    Args:
        cfg: resolved config.
        data_hash: content hash of the data.
        origin_hash: content hash of the weights that the encoder starts from.
    """
    content = scientific_config(cfg) | {
        "data_hash": data_hash,
        "origin_hash": origin_hash,
        "protocol_version": PROTOCOL_VERSION,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:40]


def scientific_config(cfg: DictConfig) -> dict[str, Any]:
    """The part of a config that decides what is computed, whatever it is called and wherever it is done."""
    content: Any = OmegaConf.to_container(cfg, resolve=True)
    for group, keys in OPERATIONAL.items():
        node = content.get(group) if group else content
        for key in keys:
            node.pop(key, None)
    for group, node in content.items():
        if isinstance(node, dict) and group not in NAMED:
            node.pop("name", None)
    return dict(content)


def budget_name(fraction: LabelBudget) -> str:
    """The label budget in a word, whichever way it was typed: full, n100, pct1 or per_class10."""
    for prefix, value in (("n", fraction.samples), ("pct", fraction.percent), ("per_class", fraction.per_class)):
        if value is not None:
            return f"{prefix}{value:.15g}"
    return "full"


def run_folder(cfg: DictConfig, config_hash: str, origin: Init) -> Path:
    """``<runs>/<stage>/<dataset>/<readable>-<hash>``; of a report ``<runs>/report/<data sets, or all>``."""
    top = Path(cfg.paths.runs).absolute() / cfg.stage.name
    if cfg.stage.folder is not None:
        return top / str(cfg.stage.folder)
    top /= cfg.dataset.name
    return top / f"{_readable(cfg, origin)}-{config_hash[:10]}"


def method_name(cfg: DictConfig, origin: Init) -> str:
    """What the runs of one curve share, whatever their label budget and seed: data, stage, start, views, encoder."""
    size = f" {cfg.dataset.size} px" if cfg.dataset.get("size") else ""
    views = (cfg.augmentation.name,) if cfg.augmentation.name != "none" else ()
    start = _start(origin).replace("_", " ")
    return ", ".join((f"{cfg.dataset.name}{size}", cfg.stage.name, start, *views, cfg.encoder.name))


def _readable(cfg: DictConfig, origin: Init) -> str:
    """What a person looks for in a run's name, as pretrained_<data set>_<sequence>; of a saved model that run's own."""
    made = origin.run
    if made is not None and cfg.stage.named_after_init:
        return "-".join((made.parent.parent.name, made.parent.name, made.name.rpartition("-")[0]))
    words = (cfg.augmentation.name, cfg.encoder.name, budget_name(cfg.data_fraction), _start(origin), f"seed{cfg.seed}")
    return "-".join(words)


def _start(origin: Init) -> str:
    """Where the encoder comes from in a word."""
    made = origin.run
    return origin.kind if made is None else "_".join((origin.kind, made.parent.name, made.name.partition("-")[0]))


def slug(text: str, limit: int = 60) -> str:
    """Letters (of any script), digits, dots and dashes of text, at most limit of them; never empty, never hidden."""
    return re.sub(r"[^\w.-]+", "-", text).strip("-.")[:limit].strip("-.") or "unnamed"


def dataset_name(path: str) -> str:
    """The name of a data set that lies at path: its last part without the ending of a file."""
    last = PurePath(path)
    return slug(last.stem if last.suffix.lower() == ".npz" else last.name)
