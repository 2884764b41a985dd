"""Build objects from the nodes of a config. No other module calls Hydra's instantiate."""

from __future__ import annotations

import gc
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import get_method, instantiate
from omegaconf import DictConfig, OmegaConf

from simclr_med.errors import UserError


def instantiate_node(node: DictConfig, **arguments: Any) -> Any:
    """Call the target of a group's node with the node's keys and further arguments.

    The key ``name`` is the name of the option and not an argument.

    Raises:
        UserError: raised by the target.
    """
    content: Any = OmegaConf.to_container(node, resolve=True)
    content.pop("name", None)
    try:
        return instantiate(content, **arguments)
    except InstantiationException as error:
        # The target's message says more to a user than Hydra's around it.
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from None
        raise


def build_source(cfg: DictConfig) -> Any:
    """Build the data set of a run, a `simclr_med.data.source.Source`. Reads no file and imports no torch."""
    content: Any = OmegaConf.to_container(cfg.dataset, resolve=True)
    content.pop("mirror_p", None)  # read by augmentations only
    return instantiate(content)


def import_stage(cfg: DictConfig) -> Any:
    """Import the function that a stage's YAML names.

    Importing torch and Lightning creates millions of objects that stay. Scanning them for garbage takes a fifth of the
    start-up, so they are excluded from garbage collection. This happens once per process, because a second time would
    also exclude the garbage of earlier jobs in a sweep.
    """
    gc.disable()
    try:
        return get_method(cfg.stage._target_)
    finally:
        if not gc.get_freeze_count():
            gc.freeze()
        gc.enable()
