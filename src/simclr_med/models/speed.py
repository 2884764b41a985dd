"""Exact speed-ups of an encoder, applied where it is trained or evaluated.

They stay out of the constructors, since a rewritten network cannot be exported by ``torch.export``.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn

from simclr_med.models.encoders import Encoder
from simclr_med.models.small_maps import rewrite_small_maps


def apply_speedups(encoder: Encoder) -> None:
    """Make an encoder faster, in place; parameters, state dict and function stay.

    Convolutions on maps of one or four pixels become matrix products (`small_maps`; on the CPU alone, decided at each
    call). Weights and maps take channels_last order.
    """
    module = cast(nn.Module, encoder)
    rewrite_small_maps(module)
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    module.register_forward_pre_hook(_to_channels_last)


def _to_channels_last(module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    images_BCHW, *others = arguments
    return images_BCHW.contiguous(memory_format=torch.channels_last), *others
