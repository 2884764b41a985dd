"""The rules of keys that change what a training updates and records: frozen layers, clipped gradients, energy."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from simclr_med.config.bounds import LARGEST_INTEGER
from simclr_med.config.schema import Config
from simclr_med.config.training_nodes import Pretrain, Supervised


def broken_training_rules(cfg: Config[Any]) -> Iterator[str]:
    """Yield one sentence for each broken rule."""
    yield from _gradient_clipping(cfg)
    yield from _energy(cfg)
    if isinstance(cfg.stage, (Pretrain, Supervised)):
        yield from _freeze(cfg, cfg.stage.freeze)


def _gradient_clipping(cfg: Config[Any]) -> Iterator[str]:
    value = cfg.trainer.gradient_clip_val
    if value is not None and cfg.trainer.precision == "16-mixed":
        # The fused optimizers divide the gradients by the scale of the loss only in their step.
        yield (
            f"trainer.gradient_clip_val={value}: not available with trainer.precision=16-mixed. Use "
            "trainer.precision=bf16-mixed or 32-true."
        )


def _energy(cfg: Config[Any]) -> Iterator[str]:
    country = cfg.trainer.energy
    if country is not None and not re.fullmatch("[A-Z]{3}", country):
        yield (
            f"trainer.energy={country}: expected a country by three capital letters (ISO 3166-1 alpha-3). Use "
            "trainer.energy=DEU, for example."
        )


def _freeze(cfg: Config[Any], freeze: Any) -> Iterator[str]:
    is_number = type(freeze) is int and 0 <= freeze <= LARGEST_INTEGER
    is_list = isinstance(freeze, Sequence) and not isinstance(freeze, str) and all(isinstance(x, str) for x in freeze)
    if not (is_number or is_list):
        yield (
            f"stage.freeze={freeze}: expected a number of layer groups >= 0, or a list of layers. Use stage.freeze=2 "
            "or stage.freeze=[conv1], for example."
        )
    elif freeze and cfg.trainer.cuda_graphs:
        yield f"trainer.cuda_graphs=true: not available with stage.freeze={freeze}. Set trainer.cuda_graphs=false."
