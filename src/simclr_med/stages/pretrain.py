"""Stage pretrain: train an encoder on unlabelled images with SimCLR."""

from __future__ import annotations

import statistics
from functools import partial
from pathlib import Path

import numpy as np
import torch

from simclr_med.augment.sequence import TwoViews, to_float
from simclr_med.config.schema import Config
from simclr_med.config.training_nodes import Pretrain
from simclr_med.data.datamodule import ImageDataModule
from simclr_med.data.source import Source
from simclr_med.errors import DataError
from simclr_med.evaluation.monitors import fallen_metrics, measure_encoder
from simclr_med.metrics_csv import read_rows
from simclr_med.models.encoder_files import save_encoder
from simclr_med.models.encoder_hashes import encoder_hash
from simclr_med.models.head_files import save_projection
from simclr_med.models.heads import projection_head
from simclr_med.runs.run import Run
from simclr_med.stages.frame import Outcome, numerics_environment, open_stage
from simclr_med.stages.network import build_encoder, build_sequence, seeded_init
from simclr_med.stages.setup import (
    TrainingSetup,
    build_optimizer,
    build_training_setup,
    prepare_networks,
    schedule_builder,
)
from simclr_med.streams import Stream
from simclr_med.training.callbacks.checkpoint import Checkpoints
from simclr_med.training.callbacks.collapse import CollapseGuard
from simclr_med.training.callbacks.metrics_csv import MetricsCsv
from simclr_med.training.callbacks.progress import ProgressLine
from simclr_med.training.simclr import METRICS, SimCLR

MONITORS = {"val/knn_accuracy": "validation kNN accuracy", "val/probe_auroc": "validation probe AUROC"}
PANELS = (
    ("kNN and linear probe on validation", tuple(MONITORS)),
    ("NT-Xent loss", ("train/loss", "val/loss")),
    ("contrastive accuracy", ("train/top1", "train/top5")),
    ("mean rank of the other view", ("train/mean_rank",)),
    ("alignment of the views", ("train/alignment",)),
    ("uniformity", ("train/uniformity",)),
    ("effective rank of the features", ("train/effective_rank",)),
    ("feature std", ("train/feature_std",)),
    ("gradient norm", ("train/gradient_norm",)),
    ("learning rate", ("train/learning_rate",)),
    ("images/s", ("train/images_per_s",)),
)


def pretrain(run: Run[Config[Pretrain]], source: Source) -> None:
    """Train, save the encoder, draw the pictures and record the result; resume from a checkpoint where there is one."""
    stage = run.cfg.stage
    with open_stage(run) as frame:
        setup = build_training_setup(run, source)
        _check_images(setup)
        module = build_module(run, setup.data)
        callbacks = (
            MetricsCsv(setup.metrics_csv, METRICS),
            CollapseGuard(**stage.collapse.to_dict(), width=module.encoder.width),
            Checkpoints(run.checkpoints, stage.checkpoint_every_s, numerics_environment(run)),
            ProgressLine(setup.data.batch_size // stage.batches_per_step),
        )
        checkpoint = setup.find_checkpoint(module, callbacks)
        setup.fit(module, callbacks, frame, checkpoint, validate_every=stage.monitor_every)
        frame.finish(_save_and_measure(setup, module))


def _check_images(setup: TrainingSetup[Pretrain]) -> None:
    """Refuse training images that are all equal, and print where negatives come from.

    Raises:
        DataError: all training images are the same.
    """
    data, stage = setup.data, setup.run.cfg.stage
    if data.has_identical_images():
        raise DataError(
            f"dataset={setup.run.cfg.dataset.name}: all training images are the same. Check the data, or use another "
            "set."
        )
    if stage.accumulate > 1:
        images, micro_batch = data.batch_size, f"a micro-batch of {data.batch_size // stage.accumulate}"
        exact = f"all {images} images, statistics of batch norm from {micro_batch}"
        source = exact if stage.exact_accumulate else f"{micro_batch} of {images} images"
        print(f"stage.accumulate={stage.accumulate}: negatives come from {source}.", flush=True)


def build_module(run: Run[Config[Pretrain]], data: ImageDataModule) -> SimCLR:
    """Build SimCLR from the run's config, at its first step."""
    cfg = run.cfg
    encoder, weights = build_encoder(run)
    if run.init.path is not None:
        print(f"Starting from {weights}", flush=True)
    hidden = cfg.stage.head.hidden or encoder.width
    with seeded_init(cfg.seed, Stream.HEAD):
        head = projection_head(encoder.width, **cfg.stage.head.to_dict() | {"hidden": hidden})
    prepare_networks(cfg, encoder, head)
    return SimCLR(
        encoder,
        head,
        TwoViews(build_sequence(cfg, data.source)),
        to_float,
        optimizer=partial(build_optimizer, cfg.optimizer, batch_size=data.batch_size),
        schedule=schedule_builder(run, data.steps_per_epoch),
        temperature=cfg.stage.temperature,
        validation=data,
        knn=(cfg.stage.knn.k, cfg.stage.knn.temperature),
        parts=cfg.stage.parts,
    )


def _save_and_measure(setup: TrainingSetup[Pretrain], module: SimCLR) -> Outcome:
    """Save the trained weights and return the result; a resumed run can repeat all of it."""
    run, data = setup.run, setup.data
    table = read_rows(setup.metrics_csv)
    final = {name: float(table[-1][name]) for name in METRICS if table[-1][name]}
    start, _ = build_encoder(run, announce=False)
    before = measure_encoder(start.to(setup.device), data.knn_sets(), to_float, setup.device, *module.knn)
    final |= {f"{name}_before": value for name, value in before.items()}
    digest = encoder_hash(module.encoder)
    save_encoder(run.folder / "encoder.safetensors", module.encoder, {"config_hash": run.config_hash})
    save_projection(run.folder / "projection_head.safetensors", module.head)
    rates = [float(row["train/images_per_s"]) for row in table]
    images_per_s = round(statistics.median(rates), 1)
    return Outcome(
        title=f"Pretraining on {run.cfg.dataset.name}",
        rows=_summary_rows(final, data) | {"speed": f"{images_per_s:.0f} images/s"},
        metrics=final,
        timing={"wall_s": float(table[-1]["wall_s"]), "images_per_s": images_per_s},
        facts={"encoder_hash": digest},
        pictures=_pictures(setup, module, final),
        logged={},  # each epoch's metrics are logged already
    )


def _summary_rows(final: dict[str, float], data: ImageDataModule) -> dict[str, str]:
    rows = {"images": f"{len(data.indices):,}", "loss": f"{final['train/loss']:.3f}"}
    if "val/loss" in final:
        rows["validation loss"] = f"{final['val/loss']:.3f}"
    rows["effective rank"] = f"{final['train/effective_rank']:.1f}"
    for name, title in MONITORS.items():
        if {name, f"{name}_before"} <= set(final):
            rows[title] = f"{final[name]:.3f} (before training: {final[f'{name}_before']:.3f})"
    if fallen := fallen_metrics(final):
        rows["warning"] = f"{' and '.join(MONITORS[name] for name in fallen)} ended below the start"
    return rows


def _pictures(setup: TrainingSetup[Pretrain], module: SimCLR, final: dict[str, float]) -> list[Path]:
    # Imported here, because it would delay the start of training.
    from simclr_med.plots.training import plot_training_curves, plot_views

    cfg, data = setup.run.cfg, setup.data
    curves, sheet = setup.figures / "training.png", setup.figures / "views.png"
    start = "untrained encoder" if setup.run.init.path is None else "before training"
    marks = {name: (start, final[f"{name}_before"]) for name in MONITORS if f"{name}_before" in final}
    candidates = 2 * (data.batch_size // cfg.stage.batches_per_step) - 1
    marks |= {f"train/top{k}": ("chance", min(1.0, k / candidates)) for k in (1, 5)}
    plot_training_curves(setup.metrics_csv, curves, PANELS, marks)
    chosen = data.indices[:: max(1, len(data.indices) // 6)][:6]
    originals = np.ascontiguousarray(data.train.images[chosen])
    batch = torch.from_numpy(originals)
    pairs = [module.views(batch, (cfg.seed, 0, step), (0, len(batch)), len(batch)).chunk(2) for step in range(3)]
    views = torch.stack([view for pair in pairs for view in pair][:5], dim=1)
    plot_views(originals, views.permute(0, 1, 3, 4, 2).numpy(), sheet, f"augmentation={cfg.augmentation.name}")
    return [curves, sheet]
