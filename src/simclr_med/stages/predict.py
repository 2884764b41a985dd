"""Stage predict: a saved classifier's answers for images that nobody has labelled, as a table."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from simclr_med.atomic import write_atomically
from simclr_med.augment.sequence import to_float
from simclr_med.data.progress import progress
from simclr_med.data.source import Source
from simclr_med.evaluation.predict import predict_proba
from simclr_med.evaluation.predictions import Predictions
from simclr_med.metrics import classification
from simclr_med.runs.run import Run
from simclr_med.stages.saved_model import SavedModel, load_saved_model
from simclr_med.stages.setup import build_loggers, collect_provenance
from simclr_med.stages.summary import print_summary
from simclr_med.tracking.loggers import close_loggers, log_predictions
from simclr_med.training.devices import resolve_device


def predict(run: Run, source: Source) -> None:
    """Write predictions.csv: one row an image, split after split.

    The columns are file (of arrays: the split and the row), one probability a class, and predicted: the class, or of a
    multi-label set those with a probability above 0.5, separated by a vertical bar.
    """
    cfg, began = run.cfg, time.monotonic()
    if cfg.trainer.threads is not None:
        torch.set_num_threads(cfg.trainer.threads)
    folder: Any = run.init.run
    model = load_saved_model(Path(folder))
    target = run.folder / "predictions.csv"
    counts = dict.fromkeys(model.head.classes, 0)
    names: list[str] = []
    found: list[np.ndarray] = []

    def write(file: Any) -> None:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["file", *(f"probability/{name}" for name in model.head.classes), "predicted"])
        for name, probabilities_K, answer in _answers(
            model, source, cfg.stage.chunk, resolve_device(cfg.trainer.accelerator)
        ):
            writer.writerow([name, *(f"{p:.6g}" for p in probabilities_K), "|".join(answer)])
            names.append(name)
            found.append(probabilities_K)
            for one in answer:
                counts[one] += 1
        text.detach()

    logs = build_loggers(run)
    done = False
    try:
        write_atomically(target, write)
        if found:
            log_predictions(logs, Predictions(model.head.task, model.head.classes, np.stack(found), names=names))
        numbers: dict[str, float] = {f"predicted/{name}": count for name, count in counts.items()}
        for log in logs:
            log.log_metrics(numbers)
        wall_s = round(time.monotonic() - began, 3)
        facts = {**collect_provenance(run), "model": {"stage": model.stage, "dataset": model.dataset}}
        run.finish(numbers, {"wall_s": wall_s}, facts)
        done = True
    finally:
        close_loggers(logs, failed=not done)
    told = {name: str(count) for name, count in counts.items()}
    print_summary(f"{model.stage.capitalize()} of {model.dataset}: answers for {source.name}", told, run.folder, [])
    print(f"Table:    {target}")


def _answers(
    model: SavedModel, source: Source, chunk: int, where: torch.device
) -> Iterator[tuple[str, np.ndarray, list[str]]]:
    """(name, probabilities, answers) of every image of every split that is there."""
    task, classes = model.head.task, model.head.classes
    encoder, head = model.encoder.to(where), model.head.module.to(where)
    for split in source.present():
        found = source.split(split)
        with progress(f"Predicting {source.name} {split}", "images") as show:
            for start in range(0, len(found), chunk):
                images_BHWC = found.images[start : start + chunk]
                probabilities_BK = predict_proba(encoder, head, task, images_BHWC, to_float, where)
                predicted = classification.y_pred(task, probabilities_BK)
                for row in range(len(images_BHWC)):
                    place = start + row
                    name = found.names[place] if found.names is not None else f"{split}/{place}"
                    chosen = np.flatnonzero(predicted[row]) if predicted.ndim == 2 else [predicted[row]]
                    yield name, probabilities_BK[row], [classes[int(k)] for k in chosen]
                show(start + len(images_BHWC), len(found))
