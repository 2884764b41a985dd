"""Stages finetune and baseline: train encoder and classifier on the labels of a budget."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import nn

from simclr_med.augment.sequence import OneView, to_float
from simclr_med.config.schema import Config
from simclr_med.config.training_nodes import Supervised
from simclr_med.data.datamodule import ImageDataModule
from simclr_med.data.source import Source
from simclr_med.errors import RunError
from simclr_med.models.head_files import load_projection
from simclr_med.models.heads import classifier_on, linear_head
from simclr_med.models.optimizers import build_layerwise_optimizer
from simclr_med.runs.file_hashes import verify_files
from simclr_med.runs.run import Run
from simclr_med.stages.classifier import save_and_score, train_classifier
from simclr_med.stages.frame import open_stage
from simclr_med.stages.network import build_encoder, build_sequence, seeded_init
from simclr_med.stages.scoring import count_labels, require_labels, require_task
from simclr_med.stages.setup import (
    build_optimizer,
    build_training_setup,
    prepare_networks,
    schedule_builder,
    scored_splits,
)
from simclr_med.stages.subgroups import check_subgroups, load_subgroups, save_subgroups
from simclr_med.streams import Stream
from simclr_med.training.classifier import Classifier, balanced_weights

PROTOCOL = "encoder and classifier trained together; "


def supervised(run: Run[Config[Supervised]], source: Source) -> None:
    """Train, score the epoch that `select_by` keeps once on test; resume from a checkpoint."""
    stage = run.cfg.stage
    with open_stage(run) as frame:
        require_labels(source, stage.name, scored_splits(run.cfg))
        check_subgroups(run)
        setup = build_training_setup(run, source)
        module = build_module(run, setup.data)
        train_classifier(setup, module, frame)
        data = setup.data
        labels: Any = data.train.labels
        counts = count_labels(trained=len(data.indices), chosen_by=0 if stage.watched is None else len(data.val))
        outcome = save_and_score(setup, module, labels[data.indices], counts, PROTOCOL)
        save_subgroups(run.folder, load_subgroups(run, source))
        frame.finish(outcome)


def build_module(run: Run[Config[Supervised]], data: ImageDataModule) -> Classifier:
    """Build the classifier from the run's config, at its first step."""
    cfg, classes = run.cfg, len(data.source.classes)
    encoder, weights = build_encoder(run)
    print(f"Starting from {weights}", flush=True)
    with seeded_init(cfg.seed, Stream.HEAD):
        head = _head(run, encoder.width, classes)
    prepare_networks(cfg, encoder, head)
    task = require_task(data.source, cfg.stage.name)
    labels_NL = data.train.labels[data.indices] if data.train.labels is not None else None
    assert labels_NL is not None, "the stage requires labels"
    return Classifier(
        encoder,
        head,
        OneView(build_sequence(cfg, data.source)),
        to_float,
        task,
        optimizer=partial(
            build_layerwise_optimizer,
            partial(build_optimizer, cfg.optimizer, batch_size=data.batch_size),
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
