"""What training stages share: data, label budget, trainer, optimizer and schedule."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from lightning.pytorch import Callback, LightningModule
from torch import nn

from simclr_med import build
from simclr_med.atomic import write_text
from simclr_med.config.nodes import Option
from simclr_med.config.schema import LARS, Config
from simclr_med.config.stage_kinds import TrainingStage
from simclr_med.config.training_nodes import Pretrain, Supervised
from simclr_med.csv_cells import escape_cell
from simclr_med.data.datamodule import ImageDataModule
from simclr_med.data.selected_images import load_selected_rows
from simclr_med.data.source import Source
from simclr_med.models.encoders import Encoder
from simclr_med.models.freezing import freeze_layers
from simclr_med.models.sync_batchnorm import convert_sync_batchnorm
from simclr_med.runs.names import shown_path
from simclr_med.runs.run import Run
from simclr_med.stages.frame import StageFrame
from simclr_med.stages.network import check_channels
from simclr_med.training import devices
from simclr_med.training.callbacks.checkpoint import find_resumable
from simclr_med.training.callbacks.early_stopping import epochs_to_train
from simclr_med.training.callbacks.lock_check import LockCheck
from simclr_med.training.fit import Fit
from simclr_med.training.resume_check import find_flaw
from simclr_med.types import SPLITS, Split

T = TypeVar("T", bound=TrainingStage)

# The path of a checkpoint and its content.
Checkpoint = tuple[Path, dict[str, Any]]


@dataclass(frozen=True)
class TrainingSetup(Generic[T]):
    """What a training stage is built from, made once by `build_training_setup`.

    Attributes:
        run, source: of the stage.
        data: read and cut to the label budget.
        device: that the run computes on.
    """

    run: Run[Config[T]]
    source: Source
    data: ImageDataModule
    device: torch.device

    @property
    def metrics_csv(self) -> Path:
        return self.run.folder / "metrics.csv"

    @property
    def figures(self) -> Path:
        """The folder of the run's pictures, which exists."""
        folder = self.run.folder / "figures"
        folder.mkdir(exist_ok=True)
        return folder

    def find_checkpoint(self, module: LightningModule, callbacks: Sequence[Callback]) -> Checkpoint | None:
        """Return the newest usable checkpoint and its content, or None for a run that starts.

        Raises:
            CheckpointError: there are checkpoints, and none is usable.
        """
        stage, steps = self.run.cfg.stage, self.data.steps_per_epoch
        check = partial(find_flaw, module=module, callbacks=callbacks, epochs=stage.epochs, steps=steps)
        return find_resumable(self.run.checkpoints, check)

    def fit(
        self,
        module: LightningModule,
        callbacks: Sequence[Callback],
        frame: StageFrame,
        checkpoint: Checkpoint | None,
        validate_every: int | None = None,
    ) -> None:
        """Start the loggers and train, from the checkpoint where there is one.

        Args:
            module: at its first step.
            callbacks: of the trainer.
            frame: of the stage; it starts the loggers.
            checkpoint: of `find_checkpoint`.
            validate_every: as in `build_trainer`.

        Raises:
            RunError: the lock of the run's folder was lost.
        """
        run = self.run
        epochs = run.cfg.stage.epochs
        # A run that resumes logs what its loggers lack, and several processes get their loggers when they start.
        starts_late = checkpoint is None and run.cfg.trainer.processes == 1 and run.cfg.logger.loggers
        late = [frame.start_loggers_late()] if starts_late else []
        loggers = [] if starts_late else frame.start_loggers()
        fit = Fit(
            run.cfg.trainer.to_dict(),
            run.folder,
            epochs if checkpoint is None else epochs_to_train(checkpoint[1], epochs),
            self.data.steps_per_epoch,
            run.cfg.stage.batches_per_step,
            callbacks,
            validate_every,
            module,
            self.data,
            None if checkpoint is None else checkpoint[0],
        )
        if checkpoint is not None:
            print(f"resuming from epoch {checkpoint[1]['epoch'] + 1} of {epochs}: {shown_path(run.folder)}", flush=True)
        locks = [LockCheck(run.lock)] if run.lock is not None else []
        own = {"first": [*locks, *late], "loggers": loggers}
        if run.processes is None:
            fit.train(None, build_strategy(run), **own)
        else:
            run.processes.train(fit, run.folder, partial(fit.train, run.processes.launch, **own))
        frame.wait_for_loggers()
        run.check_lock()


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"


def build_training_setup(run: Run[Config[T]], source: Source) -> TrainingSetup[T]:
    """Read the data, and print what is trained on them, the run's folder and the notes of the data."""
    check_channels(run.cfg, source)
    data, cfg = load_images(run, source), run.cfg
    epochs, steps = _count(cfg.stage.epochs, "epoch"), _count(data.steps_per_epoch, "step")
    # Two lines, because one would break on a terminal of 80 columns.
    print(f"stage={cfg.stage.name} dataset={source.name}: {_count(len(data.indices), 'training image')}")
    print(f"{epochs} of {steps}, batch size {data.batch_size}")
    print(f"Run: {shown_path(run.folder)}", flush=True)
    for note in data.notes:
        print(note, flush=True)
    device = devices.resolve_device(cfg.trainer.accelerator)
    return TrainingSetup(run, source, data, device)


def load_images(run: Run[Config[T]], source: Source) -> ImageDataModule:
    """Read the run's data, cut to its label budget; split.csv records the split of each file of a folder.

    A stage that trains on all images gets them all.
    """
    cfg = run.cfg
    fraction = fraction_arguments(cfg, source)
    if cfg.stage.trains_on_all:
        fraction |= dict.fromkeys(("samples", "percent", "per_class", "imbalance_factor", "selection"))
    data = ImageDataModule(
        source,
        fraction,
        batch_size=cfg.stage.batch_size,
        seed=cfg.seed,
        accumulate=cfg.stage.batches_per_step,
        processes=cfg.trainer.processes,
        bank=cfg.stage.knn_bank,
        limit_steps=cfg.trainer.limit_steps,
        least_steps=cfg.stage.least_steps,
        validation=cfg.stage.validates_on(cfg.data_fraction.validation),
        parts=cfg.stage.parts,
        pair_patients=cfg.stage.pairs_patients,
        mask_patients=cfg.stage.masks_patients,
    )
    data.setup()
    parts = {"train": data.train.names} | ({"val": data.val.names} if data.validation == "split" else {})
    if all(names is not None for names in parts.values()):
        text = io.StringIO()
        rows = ((escape_cell(name), part) for part, names in parts.items() for name in names or ())
        csv.writer(text, lineterminator="\n").writerows([("file", "split"), *rows])
        write_text(run.folder / "split.csv", text.getvalue())
    return data


def fraction_arguments(cfg: Config[Any], source: Source) -> dict[str, Any]:
    """The group data_fraction as keyword arguments of `subsets.order_subset`.

    Raises:
        DataError: data_fraction.file does not fit the data set.
    """
    content = cfg.data_fraction.to_dict()
    for key in ("name", "validation", "selected_by", "selection_hash"):
        del content[key]
    file, samples = content.pop("file"), content["samples"]
    return content | {"selection": None if file is None else load_selected_rows(file, samples, source)}


def scored_splits(cfg: Config[Any]) -> tuple[Split, ...]:
    """Return the splits whose labels a stage reads that learns from labels; test last."""
    return ("train", "test") if cfg.data_fraction.validation == "within" else SPLITS


def build_strategy(run: Run[Config[Any]]) -> Any:
    """Lightning's strategy; one device needs no processes, and every flag starts them in one way."""
    strategy = run.cfg.trainer.strategy
    if run.cfg.trainer.processes == 1:
        return "auto"
    # Lightning's own start for auto and ddp repeats the command, which then waits for the lock of this run.
    return devices.spawn_ddp() if isinstance(strategy, str) else build.instantiate_node(strategy)


def build_optimizer(node: Option, named_parameters: Any, batch_size: int) -> torch.optim.Optimizer:
    """Build the optimizer of a config's node for these parameters (picklable with functools.partial).

    Args:
        node: of the config.
        named_parameters: of all networks.
        batch_size: images of a global batch, for an optimizer that scales its rate by it.
    """
    make = build.instantiate_partial(node)
    if isinstance(node, LARS) and node.batch_size is None:
        make = partial(make, batch_size=batch_size)
    if node._target_.startswith("torch.optim."):  # torch's own take no names
        made = make(params=[parameter for _, parameter in named_parameters if parameter.requires_grad])
    else:
        made = make(named_parameters=named_parameters)
    optimizer: torch.optim.Optimizer = made
    return optimizer


def schedule_builder(run: Run[Config[T]], steps_per_epoch: int) -> Callable[[], Callable[[int], float]]:
    """Return a picklable function that builds the schedule: optimizer step to factor on the learning rate."""
    steps = steps_per_epoch * run.cfg.stage.epochs
    return partial(build.instantiate_node, run.cfg.schedule, total_steps=steps, steps_per_epoch=steps_per_epoch)


def prepare_networks(cfg: Config[Pretrain] | Config[Supervised], encoder: Encoder, head: nn.Module) -> None:
    """Make batch norm common to all processes of the training, and freeze the layers of `stage.freeze`, in place."""
    if cfg.trainer.processes > 1:
        device_type = devices.resolve_device(cfg.trainer.accelerator).type
        convert_sync_batchnorm(encoder, device_type)
        convert_sync_batchnorm(head, device_type)
    if frozen := freeze_layers(encoder, cfg.stage.freeze):
        print(frozen, flush=True)
