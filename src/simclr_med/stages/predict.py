"""Stage predict: write a saved classifier's predictions for images without labels as a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from simclr_med.atomic import write_atomically
from simclr_med.augment.sequence import to_float
from simclr_med.config import stage_nodes
from simclr_med.config.schema import Config
from simclr_med.csv_cells import escape_cell
from simclr_med.data.progress import show_progress
from simclr_med.data.source import Source
from simclr_med.evaluation.features import check_channels_of
from simclr_med.evaluation.predict import predict_proba
from simclr_med.evaluation.predictions import Predictions
from simclr_med.metrics import classification
from simclr_med.runs.run import Run
from simclr_med.stages.frame import Outcome, open_stage
from simclr_med.stages.saved_model import SavedModel, load_model_of
from simclr_med.training.devices import resolve_device


def predict(run: Run[Config[stage_nodes.Predict]], source: Source) -> None:
    """Write predictions.csv: one row for each image, split after split.

    The columns are file (of arrays: the split and the row), one probability for each class, and predicted: the class,
    or of a multi-label set those with a probability above 0.5, separated by a vertical bar.
    """
    with open_stage(run) as frame:
        model = load_model_of(run)
        check_channels_of(model.encoder, source.channels, f"dataset={source.name}")
        target = run.folder / "predictions.csv"
        counts = dict.fromkeys(model.head.classes, 0)
        names: list[str] = []
        found: list[np.ndarray] = []

        def write(file: Any) -> None:
            text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(["file", *(f"probability/{name}" for name in model.head.classes), "predicted"])
            device = resolve_device(run.cfg.trainer.accelerator)
            for name, probabilities_K, predicted in _predictions(model, source, run.cfg.stage.chunk, device):
                row = [escape_cell(name), *(f"{p:.6g}" for p in probabilities_K), escape_cell("|".join(predicted))]
                writer.writerow(row)
                names.append(name)
                found.append(probabilities_K)
                for one in predicted:
                    counts[one] += 1
            text.detach()

        frame.start_loggers()
        write_atomically(target, write)
        task, classes = model.head.task, model.head.classes
        frame.finish(
            Outcome(
                title=f"{model.stage.capitalize()} of {model.dataset}: predictions for {source.name}",
                rows={name: str(count) for name, count in counts.items()},
                metrics={f"predicted/{name}": count for name, count in counts.items()},
                facts={"model": {"stage": model.stage, "dataset": model.dataset}},
                predictions=Predictions(task, classes, np.stack(found), names=names) if found else None,
                tables_written=[target],
            )
        )


def _predictions(
    model: SavedModel, source: Source, chunk: int, device: torch.device
) -> Iterator[tuple[str, np.ndarray, list[str]]]:
    """(name, probabilities, predicted classes) of every image of every split that exists."""
    task, classes = model.head.task, model.head.classes
    encoder, head = model.encoder.to(device), model.head.module.to(device)
    for split in source.available_splits():
        found = source.split(split)
        with show_progress(f"Predicting {source.name} {split}", "images") as show:
            for start in range(0, len(found), chunk):
                images_BHWC = found.images[start : start + chunk]
                probabilities_BK = predict_proba(encoder, head, task, images_BHWC, to_float, device)
                predicted = classification.y_pred(task, probabilities_BK)
                for row in range(len(images_BHWC)):
                    place = start + row
                    name = found.names[place] if found.names is not None else f"{split}/{place}"
                    chosen = np.flatnonzero(predicted[row]) if predicted.ndim == 2 else [predicted[row]]
                    yield name, probabilities_BK[row], [classes[int(k)] for k in chosen]
                show(start + len(images_BHWC), len(found))
