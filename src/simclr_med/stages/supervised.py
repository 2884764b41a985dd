"""Stages finetune and baseline: train encoder and classifier on the labels of a budget."""

from __future__ import annotations

import statistics
from functools import partial
from typing import Any

import numpy as np
from torch import nn

from simclr_med import build
from simclr_med.augment.sequence import OneView, to_float
from simclr_med.config.schema import Config
from simclr_med.config.stage_nodes import Supervised
from simclr_med.data.datamodule import ImageDataModule
from simclr_med.data.source import Source
from simclr_med.errors import CheckpointError, RunError
from simclr_med.evaluation.predict import predict_proba
from simclr_med.metrics_csv import read_rows
from simclr_med.models.checkpoints import load_checkpoint
from simclr_med.models.encoder_files import encoder_hash, save_encoder
from simclr_med.models.freezing import freeze_layers
from simclr_med.models.head_files import load_projection, save_head
from simclr_med.models.heads import classifier_on, linear_head
from simclr_med.models.optimizers import build_layerwise_optimizer
from simclr_med.models.schedules import peak_step
from simclr_med.models.sync_batchnorm import convert_sync_batchnorm
from simclr_med.runs.file_hashes import verify_files
from simclr_med.runs.run import Run
from simclr_med.stages.frame import Outcome, numerics_environment, open_stage
from simclr_med.stages.network import build_encoder, seeded_init
from simclr_med.stages.scoring import (
    Validated,
    count_labels,
    require_labels,
    require_task,
    score_test_split,
    summary_rows,
)
from simclr_med.stages.setup import (
    TrainingSetup,
    build_optimizer,
    build_training_setup,
    schedule_builder,
    scored_splits,
)
from simclr_med.stages.subgroups import check_subgroups, load_subgroups, save_subgroups
from simclr_med.streams import Stream
from simclr_med.training.callbacks.checkpoint import Checkpoints
from simclr_med.training.callbacks.early_stopping import EarlyStopping
from simclr_med.training.callbacks.metrics_csv import MetricsCsv
from simclr_med.training.callbacks.progress import ProgressLine
from simclr_med.training.classifier import METRICS, Classifier, balanced_weights
from simclr_med.training.devices import resolve_device
from simclr_med.training.resume_check import find_weights_flaw

PANELS = (
    ("cross-entropy", ("train/loss", "val/loss")),
    ("validation", ("val/auroc", "val/accuracy", "val/balanced_accuracy")),
    ("gradient norm", ("train/gradient_norm",)),
)
PROTOCOL = "encoder and classifier trained together; "
BEST_EPOCH, LAST_EPOCH = "the epoch with the best validation score is kept", "the last epoch is kept"


def supervised(run: Run[Config[Supervised]], source: Source) -> None:
    """Train, score the epoch that `select_by` keeps once on test; resume from a checkpoint."""
    stage = run.cfg.stage
    with open_stage(run) as frame:
        require_labels(source, stage.name, scored_splits(run.cfg))
        check_subgroups(run)
        setup = build_training_setup(run, source)
        module = build_module(run, setup.data)
        metric, higher = stage.watched, stage.select_by != "loss"
        steps = setup.data.steps_per_epoch
        patience = stage.patience_epochs(steps) if len(setup.data.val) else stage.epochs
        # Weights of the warm-up are not kept: batch normalisation's statistics are still near their initial values.
        first = peak_step(module.schedule(), steps * stage.epochs) // steps
        callbacks = (
            MetricsCsv(setup.metrics_csv, METRICS),
            *([] if metric is None else [EarlyStopping(metric, higher, patience, first)]),
            Checkpoints(run.checkpoints, stage.checkpoint_every_s, numerics_environment(run), metric, higher, first),
            ProgressLine(setup.data.batch_size),
        )
        checkpoint = setup.find_checkpoint(module, callbacks)
        setup.fit(module, callbacks, frame, checkpoint)
        outcome = _save_and_score(setup, module)
        save_subgroups(run.folder, load_subgroups(run, source))
        frame.finish(outcome)


def build_module(run: Run[Config[Supervised]], data: ImageDataModule) -> Classifier:
    """Build the classifier from the run's config, at its first step."""
    cfg, classes = run.cfg, len(data.source.classes)
    encoder, weights = build_encoder(run)
    print(f"Starting from {weights}", flush=True)
    with seeded_init(cfg.seed, Stream.HEAD):
        head = _head(run, encoder.width, classes)
    if cfg.trainer.processes > 1:
        device_type = resolve_device(cfg.trainer.accelerator).type
        convert_sync_batchnorm(encoder, device_type)
        convert_sync_batchnorm(head, device_type)
    if frozen := freeze_layers(encoder, cfg.stage.freeze):
        print(frozen, flush=True)
    task = require_task(data.source, cfg.stage.name)
    labels_NL = data.train.labels[data.indices] if data.train.labels is not None else None
    assert labels_NL is not None, "the stage requires labels"
    return Classifier(
        encoder,
        head,
        OneView(build.instantiate_node(cfg.augmentation)),
        to_float,
        task,
        optimizer=partial(
            build_layerwise_optimizer,
            partial(build_optimizer, cfg.optimizer),
            decay=cfg.stage.layer_decay,
            groups=encoder.layer_groups(),
            encoder_lr=cfg.stage.encoder_lr,
            split=cfg.stage.head_epochs > 0,
        ),
        schedule=schedule_builder(run, data.steps_per_epoch),
        class_weight_K=balanced_weights(task, labels_NL, classes) if cfg.stage.class_weights == "balanced" else None,
        validation=data,
        label_smoothing=cfg.stage.label_smoothing,
        head_epochs=cfg.stage.head_epochs,
        steps_per_epoch=data.steps_per_epoch,
        ema_decay=cfg.stage.ema_decay,
    )


def _head(run: Run[Config[Supervised]], features: int, classes: int) -> nn.Module:
    if run.cfg.stage.projection_layers == 0:
        return linear_head(features, classes)
    if run.init.run is None:
        raise RunError(
            f"stage.projection_layers=1: init={run.cfg.init.name} has no projection head; only a pretraining run "
            "(init=pretrained) has one. Set stage.projection_layers=0."
        )
    path = run.init.run / "projection_head.safetensors"
    try:
        verify_files(run.init.run, path.name)  # `build_encoder` has printed the note, if any
        return classifier_on(load_projection(path), features, classes)
    except ValueError as error:
        raise RunError(f"stage.projection_layers=1: {error}. Set stage.projection_layers=0.") from error


def _save_and_score(setup: TrainingSetup[Supervised], module: Classifier) -> Outcome:
    """Save the best epoch's weights, score them on test and return the result; a resumed run can repeat all of it."""
    run, data, source = setup.run, setup.data, setup.source
    cfg, task = run.cfg, require_task(source, run.cfg.stage.name)
    table = read_rows(setup.metrics_csv)
    best, epoch = _best_weights(run, module, table)
    module.to(setup.device)
    encoder, head = module.kept()
    save_encoder(run.folder / "encoder.safetensors", encoder, {"config_hash": run.config_hash})
    save_head(run.folder / "head.safetensors", head, source.classes, task)
    digest = encoder_hash(encoder)
    labels: Any = data.train.labels
    validated = None
    if len(data.val) and data.val.labels is not None:
        probabilities_MK = predict_proba(encoder, head, task, data.val.images, to_float, setup.device)
        validated = Validated(probabilities_MK, data.val.labels)
    scored = score_test_split(
        source,
        labels[data.indices],
        lambda: predict_proba(encoder, head, task, source.split("test").images, to_float, setup.device),
        run.folder,
        cfg.stage.resamples,
        data.notes,
        validated,
    ).with_metrics(
        {
            **best,
            **count_labels(trained=len(data.indices), chosen_by=0 if cfg.stage.watched is None else len(data.val)),
            "train/best_epoch": epoch,
            "train/epochs": len(table),
            "train/best_step": int(table[epoch - 1]["step"]),
            "train/steps": int(table[-1]["step"]),
        }
    )
    # Imported here, because it would delay the start of training.
    from simclr_med.plots.training import plot_training_curves

    picture = setup.figures / "training.png"
    plot_training_curves(setup.metrics_csv, picture, PANELS)
    images_per_s = round(statistics.median(float(row["train/images_per_s"]) for row in table), 1)
    steps = f"step {table[epoch - 1]['step']} of {table[-1]['step']}"
    rows = {"best epoch": f"{epoch} of {len(table)} ({steps})", "speed": f"{images_per_s:.0f} images/s"}
    return Outcome(
        title=f"{cfg.stage.name.capitalize()} on {cfg.dataset.name}",
        rows=summary_rows(scored) | rows,
        metrics=scored.metrics,
        intervals=scored.intervals,
        tables=scored.tables,
        timing={"wall_s": float(table[-1]["wall_s"]), "images_per_s": images_per_s},
        facts={
            "protocol": PROTOCOL + (LAST_EPOCH if cfg.stage.watched is None else BEST_EPOCH),
            "encoder_hash": digest,
        },
        pictures=[picture],
        predictions=scored.predictions,
        images=lambda: source.split("test").images,
        # The validation scores of the best epoch are in the history already.
        logged={name: value for name, value in scored.metrics.items() if name not in best},
    )


def _best_weights(
    run: Run[Config[Supervised]], module: Classifier, table: list[dict[str, str]]
) -> tuple[dict[str, float], int]:
    """Load the best epoch's weights into the module; return its validation scores and its number, from 1."""
    path = run.checkpoints / "best.ckpt"
    epoch = len(table)
    if path.exists():
        content = load_checkpoint(path)
        flaw = find_weights_flaw(content, module, epochs=epoch)
        if flaw is not None:
            raise CheckpointError(f"checkpoint={path}: unusable ({flaw}). Start the run again with overwrite=true.")
        module.load_state_dict(content["state_dict"], strict=True)
        epoch = int(content["epoch"]) + 1
    elif run.cfg.stage.watched is not None:
        print(f"{run.cfg.stage.watched} is not defined on the validation images: the last epoch is kept.")
    row = table[epoch - 1]
    names = ("val/loss", "val/accuracy", "val/auroc")
    return {name: float(row[name]) for name in names if row[name] and not np.isnan(float(row[name]))}, epoch
