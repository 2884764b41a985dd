"""The maps [B, C, h, w] inside a timm model that Grad-CAM can use."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

MAP = "input_map"


def list_maps(network: nn.Module) -> list[str]:
    """Return the names of modules whose outputs are maps [B, C, h, w], the last first; none of an unknown layout."""
    if hasattr(network, MAP):
        return [MAP]
    if getattr(network, "output_fmt", "NCHW") != "NCHW" or _has_tokens(network):
        return []
    known = {name for name, _ in network.named_modules()}
    modules = [str(info["module"]) for info in getattr(network, "feature_info", ())]
    return [name for name in reversed(modules) if name in known]


def expose_map(network: nn.Module) -> None:
    """Let a network of tokens pass the input of its last block through a module that sees it as a map, in place.

    The class token is all that a classifier reads of a vision transformer, so that the patches *after* the last block
    have no gradient; those before it have one. Networks whose modules return maps [B, C, h, w] stay as they are.
    """
    block = _last_block(network)
    if block is None:
        return
    view = nn.Identity()
    network.add_module(MAP, view)
    prefix = int(getattr(network, "num_prefix_tokens", 0) or 0)
    block.register_forward_pre_hook(partial(_pass_through, view, prefix))


def _last_block(network: nn.Module) -> nn.Module | None:
    """Return the last block of a network of tokens in the order of the pixels; None for another network."""
    if _has_tokens(network) and hasattr(network, "num_prefix_tokens"):
        return network.blocks[-1]  # type: ignore[index, return-value]
    if getattr(network, "output_fmt", "NCHW") == "NHWC" and hasattr(network, "layers"):
        return network.layers[-1]  # type: ignore[index, return-value]
    return None


def _has_tokens(network: nn.Module) -> bool:
    """Return whether the blocks of a network take tokens [B, N, C], as those of vision transformers do."""
    return hasattr(network, "patch_embed") and hasattr(network, "blocks")


def _pass_through(view: nn.Module, prefix: int, block: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    tokens, *others = inputs
    if tokens.ndim == 4:  # [B, h, w, C]
        return view(tokens.permute(0, 3, 1, 2)).permute(0, 2, 3, 1), *others
    if math.isqrt(tokens.shape[1]) ** 2 == tokens.shape[1]:
        prefix = 0  # some networks append the class token after their blocks; patches are a square
    patches_BCN = tokens[:, prefix:].transpose(1, 2)
    side = math.isqrt(patches_BCN.shape[2])
    map_BChw: Tensor = view(patches_BCN.unflatten(2, (side, -1)))
    return torch.cat([tokens[:, :prefix], map_BChw.flatten(2).transpose(1, 2)], dim=1), *others
