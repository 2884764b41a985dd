"""Stages finetune and baseline: encoder and classifier trained on the labels of a budget. One code path."""

from __future__ import annotations

import statistics
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from simclr_med import build
from simclr_med.augment.sequence import OneView, to_float
from simclr_med.data.datamodule import ImageDataModule
from simclr_med.data.source import Source
from simclr_med.errors import RunError
from simclr_med.evaluation.predict import predict_proba
from simclr_med.models.checkpoints import load_checkpoint
from simclr_med.models.encoder_files import save_encoder, weights_hash
from simclr_med.models.head_files import load_projection, save_head
from simclr_med.models.heads import classifier_on, linear_head
from simclr_med.models.optimizers import build_layerwise_optimizer
from simclr_med.models.sync_batchnorm import convert_sync_batchnorm
from simclr_med.plots.training import plot_training_curves
from simclr_med.runs.run import Run
from simclr_med.stages import setup
from simclr_med.stages.scoring import Scored, require_labels, require_task, score_test_split, summary_rows
from simclr_med.stages.summary import print_summary
from simclr_med.tracking.loggers import close_loggers, log_pictures, log_predictions
from simclr_med.training.callbacks.checkpoint import Checkpoints, find_resumable
from simclr_med.training.callbacks.early_stopping import EarlyStopping
from simclr_med.training.callbacks.metrics_csv import MetricsCsv, read_rows
from simclr_med.training.callbacks.progress import ProgressLine
from simclr_med.training.classifier import METRICS, Classifier, balanced_weights
from simclr_med.training.devices import resolve_device
from simclr_med.training.trainer import build_trainer

PANELS = (
    ("cross-entropy", ("train/loss", "val/loss")),
    ("on validation", ("val/auroc", "val/accuracy", "val/balanced_accuracy")),
    ("gradient norm", ("train/gradient_norm",)),
)
PROTOCOL = "encoder and classifier trained together; the epoch that validation likes best is kept"


def supervised(run: Run, source: Source) -> None:
    """Train, keep the best epoch on validation, score it once on test. Goes on from what an earlier attempt saved."""
    cfg = run.cfg
    if cfg.trainer.threads is not None:
        torch.set_num_threads(cfg.trainer.threads)
    require_labels(source, cfg.stage.name)
    data = setup.load_images(run, source)
    for note in data.notes:
        print(note, flush=True)
    module = build_module(run, data)
    loggers = setup.build_loggers(run)
    done = False
    try:
        watched, higher = f"val/{cfg.stage.select_by}", cfg.stage.select_by != "loss"
        patience = cfg.stage.epochs if cfg.stage.patience is None else cfg.stage.patience
        saved = find_resumable(run.checkpoints)
        stopped = saved is not None and _has_stopped(saved[1])
        fitter = build_trainer(
            cfg.trainer,
            setup.build_strategy(run),
            run.folder,
            saved[1]["epoch"] + 1 if saved is not None and stopped else cfg.stage.epochs,
            data.steps_per_epoch,
            1,
            callbacks=(
                MetricsCsv(run.folder / "metrics.csv", METRICS),
                EarlyStopping(watched, higher, patience),
                Checkpoints(
                    run.checkpoints, cfg.stage.checkpoint_every_s, setup.numerics_environment(run), watched, higher
                ),
                ProgressLine(data.batch_size),
            ),
            loggers=loggers,
        )
        if saved is not None:
            print(f"Going on after epoch {saved[1]['epoch'] + 1} of {cfg.stage.epochs}: {run.folder}", flush=True)
        fitter.fit(module, datamodule=data, ckpt_path=saved and saved[0], weights_only=True)
        final = _conclude(run, source, data, module)
        log_pictures(loggers, run.folder.glob("figures/*.png"))
        log_predictions(loggers, final.answers, lambda: source.split("test").images)
        # Of the epoch that was kept, the scores on validation are in the history.
        numbers = {name: value for name, value in final.metrics.items() if not name.startswith("val/")}
        for logger in loggers:
            logger.log_metrics(numbers)
        done = True
    finally:
        close_loggers(loggers, failed=not done)


def build_module(run: Run, data: ImageDataModule) -> Classifier:
    """The classifier as the run's config says, at its first step."""
    cfg, classes = run.cfg, len(data.source.classes)
    encoder, origin = setup.build_encoder(run)
    print(f"Starting from {origin}", flush=True)
    with setup.seeded_init(cfg.seed, setup.HEAD):
        head = _head(run, encoder.features, classes)
    if cfg.trainer.devices > 1:
        convert_sync_batchnorm(encoder), convert_sync_batchnorm(head)
    task = require_task(data.source, cfg.stage.name)
    labels_NL = data.train.labels[data.indices] if data.train.labels is not None else None
    assert labels_NL is not None, "the stage asked for labels"
    steps = data.steps_per_epoch
    return Classifier(
        encoder,
        head,
        OneView(build.instantiate_node(cfg.augmentation)),
        to_float,
        task,
        optimizer=partial(
            build_layerwise_optimizer, partial(setup.build_optimizer, cfg.optimizer), decay=cfg.stage.layer_decay
        ),
        schedule=partial(
            build.instantiate_node, cfg.schedule, total_steps=steps * cfg.stage.epochs, steps_per_epoch=steps
        ),
        class_weight_K=balanced_weights(task, labels_NL, classes) if cfg.stage.class_weights == "balanced" else None,
        validation=data,
    )


def _head(run: Run, features: int, classes: int) -> nn.Module:
    if run.cfg.stage.projection_layers == 0:
        return linear_head(features, classes)
    if run.init.run is None:
        raise RunError(
            f"stage.projection_layers=1: must start from a pretraining run (init=pretrained), whose projection head it "
            f"takes; init={run.cfg.init.name} has none. Set stage.projection_layers=0."
        )
    try:
        return classifier_on(load_projection(run.init.run / "projection_head.safetensors"), features, classes)
    except ValueError as error:
        raise RunError(f"stage.projection_layers=1: {error}. Set stage.projection_layers=0.") from error


def _has_stopped(checkpoint: dict[str, Any]) -> bool:
    """Whether patience had ended the run when this state was saved."""
    states = checkpoint.get("callbacks", {})
    return bool(states.get(EarlyStopping.__name__, {}).get("ended", False))


def _conclude(run: Run, source: Source, data: ImageDataModule, module: Classifier) -> Scored:
    """From trained weights to a finished run; everything here can be done again after a kill."""
    cfg, task = run.cfg, require_task(source, run.cfg.stage.name)
    table = read_rows(run.folder / "metrics.csv")
    best, epoch = _best_weights(run, module, table)
    state = module.encoder.state_dict()
    save_encoder(run.folder / "encoder.safetensors", module.encoder, {"config_hash": run.config_hash})
    save_head(run.folder / "head.safetensors", module.head, source.classes, task)
    where = resolve_device(cfg.trainer.accelerator)
    module.to(where)
    labels: Any = data.train.labels
    result = score_test_split(
        source,
        labels[data.indices],
        lambda: predict_proba(module.encoder, module.head, task, source.split("test").images, to_float, where),
        run.folder,
        cfg.stage.resamples,
        data.notes,
    ).with_metrics({**best, "train/images": len(data.indices), "train/best_epoch": epoch, "train/epochs": len(table)})
    picture = _picture(run.folder)
    rates = [float(row["train/images_per_s"]) for row in table]
    timing = {"wall_s": float(table[-1]["wall_s"]), "images_per_s": round(statistics.median(rates), 1)}
    facts = {**setup.collect_provenance(run), "protocol": PROTOCOL, "encoder_hash": weights_hash(state)}
    run.finish(result.metrics, timing, facts, result.intervals, result.tables)
    rows_told = summary_rows(result) | {
        "best epoch": f"{epoch} of {len(table)}",
        "time": f"{timing['wall_s']:.0f} s, {timing['images_per_s']:.0f} images/s",
    }
    print_summary(f"{cfg.stage.name.capitalize()} on {cfg.dataset.name}", rows_told, run.folder, [picture])
    return result


def _best_weights(run: Run, module: Classifier, table: list[dict[str, str]]) -> tuple[dict[str, float], int]:
    """Put the best epoch's weights into the module; its validation scores and its number, from 1."""
    path = run.checkpoints / "best.ckpt"
    epoch = len(table)
    if path.exists():
        content = load_checkpoint(path)
        module.load_state_dict(content["state_dict"], strict=True)
        epoch = int(content["epoch"]) + 1
    else:
        print(f"val/{run.cfg.stage.select_by} is not defined on this validation split: the last epoch is kept.")
    row = table[epoch - 1]
    names = ("val/loss", "val/accuracy", "val/auroc")
    return {name: float(row[name]) for name in names if row[name] and not np.isnan(float(row[name]))}, epoch


def _picture(folder: Path) -> Path:
    (folder / "figures").mkdir(exist_ok=True)
    target = folder / "figures" / "training.png"
    plot_training_curves(folder / "metrics.csv", target, PANELS)
    return target
