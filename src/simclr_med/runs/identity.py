"""The identity of a run: the hash of everything that affects its result."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Protocol

from omegaconf import DictConfig, OmegaConf

# Raised when a change of the code changes results although the config is the same.
PROTOCOL_VERSION = 2

LONGEST_SLUG = 60  # characters of an option's name in a path

# Keys that set where and how a run executes. They do not affect its result and are not hashed.
OPERATIONAL = {
    "": ("paths", "logger", "init", "overwrite", "dry_run", "allow_code", "objective", "keep", "experiment", "grid"),
    # What the files of the data set hold is in data_hash.
    "dataset": (
        *("root", "path", "groups_csv", "csv", "metadata_csv", "exclude", "verify", "info"),
        *("window", "frames", "broken"),
    ),
    "stage": (
        "checkpoint_every_s",
        "collapse",
        "budgets",
        "seeds",
        "init_seeds",
        "run",
        "teacher",
        "teacher_fields",
        "chunk",
        "foundation",
        "foundation_size",
        "continue_pretraining",
        "push_to_hub",
        "out",
        "dashboard",
        "wandb",
        "unread",
        "folder",
        "named_after_init",
    ),
    "data_fraction": ("file",),  # what it selects is in selection_hash
    "trainer": (
        "accelerator",
        "nodes",
        "devices",
        "strategy",
        "cuda_graphs",
        "threads",
        "profile",
        "precision",
        "energy",
    ),
}

# Keys that were added when runs had been recorded, with the value that those runs had. A key with this value is not
# hashed, so that the runs keep their identity.
ADDED: dict[str, dict[str, Any]] = {
    "data_fraction": {"selected_by": None, "selection_hash": None},
    "stage": {"exact_accumulate": False, "positives": "image", "mask_same_patient": False, "freeze": 0},
    "trainer": {"gradient_clip_val": None},
    "encoder": {"in_channels": 3},
}

# Keys of the group stage that do nothing while a switch has its neutral value. Then neither they nor the switch are
# hashed, for the same reason.
SWITCHED: dict[str, tuple[Any, tuple[str, ...]]] = {
    "corruptions": (False, ("family", "family_of", "families")),
    "ood": ([], ("ood_neighbours",)),
}

# Keys of the group stage that do nothing without data_fraction.file, and then are not hashed, for the same reason.
NEED_FILE = ("methods_with_labels",)

# The value that stands for all values of a key, where data_hash says how the files are read.
RECORDED_AS = {"dataset": {"intensity": "full"}}

# Groups whose option name is part of the identity, because runs are found by it. Of other groups only the values are.
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
    """The initial weights of a run's encoder.

    Attributes:
        kind: random, pretrained, checkpoint, imagenet, timm or model.
        hash: of the weights' content; the kind itself when there is no file.
        path: the file with the weights, or None.
        run: folder of the run that saved them, or None.
        url: where to download the file if it is missing, or None.
        seed: of random weights, or None.
        teacher: the classifier whose predictions the run learns, or None.
    """

    kind: str
    hash: str
    path: Path | None = None
    run: Path | None = None
    url: str | None = None
    seed: int | None = None
    teacher: Init | None = None

    @property
    def identity(self) -> str:
        """The hash of everything that a run takes from files besides its data: initial weights and teacher."""
        return self.hash if self.teacher is None else f"{self.hash}+teacher:{self.teacher.hash}"


def compute_config_hash(cfg: DictConfig, data_hash: str, init_hash: str) -> str:
    """Return the hash of everything that affects a run's result: 40 hex digits of SHA-256.

    Args:
        cfg: resolved config.
        data_hash: content hash of the data.
        init_hash: identity of the initial weights (`Init.identity`).
    """
    content = scientific_config(cfg) | {
        "data_hash": data_hash,
        "origin_hash": init_hash,  # part of every recorded hash, so the key keeps this name
        "protocol_version": PROTOCOL_VERSION,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:40]


def scientific_config(cfg: DictConfig) -> dict[str, Any]:
    """Return the part of a config that affects the result: without OPERATIONAL keys, option names and neutral keys."""
    content: Any = OmegaConf.to_container(cfg, resolve=True)
    for group, keys in OPERATIONAL.items():
        node = content.get(group) if group else content
        for key in keys:
            node.pop(key, None)
    _drop_neutral(content)
    for group, values in RECORDED_AS.items():
        content[group] |= {key: value for key, value in values.items() if key in content[group]}
    for group, node in content.items():
        if isinstance(node, dict) and group not in NAMED:
            node.pop("name", None)
    return dict(content)


def _drop_neutral(content: dict[str, Any]) -> None:
    """Delete the keys of `ADDED` and `SWITCHED` that have their neutral values; without a file, `NEED_FILE`."""
    for group, added in ADDED.items():
        node = content.get(group) or {}
        for key in [key for key, value in added.items() if key in node and node[key] == value]:
            del node[key]
    stage = content.get("stage", {})
    if "selection_hash" not in (content.get("data_fraction") or {}):
        for key in NEED_FILE:
            stage.pop(key, None)
    for switch, (neutral, keys) in SWITCHED.items():
        if stage.get(switch, neutral) == neutral:
            for key in (switch, *keys):
                stage.pop(key, None)


def budget_name(fraction: LabelBudget) -> str:
    """Return the name of a label budget, however it was set: full, n100, pct1 or per_class10."""
    for prefix, value in (("n", fraction.samples), ("pct", fraction.percent), ("per_class", fraction.per_class)):
        if value is not None:
            return f"{prefix}{value:.15g}"
    return "full"


def validation_of_budget(samples: int | None, percent: float | None, per_class: int | None) -> str:
    """Return the default of data_fraction.validation: within for a label budget, split for the full training split."""
    return "split" if samples is percent is per_class is None else "within"


def epoch_of_validation(validation: str) -> str:
    """Return the default of stage.select_by: the last epoch for a budget that has no labels to spare for the choice."""
    return "auroc" if validation == "split" else "last"


def encoder_name(encoder: Mapping[str, Any]) -> str:
    """Return the name of an encoder's option, with its model if it has one: ``timm convnext_atto``."""
    model = encoder.get("model")
    return f"{encoder['name']} {model}" if isinstance(model, str) else str(encoder["name"])


def slug(text: str, limit: int = LONGEST_SLUG) -> str:
    """Return text reduced to letters (of any script), digits, underscores, dots and dashes.

    At most limit characters, never empty, without a dot or dash at the ends.
    """
    return re.sub(r"[^\w.-]+", "-", text).strip("-.")[:limit].strip("-.") or "unnamed"


def dataset_name(path: str) -> str:
    """Return the name of the data set at path: the last part of the path, without ``.npz``."""
    last = PurePath(path)
    return slug(last.stem if last.suffix.lower() == ".npz" else last.name)
