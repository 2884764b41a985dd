"""Stage pretrain: an encoder from unlabelled images, by SimCLR."""

from __future__ import annotations

import statistics
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf

from simclr_med import build
from simclr_med.augment.sequence import TwoViews, to_float
from simclr_med.data.datamodule import ImageDataModule
from simclr_med.data.source import Source
from simclr_med.errors import DataError
from simclr_med.evaluation.knn import validation_knn_accuracy
from simclr_med.models.encoder_files import save_encoder, weights_hash
from simclr_med.models.head_files import save_projection
from simclr_med.models.heads import projection_head
from simclr_med.models.sync_batchnorm import convert_sync_batchnorm
from simclr_med.plots.training import plot_training_curves, plot_views
from simclr_med.runs.run import Run
from simclr_med.stages.setup import (
    HEAD,
    build_encoder,
    build_optimizer,
    build_strategy,
    collect_provenance,
    load_images,
    numerics_environment,
    seeded_init,
)
from simclr_med.stages.setup import build_loggers as loggers_of
from simclr_med.stages.summary import print_summary
from simclr_med.tracking.loggers import close_loggers, log_pictures
from simclr_med.training.callbacks.checkpoint import Checkpoints, find_resumable
from simclr_med.training.callbacks.collapse import CollapseGuard
from simclr_med.training.callbacks.metrics_csv import MetricsCsv, read_rows
from simclr_med.training.callbacks.progress import ProgressLine
from simclr_med.training.devices import resolve_device
from simclr_med.training.simclr import METRICS, SimCLR
from simclr_med.training.trainer import build_trainer

PANELS = (
    ("NT-Xent loss", ("train/loss", "val/loss")),
    ("contrastive accuracy", ("train/top1", "train/top5")),
    ("mean rank of the other view", ("train/mean_rank",)),
    ("kNN accuracy on validation", ("val/knn_accuracy",)),
    ("alignment of the views", ("train/alignment",)),
    ("uniformity", ("train/uniformity",)),
    ("effective rank of the features", ("train/effective_rank",)),
    ("feature std", ("train/feature_std",)),
    ("gradient norm", ("train/gradient_norm",)),
    ("learning rate", ("train/learning_rate",)),
    ("images/s", ("train/images_per_s",)),
)


def pretrain(run: Run, source: Source) -> None:
    """Train, export the encoder, draw the pictures, record the result. Goes on from what an earlier attempt saved."""
    cfg = run.cfg
    if cfg.trainer.threads is not None:
        torch.set_num_threads(cfg.trainer.threads)
    data = load_images(run, source)
    if data.all_alike():
        raise DataError(
            f"dataset={cfg.dataset.name}: must hold images that differ; all training images are the same. "
            "Look at the data, or use another set."
        )
    for note in data.notes:
        print(note, flush=True)
    if cfg.stage.accumulate > 1:
        told = f"{data.batch_size // cfg.stage.accumulate} of {data.batch_size} images"
        print(f"stage.accumulate={cfg.stage.accumulate}: negatives come from a micro-batch of {told}.", flush=True)
    module = build_module(run, data)
    loggers = loggers_of(run)
    done = False
    try:
        fitter = build_trainer(
            cfg.trainer,
            build_strategy(run),
            run.folder,
            cfg.stage.epochs,
            data.steps_per_epoch,
            cfg.stage.accumulate,
            callbacks=(
                MetricsCsv(run.folder / "metrics.csv", METRICS),
                CollapseGuard(**cfg.stage.collapse, width=module.encoder.features),
                Checkpoints(run.checkpoints, cfg.stage.checkpoint_every_s, numerics_environment(run)),
                ProgressLine(data.batch_size // cfg.stage.accumulate),
            ),
            loggers=loggers,
        )
        saved = find_resumable(run.checkpoints)
        if saved is not None:
            print(f"Going on after epoch {saved[1]['epoch'] + 1} of {cfg.stage.epochs}: {run.folder}", flush=True)
        fitter.fit(module, datamodule=data, ckpt_path=saved and saved[0], weights_only=True)
        _conclude(run, data, module)
        log_pictures(loggers, run.folder.glob("figures/*.png"))
        done = True
    finally:
        close_loggers(loggers, failed=not done)


def build_module(run: Run, data: ImageDataModule) -> SimCLR:
    """SimCLR as the run's config says, at its first step."""
    cfg = run.cfg
    encoder, told = build_encoder(run)
    if run.init.path is not None:
        print(f"Starting from {told}", flush=True)
    with seeded_init(cfg.seed, HEAD):
        head = projection_head(encoder.features, **_head(cfg.stage.head, encoder.features))
    if cfg.trainer.devices > 1:
        convert_sync_batchnorm(encoder), convert_sync_batchnorm(head)
    steps = data.steps_per_epoch
    return SimCLR(
        encoder,
        head,
        TwoViews(build.instantiate_node(cfg.augmentation)),
        to_float,
        optimizer=partial(build_optimizer, cfg.optimizer),
        schedule=partial(
            build.instantiate_node, cfg.schedule, total_steps=steps * cfg.stage.epochs, steps_per_epoch=steps
        ),
        temperature=cfg.stage.temperature,
        looks=data,
        look_every=cfg.stage.monitor_every,
        knn=(cfg.stage.knn.k, cfg.stage.knn.temperature),
    )


def _conclude(run: Run, data: ImageDataModule, module: SimCLR) -> None:
    """From trained weights to a finished run; everything here can be done again after a kill."""
    table = read_rows(run.folder / "metrics.csv")
    final = {name: float(table[-1][name]) for name in METRICS if table[-1][name]}
    start, _ = build_encoder(run)
    where = resolve_device(run.cfg.trainer.accelerator)
    before = validation_knn_accuracy(start.to(where), data.knn_sets(), to_float, where, *module.knn)
    if before is not None:
        final["val/knn_accuracy_before"] = before
    state = module.encoder.state_dict()
    digest = weights_hash(state)
    save_encoder(run.folder / "encoder.safetensors", module.encoder, {"config_hash": run.config_hash})
    save_projection(run.folder / "projection_head.safetensors", module.head)
    pictures = _pictures(run, data, module)
    rates = [float(row["train/images_per_s"]) for row in table]
    timing = {"wall_s": float(table[-1]["wall_s"]), "images_per_s": round(statistics.median(rates), 1)}
    run.finish(final, timing, {**collect_provenance(run), "encoder_hash": digest})
    print_summary(f"Pretrained on {run.cfg.dataset.name}", _told(final, timing, data), run.folder, pictures)


def _told(final: dict[str, float], timing: dict[str, float], data: ImageDataModule) -> dict[str, str]:
    told = {"images": str(len(data.indices)), "loss": f"{final['train/loss']:.3f}"}
    if "val/loss" in final:
        told["loss on validation"] = f"{final['val/loss']:.3f}"
    told["effective rank"] = f"{final['train/effective_rank']:.1f}"
    if "val/knn_accuracy" in final:
        now, before = final["val/knn_accuracy"], final["val/knn_accuracy_before"]
        told["kNN accuracy on validation"] = f"{now:.3f} (before: {before:.3f})"
    return told | {"time": f"{timing['wall_s']:.0f} s, {timing['images_per_s']:.0f} images/s"}


def _pictures(run: Run, data: ImageDataModule, module: SimCLR) -> list[Path]:
    folder = run.folder / "figures"
    folder.mkdir(exist_ok=True)
    curves, sheet = folder / "training.png", folder / "views.png"
    plot_training_curves(run.folder / "metrics.csv", curves, PANELS)
    chosen = data.indices[:: max(1, len(data.indices) // 6)][:6]
    originals = np.ascontiguousarray(data.train.images[chosen])
    batch = torch.from_numpy(originals)
    looks = [module.views(batch, (run.cfg.seed, 0, step), (0, len(batch)), len(batch)).chunk(2) for step in range(3)]
    views = torch.stack([view for pair in looks for view in pair][:5], dim=1)
    plot_views(originals, views.permute(0, 1, 3, 4, 2).numpy(), sheet, f"augmentation={run.cfg.augmentation.name}")
    return [curves, sheet]


def _head(node: Any, features: int) -> dict[str, Any]:
    content: Any = OmegaConf.to_container(node)
    return content | {"hidden": content["hidden"] or features}
