"""Check a checkpoint before a run resumes from it: keys, types, shapes, counters and finite numbers."""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import lightning
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.environments import LightningEnvironment
from torch import Tensor

from simclr_med.models.encoder_files import encoder_metadata
from simclr_med.training.devices import silence_lightning

# Tensors that hold a sum of squares, a variance or a count.
NOT_NEGATIVE = ("running_var", "num_batches_tracked", "exp_avg_sq", "max_exp_avg_sq", "step")
# Keys of an optimizer's groups that do not decide the result, or that the schedule sets.
UNCOMPARED = ("lr", "params", "foreach", "fused", "capturable", "differentiable")
LR_TOLERANCE = 1e-6  # relative; another processor rounds a cosine differently
_VERSION = re.compile(r"\d+(\.\d+)+[\w.+]*")


def find_flaw(
    content: Mapping[str, Any], module: LightningModule, callbacks: Sequence[Callback], epochs: int, steps: int
) -> str | None:
    """Return why training cannot resume from a checkpoint, in a few words, or None if it can.

    Args:
        content: of the checkpoint.
        module: at its first step, with ``encoder`` and ``configure_optimizers``.
        callbacks: those whose state the checkpoint holds. Their ``load_state_dict`` raises ValueError for a wrong one.
        epochs: of the whole run.
        steps: optimizer steps of an epoch.
    """
    try:
        done = _check_progress(content, epochs, steps)
        _compare(content["state_dict"], module.state_dict(), "weights", exact=True)
        _check_encoder_metadata(content["encoder_metadata"], module)
        _check_training(content, module, done)
        _check_callbacks(content["callbacks"], callbacks)
    except KeyError as error:
        return f"{error.args[0]} is missing"
    except ValueError as error:
        return str(error)
    except (TypeError, AttributeError, IndexError) as error:
        return f"its layout is unknown ({' '.join(str(error).split())})"
    return None


def _check_progress(content: Mapping[str, Any], epochs: int, steps: int) -> int:
    """Check the epoch, the optimizer step and Lightning's counters; return the number of steps."""
    epoch, done = content["epoch"], content["global_step"]
    if not _is_count(epoch) or epoch >= epochs:
        raise ValueError(f"its epoch is {epoch!r}")
    if not _is_count(done) or done != (epoch + 1) * steps:
        raise ValueError(f"its global_step is {done!r} after {epoch + 1} epochs of {steps} steps")
    fit = content["loops"]["fit_loop"]
    version = content["pytorch-lightning_version"]
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        raise ValueError(f"its version of Lightning is {version!r}")
    if version == lightning.__version__:
        _compare(fit, _fresh_counters(), "loops")
    for value in _leaves(fit):
        if not isinstance(value, bool) and not _is_count(value):
            raise ValueError(f"a counter of its loops is {value!r}")
    optimizer = fit["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]
    counted = {
        epoch + 1: fit["epoch_progress"]["current"]["processed"],
        epoch: fit["epoch_progress"]["current"]["completed"],
        done: optimizer["step"]["total"]["completed"],
    }
    if any(expected != found for expected, found in counted.items()):
        raise ValueError("the counters of its loops disagree with its epoch and global_step")
    return int(done)


def _fresh_counters() -> dict[str, Any]:
    """Return the counters of a training that has not begun."""
    silence_lightning()
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=1,
        logger=False,
        plugins=[LightningEnvironment()],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    return dict(trainer.fit_loop.state_dict())


def _check_encoder_metadata(found: Mapping[str, str], module: LightningModule) -> None:
    """Check that mean and std are those of the run's encoder."""
    encoder: Any = module.encoder
    expected = encoder_metadata(encoder)
    for name in ("mean", "std"):
        if json.loads(found[name]) != json.loads(expected[name]):
            raise ValueError(f"{name} is {found[name]} instead of {expected[name]}")


def _check_training(content: Mapping[str, Any], module: LightningModule, done: int) -> None:
    """Check the states of the optimizer and of its schedule."""
    made: Any = module.configure_optimizers()
    optimizer, schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]
    found, scheduled = content["optimizer_states"], content["lr_schedulers"]
    if len(found) != 1 or len(scheduled) != 1:
        raise ValueError("it does not hold one optimizer and one schedule")
    expected = _state_after_a_step(optimizer)
    _compare(found[0]["param_groups"], expected["param_groups"], "optimizer groups", ignored=UNCOMPARED)
    for group, fresh in zip(found[0]["param_groups"], expected["param_groups"], strict=True):
        changed = [key for key in fresh if key not in UNCOMPARED and group.get(key) != fresh[key]]
        if changed or group["params"] != fresh["params"]:
            raise ValueError(f"{(changed or ['params'])[0]} of the optimizer differs")
    _check_parameter_states(found[0]["state"], expected["state"], optimizer, module, content["state_dict"])
    _compare(scheduled[0], {key: getattr(schedule, key) for key in ("base_lrs", "last_epoch", "_last_lr")}, "schedule")
    if scheduled[0]["last_epoch"] != done or scheduled[0]["base_lrs"] != schedule.base_lrs:
        raise ValueError("its schedule is at another step or of other rates")
    rates = [rate * factor(done) for rate, factor in zip(schedule.base_lrs, schedule.lr_lambdas, strict=True)]
    for rate, group, last in zip(rates, found[0]["param_groups"], scheduled[0]["_last_lr"], strict=True):
        if not (_is_close(group["lr"], rate) and _is_close(last, rate)):
            raise ValueError(f"its learning rate is {group['lr']!r} instead of {rate:.6g}")


def _check_parameter_states(
    found: Mapping[int, Any],
    expected: Mapping[int, Any],
    optimizer: torch.optim.Optimizer,
    module: LightningModule,
    weights: Mapping[str, Tensor],
) -> None:
    """Check the optimizer's state of each parameter; only one that was never trained may lack it."""
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for index, parameter in enumerate(parameters):
        name = names[id(parameter)]
        if index in found:
            _compare(found[index], expected.get(index, {}), f"optimizer state of {name}")
        elif index in expected and not torch.equal(weights[name].to(parameter.dtype), parameter):
            raise ValueError(f"the optimizer state of {name} is missing")
    if not set(found) <= set(range(len(parameters))):
        raise ValueError("its optimizer state has unknown parameters")


def _state_after_a_step(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return the state of a copy after a step without gradients: this shows keys and shapes of any optimizer's."""
    trial = copy.deepcopy(optimizer)
    for group in trial.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    trial.step()
    return trial.state_dict()


def _check_callbacks(found: Mapping[str, Any], callbacks: Sequence[Callback]) -> None:
    for callback in callbacks:
        if not callback.state_dict():
            continue
        try:
            copy.copy(callback).load_state_dict(found[callback.state_key])
        except ValueError as error:
            raise ValueError(f"the state of {callback.state_key} is wrong: {error}") from error


def _compare(found: Any, expected: Any, where: str, exact: bool = False, ignored: Sequence[str] = ()) -> None:
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
            _compare(found[key], expected[key], f"{where}, {key}", exact)
    elif isinstance(expected, (list, tuple)):
        if not isinstance(found, (list, tuple)) or len(found) != len(expected):
            raise ValueError(f"{where}: expected {len(expected)} entries")
        for one, other in zip(found, expected, strict=True):
            _compare(one, other, where, exact, ignored)
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


def _leaves(state: Any) -> Iterator[Any]:
    if isinstance(state, Mapping):
        for value in state.values():
            yield from _leaves(value)
    else:
        yield state


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_close(found: Any, expected: float) -> bool:
    return isinstance(found, (int, float)) and math.isclose(found, expected, rel_tol=LR_TOLERANCE, abs_tol=1e-12)
