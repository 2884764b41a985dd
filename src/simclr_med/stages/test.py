"""Stage test: a saved classifier on a test split, its own or that of another data set with the same classes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

from simclr_med.augment.sequence import to_float
from simclr_med.data.source import Source
from simclr_med.evaluation.predict import predict_proba
from simclr_med.runs.run import Run
from simclr_med.stages.saved_model import check_classes, load_saved_model
from simclr_med.stages.scoring import require_task, score_test_split, summary_rows
from simclr_med.stages.setup import build_loggers, collect_provenance
from simclr_med.stages.summary import print_summary
from simclr_med.tracking.loggers import close_loggers, log_predictions
from simclr_med.training.devices import resolve_device


def test(run: Run, source: Source) -> None:
    """Score the model on the test split and record what `stages.scoring` does."""
    cfg, began = run.cfg, time.monotonic()
    if cfg.trainer.threads is not None:
        torch.set_num_threads(cfg.trainer.threads)
    folder: Any = run.init.run
    model = load_saved_model(Path(folder))
    task = require_task(source, "test")
    notes = check_classes(model, source.classes, task, source.name)
    where = resolve_device(cfg.trainer.accelerator)
    encoder, head = model.encoder.to(where), model.head.module.to(where)
    logs = build_loggers(run)
    done = False
    try:
        result = score_test_split(
            source,
            None,
            lambda: predict_proba(encoder, head, task, source.split("test").images, to_float, where),
            run.folder,
            cfg.stage.resamples,
            notes,
        )
        log_predictions(logs, result.answers, lambda: source.split("test").images)
        for log in logs:
            log.log_metrics(result.metrics)
        wall_s = round(time.monotonic() - began, 3)
        facts = {**collect_provenance(run), "model": {"stage": model.stage, "dataset": model.dataset}}
        run.finish(result.metrics, {"wall_s": wall_s}, facts, result.intervals, result.tables)
        done = True
    finally:
        close_loggers(logs, failed=not done)
    print_summary(
        f"{model.stage.capitalize()} of {model.dataset} on {source.name}", summary_rows(result), run.folder, []
    )
