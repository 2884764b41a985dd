"""Compare the states in a checkpoint with those that a training expects: keys, types, shapes and finite numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

# Tensors that hold a sum of squares, a variance or a count.
NOT_NEGATIVE = ("running_var", "num_batches_tracked", "exp_avg_sq", "max_exp_avg_sq", "step")


def compare(found: Any, expected: Any, where: str, exact: bool = False, ignored: Sequence[str] = ()) -> None:
    """Raise ValueError where the structure of a state differs from the expected one, or a number is not finite.

    Args:
        found, expected: tensors, numbers, and dicts and lists of them. Where None is expected, anything may be found.
        where: the part of the checkpoint, for the message.
        exact: whether a dict must not have other keys too.
        ignored: keys.
    """
    if isinstance(expected, Tensor):
        _check_tensor(found, expected, where)
    elif isinstance(expected, Mapping):
        keys = [key for key in expected if key not in ignored]
        _check_keys(found, keys, where, exact)
        for key in keys:
            compare(found[key], expected[key], f"{where}, {key}", exact)
    elif isinstance(expected, (list, tuple)):
        if not isinstance(found, (list, tuple)) or len(found) != len(expected):
            raise ValueError(f"{where}: expected {len(expected)} entries")
        for one, other in zip(found, expected, strict=True):
            compare(one, other, where, exact, ignored)
    elif expected is not None:
        _check_value(found, expected, where)


def _check_keys(found: Any, keys: Sequence[Any], where: str, exact: bool) -> None:
    if not isinstance(found, Mapping):
        raise ValueError(f"{where}: expected a dictionary, found {type(found).__name__}")
    missing = [key for key in keys if key not in found]
    surplus = [key for key in found if key not in keys] if exact else []
    if missing or surplus:
        raise ValueError(f"{where}: {missing[0]} is missing" if missing else f"{where}: {surplus[0]} is unknown")


def _check_tensor(found: Any, expected: Tensor, where: str) -> None:
    if not isinstance(found, Tensor):
        raise ValueError(f"{where}: expected a tensor, found {type(found).__name__}")
    if found.layout != torch.strided or found.device.type != "cpu" or found.is_quantized:
        raise ValueError(f"{where}: expected a dense tensor, found another kind ({found.layout}, {found.device})")
    if found.shape != expected.shape:
        raise ValueError(f"{where}: expected shape {tuple(expected.shape)}, found {tuple(found.shape)}")
    if found.is_floating_point() != expected.is_floating_point() or found.is_complex() != expected.is_complex():
        raise ValueError(f"{where}: expected {expected.dtype}, found {found.dtype}")
    if not bool(torch.isfinite(found).all()):
        raise ValueError(f"{where}: a number is not finite")
    if where.rpartition(", ")[2].rpartition(".")[2] in NOT_NEGATIVE and bool((found < 0).any()):
        raise ValueError(f"{where}: a number is negative")


def _check_value(found: Any, expected: Any, where: str) -> None:
    is_number = isinstance(expected, (int, float)) and not isinstance(expected, bool)
    kind: Any = (int, float) if is_number else type(expected)
    if not isinstance(found, kind) or (is_number and isinstance(found, bool)):
        raise ValueError(f"{where}: expected {type(expected).__name__}, found {type(found).__name__}")
    if is_number and not math.isfinite(found):
        raise ValueError(f"{where}: a number is not finite")


def is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
