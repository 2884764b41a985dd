"""A checkpoint that opens but cannot be used is noticed, and the run resumes from the one before it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from simclr_med import build
from simclr_med.config.validate import validate_config
from simclr_med.errors import CheckpointError
from simclr_med.models.checkpoints import load_checkpoint
from simclr_med.runs.identity import Init
from simclr_med.runs.run import open_run
from simclr_med.stages.pretrain import build_module, pretrain
from simclr_med.stages.setup import load_images
from simclr_med.training.callbacks.checkpoint import Checkpoints
from simclr_med.training.callbacks.metrics_csv import MetricsCsv
from simclr_med.training.resume_check import find_flaw, find_weights_flaw
from simclr_med.training.simclr import METRICS

WORDS = ("encoder=tiny", "stage.epochs=3", "stage.batch_size=16", "stage.checkpoint_every_s=0", "logger=none")
QUIET = ("trainer=cpu", "trainer.threads=1", "keep=all")
Content = dict[str, Any]
WEIGHT, VARIANCE = "encoder.conv1.weight", "encoder.bn1.running_var"


def setting(*path: Any, to: Any) -> Callable[[Content], object]:
    """A change that sets one value inside a checkpoint; a function makes it from the value before."""

    def change(content: Any) -> None:
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = to(content[path[-1]]) if callable(to) else to

    return change


def without(*path: Any) -> Callable[[Content], object]:
    def change(content: Any) -> None:
        for key in path[:-1]:
            content = content[key]
        del content[path[-1]]

    return change


def of_another_tool(content: Content) -> None:
    weights = content["state_dict"]
    content.clear()
    content.update(model=weights, epoch=1)


STATE, GROUP = ("optimizer_states", 0, "state", 0), ("optimizer_states", 0, "param_groups", 0)
LOOP = ("loops", "fit_loop")
CHANGES: dict[str, Callable[[Content], object]] = {
    "a missing weight": without("state_dict", WEIGHT),
    "an unknown weight": lambda content: content["state_dict"].update(more=torch.zeros(1)),
    "another shape": setting("state_dict", WEIGHT, to=torch.zeros(3, 3)),
    "NaN in a weight": setting("state_dict", WEIGHT, to=lambda tensor: tensor * float("nan")),
    "a negative variance": setting("state_dict", VARIANCE, to=lambda tensor: -tensor),
    "a sparse weight": setting("state_dict", WEIGHT, to=lambda tensor: tensor.to_sparse()),
    "a meta weight": setting("state_dict", WEIGHT, to=lambda tensor: tensor.to("meta")),
    "weights in a list": setting("state_dict", to=lambda state: list(state.values())),
    "an epoch in words": setting("epoch", to="x"),
    "an epoch beyond the last": setting("epoch", to=10**30),
    "a negative step": setting("global_step", to=-1),
    "another step": setting("global_step", to=lambda step: step + 1),
    "another tool": of_another_tool,
    "no optimizer": without("optimizer_states"),
    "an optimizer state less": without(*STATE),
    "an optimizer state of another shape": setting(*STATE, "exp_avg", to=torch.zeros(2, 2)),
    "infinity in the optimizer": setting(*STATE, "exp_avg", to=lambda tensor: tensor + float("inf")),
    "a negative square": setting(*STATE, "exp_avg_sq", to=lambda tensor: -tensor - 1),
    "another learning rate": setting(*GROUP, "lr", to=0.1),
    "another weight decay": setting(*GROUP, "weight_decay", to=0.5),
    "another schedule step": setting("lr_schedulers", 0, "last_epoch", to=0),
    "no loops": without("loops"),
    "a missing counter": without(*LOOP, "epoch_progress"),
    "another counter": setting(*LOOP, "epoch_progress", "current", "completed", to=0),
    "a negative counter": setting(*LOOP, "epoch_loop.batch_progress", "total", "ready", to=-1),
    "no callbacks": setting("callbacks", to={}),
    "other rows": setting("callbacks", "MetricsCsv", "rows", to=[1]),
    "a best score of NaN": setting("callbacks", "Checkpoints", "best", to=float("nan")),
    "another mean": setting("encoder_metadata", "mean", to="[0.1, 0.1, 0.1]"),
    "a version that is none": setting("pytorch-lightning_version", to="new"),
}


def opening_of(composed, runs: Path, cells: Path):
    cfg = validate_config(composed("dataset=npz", f"dataset.path={cells}", f"paths.runs={runs}", *WORDS, *QUIET))
    return open_run(cfg, "d", Init("random", "random")), build.build_source(cfg)


def test_every_flaw_is_found_and_an_intact_checkpoint_has_none(composed, cells: Path, tmp_path: Path) -> None:
    opening, source = opening_of(composed, tmp_path / "runs", cells)
    with opening as run:
        pretrain(run, source)
        data = load_images(run, source)
        module = build_module(run, data)
    content = load_checkpoint(run.checkpoints / "last.ckpt")
    callbacks = (MetricsCsv(tmp_path / "metrics.csv", METRICS), Checkpoints(tmp_path, 0, {}))
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}

    def flaw_of(changed: Content) -> str | None:
        return find_flaw(changed, module, callbacks, epochs=3, steps=data.steps_per_epoch)

    assert flaw_of(content) is None
    assert flaw_of(load_checkpoint(run.checkpoints / "previous.ckpt")) is None
    for name, change in CHANGES.items():
        changed = copy.deepcopy(content)
        change(changed)
        flaw = flaw_of(changed)
        assert flaw is not None, name
        assert "\n" not in flaw, name
        assert "layout is unknown" not in flaw, (name, flaw)
    best = load_checkpoint(run.checkpoints / "last.ckpt")
    assert find_weights_flaw(best, module, epochs=3) is None
    assert find_weights_flaw(best, module, epochs=int(best["epoch"])) is not None
    CHANGES["NaN in a weight"](best)
    assert find_weights_flaw(best, module, epochs=3) is not None
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_run_resumes_from_the_checkpoint_before_an_unusable_one(composed, cells: Path, tmp_path: Path, capsys) -> None:
    opening, source = opening_of(composed, tmp_path / "runs", cells)
    with opening as run:
        pretrain(run, source)
    encoder, last = run.folder / "encoder.safetensors", run.checkpoints / "last.ckpt"
    whole = encoder.read_bytes()
    previous = (run.checkpoints / "previous.ckpt").read_bytes()
    for name in ("NaN in a weight", "an epoch in words"):
        content = load_checkpoint(last)
        CHANGES[name](content)
        torch.save(content, last)
        (run.checkpoints / "previous.ckpt").write_bytes(previous)
        encoder.unlink()
        (run.folder / "result.json").unlink()
        capsys.readouterr()
        opening, source = opening_of(composed, tmp_path / "runs", cells)
        with opening as run:
            pretrain(run, source)
        said = capsys.readouterr().out
        assert "Resuming from previous.ckpt (epoch 2) instead." in said
        assert encoder.read_bytes() == whole
    (run.folder / "result.json").unlink()
    for path in run.checkpoints.glob("*.ckpt"):
        content = load_checkpoint(path)
        content["epoch"] = "x"
        torch.save(content, path)
    opening, source = opening_of(composed, tmp_path / "runs", cells)
    with opening as run, pytest.raises(CheckpointError, match="overwrite=true") as error:
        pretrain(run, source)
    assert len(error.value.problems) == 1
