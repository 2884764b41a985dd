"""Check a checkpoint before a run resumes from it: keys, types, shapes, counters and finite numbers."""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import lightning
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.environments import LightningEnvironment
from torch import Tensor

from simclr_med.models.encoder_hashes import encoder_metadata
from simclr_med.training.devices import silence_lightning
from simclr_med.training.states import compare, is_count

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

    def check() -> None:
        done = _check_progress(content, epochs, steps)
        _check_weights(content, module)
        _check_training(content, module, done)
        _check_callbacks(content["callbacks"], callbacks)

    return _describe_failure(check)


def find_weights_flaw(content: Mapping[str, Any], module: LightningModule, epochs: int) -> str | None:
    """Return why a module cannot take a checkpoint's weights, in a few words, or None; arguments as `find_flaw`."""

    def check() -> None:
        _check_epoch(content["epoch"], epochs)
        _check_weights(content, module)

    return _describe_failure(check)


def _describe_failure(check: Callable[[], None]) -> str | None:
    try:
        check()
    except KeyError as error:
        return f"{error.args[0]} is missing"
    except ValueError as error:
        return str(error)
    except (TypeError, AttributeError, IndexError) as error:
        return f"its layout is unknown ({' '.join(str(error).split())})"
    return None


def _check_epoch(epoch: Any, epochs: int) -> None:
    if not is_count(epoch) or epoch >= epochs:
        raise ValueError(f"its epoch is {epoch!r}, expected 0 to {epochs - 1}")


def _check_progress(content: Mapping[str, Any], epochs: int, steps: int) -> int:
    """Check the epoch, the optimizer step and Lightning's counters; return the number of steps."""
    epoch, done = content["epoch"], content["global_step"]
    _check_epoch(epoch, epochs)
    if not is_count(done) or done != (epoch + 1) * steps:
        raise ValueError(f"its global_step is {done!r} after {epoch + 1} epochs of {steps} steps")
    fit = content["loops"]["fit_loop"]
    version = content["pytorch-lightning_version"]
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        raise ValueError(f"its version of Lightning is {version!r}")
    if version == lightning.__version__:
        compare(fit, _fresh_counters(), "loops")
    for value in _leaves(fit):
        if not isinstance(value, bool) and not is_count(value):
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


def _check_weights(content: Mapping[str, Any], module: LightningModule) -> None:
    """Check all weights, and that mean and std are those of the run's encoder."""
    compare(content["state_dict"], module.state_dict(), "weights", exact=True)
    encoder: Any = module.encoder
    found, expected = content["encoder_metadata"], encoder_metadata(encoder)
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
    compare(found[0]["param_groups"], expected["param_groups"], "optimizer groups", ignored=UNCOMPARED)
    for group, fresh in zip(found[0]["param_groups"], expected["param_groups"], strict=True):
        changed = [key for key in fresh if key not in UNCOMPARED and group.get(key) != fresh[key]]
        if changed or group["params"] != fresh["params"]:
            raise ValueError(f"{(changed or ['params'])[0]} of the optimizer differs")
    _check_parameter_states(found[0]["state"], expected["state"], optimizer, module, content["state_dict"])
    compare(scheduled[0], {key: getattr(schedule, key) for key in ("base_lrs", "last_epoch", "_last_lr")}, "schedule")
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
            compare(found[index], expected.get(index, {}), f"optimizer state of {name}")
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


def _leaves(state: Any) -> Iterator[Any]:
    if isinstance(state, Mapping):
        for value in state.values():
            yield from _leaves(value)
    else:
        yield state


def _is_close(found: Any, expected: float) -> bool:
    return isinstance(found, (int, float)) and math.isclose(found, expected, rel_tol=LR_TOLERANCE, abs_tol=1e-12)
