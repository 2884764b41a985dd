"""The sequences and the ops of conf/augmentation, built for the tests."""

from __future__ import annotations

from pathlib import Path

from omegaconf import OmegaConf

from simclr_med.augment.op import Op
from simclr_med.augment.sequence import Sequence
from simclr_med.build import instantiate_node

CONF = Path(__file__).parents[2] / "conf" / "augmentation"
OPTIONS = sorted(path.stem for path in CONF.glob("*.yaml"))


def load_sequence(option: str, mirror_p: float = 0.5) -> Sequence:
    """Build the sequence of one option."""
    node = OmegaConf.load(CONF / f"{option}.yaml")
    cfg = OmegaConf.create({"dataset": {"mirror_p": mirror_p}, "augmentation": node})
    assert cfg.augmentation.name == option
    return instantiate_node(cfg.augmentation)


def load_ops() -> list[Op]:
    """Build every op that a sequence uses, once per name."""
    ops: dict[str, Op] = {}
    for option in OPTIONS:
        for op in load_sequence(option).ops:
            ops.setdefault(op.name, op)
    return list(ops.values())
