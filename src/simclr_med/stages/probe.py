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
from simclr_med.data.datamodule import targets
from simclr_med.data.source import Source
from simclr_med.data.subsets import choose
from simclr_med.evaluation.cache import cache_key, cached
from simclr_med.evaluation.features import extract
from simclr_med.evaluation.knn import knn_scores
from simclr_med.evaluation.predict import answered
from simclr_med.evaluation.probe import FittedProbe, Labelled
from simclr_med.metrics import classification
from simclr_med.models.encoder_files import encoder_metadata, weights_hash
from simclr_med.models.encoders import ResNetEncoder
from simclr_med.models.head_files import save_head
from simclr_med.runs.identity import PROTOCOL_VERSION, scientific
from simclr_med.runs.run import Run
from simclr_med.stages.scoring import Scored, labels_of, learnable, on_test, told
from simclr_med.stages.setup import encoder_at_start, fraction_of, loggers, provenance
from simclr_med.stages.summary import summary
from simclr_med.tracking.loggers import close, log_answers
from simclr_med.training.devices import device
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
    logs = loggers(run)
    done = False
    try:
        scored = _probed(run, source)
        log_answers(logs, scored.answers)
        for log in logs:
            log.log_metrics(scored.metrics)
        wall_s = round(time.monotonic() - began, 3)
        facts = {**provenance(run), "protocol": PROTOCOL}
        run.finish(scored.metrics, {"wall_s": wall_s}, facts, scored.intervals, scored.tables)
        done = True
    finally:
        close(logs, failed=not done)
    summary(f"Probe on {cfg.dataset.name}", told(scored) | {"time": f"{wall_s:.1f} s"}, run.folder, [])


def _probed(run: Run, source: Source) -> Scored:
    cfg, task, classes = run.cfg, learnable(source, "probe"), len(source.classes)
    train_NL, val_ML = labels_of(source, "train", "probe"), labels_of(source, "val", "probe")
    rows, notes = choose(train_NL, len(train_NL), **fraction_of(cfg), classes=classes)
    for note in notes:
        print(note, flush=True)
    features = feature_reader(run, source)
    bank_ND = features("train")[torch.from_numpy(rows)]
    train, val = Labelled(bank_ND.numpy(), train_NL[rows]), Labelled(features("val").numpy(), val_ML)
    node = cfg.stage.solvers[cfg.stage.solver]
    fitted = build.built(node, train=train, val=val, task=task, classes=classes, seed=cfg.seed)
    head = _layer(fitted)
    save_head(run.folder / "head.safetensors", head, source.classes, task)
    chosen = classification.scores(task, val_ML, answered(head, task, features("val")))
    extra = {f"val/{name}": chosen[name] for name in ("accuracy", "auroc")} | fitted.told

    scored = on_test(
        source,
        train.labels_NL,
        lambda: answered(head, task, features("test")),
        run.folder,
        cfg.stage.resamples,
        [*notes],
    )
    near = knn_scores(features("test"), bank_ND, targets(train.labels_NL, classes), **cfg.stage.knn).numpy()
    test_ML = labels_of(source, "test", "probe")
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
    where = device(run.cfg.trainer.accelerator)
    facts = {
        "encoder": weights_hash(encoder.state_dict()),
        "moments": encoder_metadata(encoder),
        "data": [run.data_hash, scientific(run.cfg)["dataset"]],
        "device": where.type,
        "protocol_version": PROTOCOL_VERSION,
    }
    folder = Path(run.cfg.paths.runs).absolute() / ".features"

    def features(split: Split) -> Tensor:
        def compute() -> Tensor:
            return extract(encoder.to(where), source.split(split).images, to_float, where)

        return cached(folder, cache_key(split=split, **facts), compute)

    return features


def _start(run: Run) -> tuple[ResNetEncoder, str]:
    """The encoder and where it comes from; made once for the cells of a curve that share it."""
    seed = run.cfg.seed if run.origin.path is None else None
    key = repr((run.origin, OmegaConf.to_container(run.cfg.encoder), seed))
    if key not in _STARTS:
        _STARTS.clear()
        _STARTS[key] = encoder_at_start(run)
    return _STARTS[key]


def _layer(fitted: FittedProbe) -> nn.Linear:
    """The classifier as a layer, float64."""
    classes, width = fitted.weight_KD.shape
    layer = nn.Linear(width, classes, dtype=torch.float64)
    layer.load_state_dict({"weight": torch.from_numpy(fitted.weight_KD), "bias": torch.from_numpy(fitted.bias_K)})
    return layer.requires_grad_(False)
