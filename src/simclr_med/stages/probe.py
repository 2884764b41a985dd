"""Stage probe: what a linear classifier can read from the features of a frozen encoder."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from simclr_med import build
from simclr_med.augment.sequence import to_float
from simclr_med.data.datamodule import one_hot_targets
from simclr_med.data.source import Source
from simclr_med.data.subsets import select_subset
from simclr_med.evaluation.cache import cache_key, load_or_compute
from simclr_med.evaluation.features import extract_features
from simclr_med.evaluation.knn import knn_scores
from simclr_med.evaluation.predict import classify_features
from simclr_med.evaluation.probe import FittedProbe, Labelled
from simclr_med.metrics import classification
from simclr_med.models.encoder_files import encoder_metadata, weights_hash
from simclr_med.models.encoders import ResNetEncoder
from simclr_med.models.head_files import save_head
from simclr_med.runs.identity import PROTOCOL_VERSION, scientific_config
from simclr_med.runs.run import Run
from simclr_med.stages.scoring import Scored, load_labels, require_labels, score_test_split, summary_rows
from simclr_med.stages.setup import build_encoder, build_loggers, collect_provenance, fraction_arguments
from simclr_med.stages.summary import print_summary
from simclr_med.tracking.loggers import close_loggers, log_predictions
from simclr_med.training.devices import resolve_device
from simclr_med.types import Split

# The last encoder of this process; a probe leaves it as it is.
_STARTS: dict[str, tuple[ResNetEncoder, str]] = {}
PROTOCOL = "linear classifier on features computed once, in eval mode, from images without augmentation"


def probe(run: Run, source: Source) -> None:
    """Fit the classifier on the budget's features, choose its penalty on validation, score once on test."""
    cfg = run.cfg
    began = time.monotonic()
    if cfg.trainer.threads is not None:
        torch.set_num_threads(cfg.trainer.threads)
    logs = build_loggers(run)
    done = False
    try:
        scored = _probed(run, source)
        log_predictions(logs, scored.answers)
        for log in logs:
            log.log_metrics(scored.metrics)
        wall_s = round(time.monotonic() - began, 3)
        facts = {**collect_provenance(run), "protocol": PROTOCOL}
        run.finish(scored.metrics, {"wall_s": wall_s}, facts, scored.intervals, scored.tables)
        done = True
    finally:
        close_loggers(logs, failed=not done)
    print_summary(f"Probe on {cfg.dataset.name}", summary_rows(scored) | {"time": f"{wall_s:.1f} s"}, run.folder, [])


def _probed(run: Run, source: Source) -> Scored:
    cfg, task, classes = run.cfg, require_labels(source, "probe"), len(source.classes)
    train_NL, val_ML = load_labels(source, "train", "probe"), load_labels(source, "val", "probe")
    rows, notes = select_subset(train_NL, len(train_NL), **fraction_arguments(cfg), classes=classes)
    for note in notes:
        print(note, flush=True)
    features = feature_reader(run, source)
    bank_ND = features("train")[torch.from_numpy(rows)]
    train, val = Labelled(bank_ND.numpy(), train_NL[rows]), Labelled(features("val").numpy(), val_ML)
    node = cfg.stage.solvers[cfg.stage.solver]
    fitted = build.instantiate_node(node, train=train, val=val, task=task, classes=classes, seed=cfg.seed)
    head = _layer(fitted)
    save_head(run.folder / "head.safetensors", head, source.classes, task)
    chosen = classification.compute_scores(task, val_ML, classify_features(head, task, features("val")))
    extra = {f"val/{name}": chosen[name] for name in ("accuracy", "auroc")} | fitted.told

    scored = score_test_split(
        source,
        train.labels_NL,
        lambda: classify_features(head, task, features("test")),
        run.folder,
        cfg.stage.resamples,
        [*notes],
    )
    near = knn_scores(features("test"), bank_ND, one_hot_targets(train.labels_NL, classes), **cfg.stage.knn).numpy()
    test_ML = load_labels(source, "test", "probe")
    extra["test/knn_accuracy"] = classification.accuracy(task, test_ML, near)
    extra["test/knn_auroc"] = classification.auroc(task, test_ML, near)
    return scored.with_metrics({"train/images": len(rows), **extra})


def feature_reader(run: Run, source: Source) -> Callable[[Split], Tensor]:
    """Features of a split by the run's frozen encoder: from the cache of all runs, or computed into it."""
    encoder, origin = _start(run)
    print(f"Encoder: {origin}", flush=True)
    return reader_of(encoder, run, source)


def reader_of(encoder: ResNetEncoder, run: Run, source: Source) -> Callable[[Split], Tensor]:
    """`feature_reader` for an encoder that is there already."""
    where = resolve_device(run.cfg.trainer.accelerator)
    facts = {
        "encoder": weights_hash(encoder.state_dict()),
        "moments": encoder_metadata(encoder),
        "data": [run.data_hash, scientific_config(run.cfg)["dataset"]],
        "device": where.type,
        "protocol_version": PROTOCOL_VERSION,
    }
    folder = Path(run.cfg.paths.runs).absolute() / ".features"

    def features(split: Split) -> Tensor:
        def compute() -> Tensor:
            return extract_features(encoder.to(where), source.split(split).images, to_float, where)

        return load_or_compute(folder, cache_key(split=split, **facts), compute)

    return features


def _start(run: Run) -> tuple[ResNetEncoder, str]:
    """The encoder and where it comes from; made once for the cells of a curve that share it."""
    seed = run.cfg.seed if run.init.path is None else None
    key = repr((run.init, OmegaConf.to_container(run.cfg.encoder), seed))
    if key not in _STARTS:
        _STARTS.clear()
        _STARTS[key] = build_encoder(run)
    return _STARTS[key]


def _layer(fitted: FittedProbe) -> nn.Linear:
    """The classifier as a layer, float64."""
    classes, width = fitted.weight_KD.shape
    layer = nn.Linear(width, classes, dtype=torch.float64)
    layer.load_state_dict({"weight": torch.from_numpy(fitted.weight_KD), "bias": torch.from_numpy(fitted.bias_K)})
    return layer.requires_grad_(False)
