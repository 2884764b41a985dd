"""Stage distill: train a classifier on the predictions of another one, the third step of SimCLRv2."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch

from simclr_med.augment.sequence import OneView, to_float
from simclr_med.config.schema import Config
from simclr_med.config.training_nodes import Distill
from simclr_med.data.datamodule import ImageDataModule
from simclr_med.data.source import Source
from simclr_med.data.subsets import select_subset
from simclr_med.errors import CheckpointError
from simclr_med.evaluation.features import check_channels_of
from simclr_med.models.heads import linear_head
from simclr_med.models.sync_batchnorm import convert_sync_batchnorm
from simclr_med.runs.fields import Fields
from simclr_med.runs.names import shown_path
from simclr_med.runs.run import Run
from simclr_med.safe_files import read_json
from simclr_med.stages.classifier import save_and_score, train_classifier
from simclr_med.stages.frame import open_stage
from simclr_med.stages.network import build_encoder, build_sequence, seeded_init
from simclr_med.stages.saved_model import SavedModel, check_classes, load_saved_model
from simclr_med.stages.scoring import require_labels, require_task
from simclr_med.stages.setup import (
    build_optimizer,
    build_training_setup,
    fraction_arguments,
    schedule_builder,
    scored_splits,
)
from simclr_med.stages.subgroups import check_subgroups, load_subgroups, save_subgroups
from simclr_med.streams import Stream
from simclr_med.training.devices import resolve_device
from simclr_med.training.distillation import Student, Teacher

PROTOCOL = "encoder and classifier trained together on the predictions of a teacher; "


def distill(run: Run[Config[Distill]], source: Source) -> None:
    """Train a student, score its last epoch once on test; resume from a checkpoint."""
    with open_stage(run) as frame:
        require_labels(source, run.cfg.stage.name, scored_splits(run.cfg))
        check_subgroups(run)
        folder = None if run.init.teacher is None else run.init.teacher.run
        assert folder is not None, "the stage finds a teacher"
        counts = _count_labels(folder)
        teacher = load_saved_model(folder, [Path(own) for own in run.cfg.paths.own], run.cfg.allow_code)
        task = require_task(source, run.cfg.stage.name)
        for note in check_classes(teacher, source.classes, task, source.name):
            print(note, flush=True)
        check_channels_of(teacher.encoder, source.channels, f"dataset={source.name}")
        setup = build_training_setup(run, source)
        labelled_N = _select_labelled(run.cfg, setup.data)
        is_alone = run.cfg.stage.alpha == 1
        learned = "no label is used" if is_alone else f"{np.count_nonzero(labelled_N):,} labels are used as well"
        print(f"Teacher: {shown_path(folder)} ({learned})", flush=True)
        module = build_module(run, setup.data, teacher, labelled_N)
        train_classifier(setup, module, frame)
        labels_NL = setup.data.train.labels
        assert labels_NL is not None, "the stage requires labels"
        trained_NL = labels_NL[labelled_N] if teacher.dataset == source.name else None
        outcome = save_and_score(setup, module, trained_NL, counts, PROTOCOL)
        save_subgroups(run.folder, load_subgroups(run, source))
        frame.finish(outcome)


def build_module(
    run: Run[Config[Distill]], data: ImageDataModule, teacher: SavedModel, labelled_N: np.ndarray
) -> Student:
    """Build the student from the run's config, at its first step.

    Args:
        run, data: of the stage.
        teacher: with the classes of the data.
        labelled_N: bool, the training images of the label budget.
    """
    cfg = run.cfg
    encoder, weights = build_encoder(run)
    print(f"Starting from {weights}", flush=True)
    with seeded_init(cfg.seed, Stream.HEAD):
        head = linear_head(encoder.width, len(data.source.classes))
    if cfg.trainer.processes > 1:
        convert_sync_batchnorm(encoder, resolve_device(cfg.trainer.accelerator).type)
    return Student(
        encoder=encoder,
        head=head,
        view=OneView(build_sequence(cfg, data.source)),
        to_float=to_float,
        task=require_task(data.source, cfg.stage.name),
        optimizer=partial(build_optimizer, cfg.optimizer, batch_size=data.batch_size),
        schedule=schedule_builder(run, data.steps_per_epoch),
        class_weight_K=None,
        validation=data,
        teacher=Teacher(teacher.encoder, teacher.head.module),
        temperature=cfg.stage.temperature,
        alpha=cfg.stage.alpha,
        labelled_N=torch.from_numpy(labelled_N),
    )


def _select_labelled(cfg: Config[Distill], data: ImageDataModule) -> np.ndarray:
    """Return which images of the training split the label budget selects, bool [N]."""
    classes = len(data.source.classes)
    rows, _ = select_subset(data.train.labels, len(data.train), **fraction_arguments(cfg, data.source), classes=classes)
    labelled_N = np.zeros(len(data.train), bool)
    labelled_N[rows] = True
    return labelled_N


def _count_labels(folder: Path) -> Mapping[str, float]:
    """Return the metrics of the labels that a teacher used, which its student's result uses too.

    Raises:
        CheckpointError: the teacher's result cannot be read.
    """
    path, names = folder / "result.json", ("train/images", "val/images")
    try:
        metrics = Fields.from_record(read_json(path)).fields("metrics")
        counts = {name: metrics.number(name, 0) for name in names}
        return counts | {"budget/labels": sum(counts.values())}
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: its labels cannot be counted ({error}). Use another teacher.") from error
