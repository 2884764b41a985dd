"""A step of a study: one command, with the overrides that it gets from the study's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simclr_med.config.schema import Config
from simclr_med.config.stage_nodes import Study
from simclr_med.errors import WantedEncoder
from simclr_med.runs.init import find_encoders

PRETRAINING = ("augmentation", "optimizer", "schedule", "seed", "data_fraction")
VALIDATION = "data_fraction.validation"  # the key of that group that is for the steps with labels


@dataclass(frozen=True)
class Step:
    """One command of the study.

    Attributes:
        name: as the plan shows it.
        overrides: of the command.
        images: that it trains on over all its epochs, in units of pretraining; None for another network than the
            study's encoder, whose time is not known.
        always: whether it runs again each time.
        encoders: number of encoders that it uses.
        is_required: whether every later step needs it, so that its failure ends the study.
        needs: names of the earlier steps without which it is left out.
        similar: folders of the finished pretraining runs with the fields by which later steps find the encoder of this
            step. Its own is the only one that may exist.
    """

    name: str
    overrides: tuple[str, ...]
    images: float | None = 0.0
    always: bool = False
    encoders: int = 1
    is_required: bool = False
    needs: tuple[str, ...] = ()
    similar: tuple[Path, ...] = ()


def shared_overrides(words: Sequence[str], without: Sequence[str] = ()) -> list[str]:
    """Return the overrides of the study that its steps get: all but the stage, its keys, and some groups."""
    own = {"stage", "overwrite", "dry_run", "grid", "init", *without}
    keys = {word: word.split("=")[0].lstrip("+~") for word in words}
    return [word for word in words if keys[word].split(".")[0] not in own and keys[word] != VALIDATION]


def pretraining_overrides(node: Study) -> list[str]:
    """Return the stage and the keys of the pretraining steps that a study sets."""
    own = {"epochs": node.epochs, "batch_size": node.batch_size, "temperature": node.temperature}
    return ["stage=pretrain", *(f"stage.{key}={value}" for key, value in own.items() if value is not None)]


def find_similar(cfg: Config[Study], seed: int, model: str | None = None) -> tuple[Path, ...]:
    """Return `Step.similar` of a pretraining step.

    Args:
        cfg: of the study.
        seed: of the step.
        model: of timm whose pretraining the step continues; None for the study's own encoder.
    """
    dataset, size = cfg.dataset.name, cfg.plain.dataset.get("size")
    if model is None:
        own = (cfg.encoder.name, size, seed, "random", cfg.plain.encoder.get("model"))
    else:
        own = ("timm", size, seed, "timm", model)
    found = find_encoders(cfg.paths.runs, WantedEncoder(dataset, cfg.augmentation.name, *own))
    return tuple(folder for folder, exclude in found.items() if exclude == cfg.plain.dataset.get("exclude"))


def join_list(values: Sequence[Any]) -> str:
    """Return values as a list on the command line: ``[0,1,2]``."""
    return "[" + ",".join(map(str, values)) + "]"
