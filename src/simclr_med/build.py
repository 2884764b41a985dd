"""From a config's nodes to objects: the only place that instantiates."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from hydra.errors import InstantiationException
from hydra.utils import get_class, get_method, instantiate
from omegaconf import DictConfig, OmegaConf

from simclr_med.errors import UserError


class TypedNode(Protocol):
    """A node of a validated config (`simclr_med.config.nodes.Option`)."""

    def to_dict(self) -> dict[str, Any]:
        """The keys and values of the node's YAML."""


Node = TypedNode | DictConfig | Mapping[str, Any]


def instantiate_node(node: Node, **arguments: Any) -> Any:
    """Call the target of a group's node with the node's keys and further arguments.

    ``name`` is the option's own name, not an argument.

    Raises:
        UserError: what the target itself raises of that kind.
    """
    content = _content(node)
    content.pop("name", None)
    try:
        return instantiate(content, **arguments)
    except InstantiationException as error:
        # What a target says to the user is worth more than Hydra's word that it said something.
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from None
        raise


def instantiate_partial(node: Node) -> Callable[..., Any]:
    """Return the call of `instantiate_node` as a function that takes further arguments.

    Unlike those of `instantiate_node`, these arguments do not pass through Hydra: what they hold cannot be called.
    """
    function: Callable[..., Any] = instantiate_node(node, _partial_=True)
    return function


def build_init(cfg: Any) -> Any:
    """Resolve what a run takes from the files of other runs, a `simclr_med.runs.identity.Init`; loads no weights.

    Args:
        cfg: validated config, whose stage may name a function that finds a teacher.
    """
    init = instantiate_node(cfg.init)
    finder = cfg.stage.finds_teacher
    return init if finder is None else replace(init, teacher=import_function(finder)(cfg))


def build_source(cfg: Any) -> Any:
    """Build the data set of a run, a `simclr_med.data.source.Source`. Reads no file and imports no torch."""
    content = _content(cfg.dataset)
    content.pop("mirror_p", None)  # read by augmentations only
    content.pop("metadata_csv", None)  # read by the stages that score
    exclude = content.pop("exclude", None)
    source = instantiate(content)
    # Named by its path: the leaves import no other module of this package.
    return source if exclude is None else get_class("simclr_med.data.excluded.Excluded")(source, exclude)


def import_function(path: str) -> Any:
    """Import a function of this package by its full name."""
    return get_method(path)


def import_stage(cfg: Any) -> Any:
    """Import the function that a stage's YAML names.

    Importing torch and Lightning makes millions of objects that stay: walking them again and again looking for garbage
    would take a fifth of the start-up, so they are set aside instead; once, since what an earlier job of a sweep left
    would be set aside with them.

    torch is asked to take its memory in huge pages, where the kernel offers them (Linux): its step was 6 to 9 %
    faster on one machine. torch reads this setting once, when it is imported.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    gc.disable()
    try:
        return get_method(cfg.stage._target_)
    finally:
        if not gc.get_freeze_count():
            gc.freeze()
        gc.enable()


def _content(node: Node) -> dict[str, Any]:
    """The keys and values of a node, with every interpolation resolved."""
    if isinstance(node, DictConfig):
        content: Any = OmegaConf.to_container(node, resolve=True)
        return dict(content)
    return dict(node) if isinstance(node, Mapping) else node.to_dict()
