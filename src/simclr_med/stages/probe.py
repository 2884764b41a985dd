"""Stage probe: a linear classifier on the features of a frozen encoder."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from simclr_med import build
from simclr_med.augment.sequence import to_float
from simclr_med.config.schema import Config
from simclr_med.config.stage_nodes import Probe
from simclr_med.data.datamodule import one_hot_targets
from simclr_med.data.source import Source
from simclr_med.data.subsets import select_subset
from simclr_med.evaluation.cache import cache_key, load_or_compute
from simclr_med.evaluation.features import extract_features
from simclr_med.evaluation.knn import knn_scores
from simclr_med.evaluation.logistic_path import Labelled
from simclr_med.evaluation.predict import classify_features
from simclr_med.evaluation.probe import FittedProbe
from simclr_med.metrics import classification
from simclr_med.models.encoder_hashes import encoder_hash
from simclr_med.models.encoders import Encoder
from simclr_med.models.head_files import save_head
from simclr_med.runs.identity import PROTOCOL_VERSION, scientific_config
from simclr_med.runs.run import Run
from simclr_med.stages.confounders import probe_confounders
from simclr_med.stages.frame import Outcome, open_stage
from simclr_med.stages.network import build_encoder, check_channels
from simclr_med.stages.scoring import (
    Scored,
    Validated,
    count_labels,
    load_labels,
    require_labels,
    score_test_split,
    summary_rows,
)
from simclr_med.stages.setup import fraction_arguments, scored_splits
from simclr_med.stages.subgroups import check_subgroups, load_subgroups, save_subgroups
from simclr_med.training.devices import resolve_device
from simclr_med.types import Split, Task

PROTOCOL = "linear classifier on features computed once, in eval mode, from images without augmentation"


def probe(run: Run[Config[Probe]], source: Source) -> None:
    """Fit the classifier on the budget's features, choose its regularisation on validation, score once on test."""
    with open_stage(run) as frame:
        frame.start_loggers()
        scored = _fit_and_score(run, source)
        frame.finish(
            Outcome(
                title=f"Probe on {run.cfg.dataset.name}",
                rows=summary_rows(scored),
                metrics=scored.metrics,
                intervals=scored.intervals,
                tables=scored.tables,
                facts={"protocol": PROTOCOL},
                predictions=scored.predictions,
            )
        )


def _fit_and_score(run: Run[Config[Probe]], source: Source) -> Scored:
    cfg, classes = run.cfg, len(source.classes)
    task = require_labels(source, "probe", scored_splits(cfg))
    check_subgroups(run)
    train_NL = load_labels(source, "train", "probe")
    rows, notes = select_subset(train_NL, len(train_NL), **fraction_arguments(cfg, source), classes=classes)
    for note in notes:
        print(note, flush=True)
    features = feature_reader(run, source)
    bank_ND = features("train")[torch.from_numpy(rows)]
    train, val = Labelled(bank_ND.numpy(), train_NL[rows]), None
    if cfg.data_fraction.validation == "split":
        val = Labelled(features("val").numpy(), load_labels(source, "val", "probe"))
    solver = cfg.stage.solvers.chosen(cfg.stage.solver)
    fitted = build.instantiate_node(
        solver, train=train, val=val, task=task, classes=classes, seed=cfg.seed, cache=run.cache
    )
    for note in fitted.notes:
        print(note, flush=True)
    head = fitted.layer()
    save_head(run.folder / "head.safetensors", head, source.classes, task)
    extra = {**fitted.stats, **count_labels(trained=len(rows), chosen_by=0)}
    validated = None
    if fitted.probabilities_MK is not None:
        chosen_by = train if val is None else val
        validated = Validated(fitted.probabilities_MK, chosen_by.labels_NL)
        chosen = classification.compute_scores(task, chosen_by.labels_NL, fitted.probabilities_MK)
        further = 0 if val is None else len(val.labels_NL)  # cross-validation uses the labels of the budget
        extra |= count_labels(trained=len(rows), chosen_by=further)
        extra |= {f"val/{name}": chosen[name] for name in ("accuracy", "auroc")}

    scored = score_test_split(
        source,
        train.labels_NL,
        lambda: classify_features(head, task, features("test")),
        run.folder,
        cfg.stage.resamples,
        [*notes, *fitted.notes],
        validated,
    )
    metadata = load_subgroups(run, source)
    save_subgroups(run.folder, metadata)
    probe_confounders(run.folder, metadata, features, partial(_fit_confounder, run))
    near = knn_scores(
        features("test"), bank_ND, one_hot_targets(train.labels_NL, classes), **cfg.stage.knn.to_dict()
    ).numpy()
    test_ML = load_labels(source, "test", "probe")
    extra["test/knn_accuracy"] = classification.accuracy(task, test_ML, near)
    extra["test/knn_auroc"] = classification.auroc(task, test_ML, near)
    return scored.with_metrics(extra)


def _fit_confounder(run: Run[Config[Probe]], train: Labelled, task: Task, classes: int) -> FittedProbe:
    """Fit the logistic probe to another column than the labels; cross-validation chooses its strength."""
    solver = run.cfg.stage.solvers.chosen("logistic")
    fitted: FittedProbe = build.instantiate_node(
        solver, train=train, val=None, task=task, classes=classes, seed=run.cfg.seed, cache=run.cache
    )
    return fitted


def feature_reader(run: Run[Config[Any]], source: Source) -> Callable[[Split], Tensor]:
    """Return a function from a split to its features by the run's frozen encoder, cached for all runs."""
    check_channels(run.cfg, source)
    encoder, weights = _start(run)
    if not run.is_one_of_several:
        print(f"Encoder: {weights}", flush=True)
    return reader_of(encoder, run, source)


def reader_of(encoder: Encoder, run: Run[Config[Any]], source: Source) -> Callable[[Split], Tensor]:
    """`feature_reader` for an encoder that is loaded already."""
    where = resolve_device(run.cfg.trainer.accelerator)
    facts = {
        "encoder": encoder_hash(encoder),
        "data": [run.data_hash, scientific_config(run.plain)["dataset"]],
        "device": where.type,
        "protocol_version": PROTOCOL_VERSION,
    }
    folder = Path(run.cfg.paths.runs).absolute() / ".features"

    def features(split: Split) -> Tensor:
        def compute() -> Tensor:
            return extract_features(encoder.to(where), source.split(split).images, to_float, where)

        return load_or_compute(folder, cache_key(split=split, **facts), compute)

    return features


def _start(run: Run[Config[Any]]) -> tuple[Encoder, str]:
    """The encoder and where its weights come from; built once for the runs of a job that share it.

    A probe leaves its encoder unchanged, so that the next run can use it.
    """
    key = repr((run.init, run.cfg.encoder.to_dict()))
    return run.cache.get_or_build("encoder", key, lambda: build_encoder(run))
