"""What the stages share that train an encoder with a classifier: training, the kept epoch, and its scores on test."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import TypeVar

import numpy as np

from simclr_med.augment.sequence import to_float
from simclr_med.config.schema import Config
from simclr_med.config.training_nodes import ClassifierStage
from simclr_med.errors import CheckpointError
from simclr_med.evaluation.predict import predict_proba
from simclr_med.metrics_csv import read_rows
from simclr_med.models.checkpoints import load_checkpoint
from simclr_med.models.encoder_files import save_encoder
from simclr_med.models.encoder_hashes import encoder_hash
from simclr_med.models.head_files import save_head
from simclr_med.models.schedules import peak_step
from simclr_med.runs.run import Run
from simclr_med.stages.frame import Outcome, StageFrame, numerics_environment
from simclr_med.stages.scoring import Validated, require_task, score_test_split, summary_rows
from simclr_med.stages.setup import TrainingSetup
from simclr_med.training.callbacks.checkpoint import Checkpoints
from simclr_med.training.callbacks.early_stopping import EarlyStopping
from simclr_med.training.callbacks.metrics_csv import MetricsCsv
from simclr_med.training.callbacks.progress import ProgressLine
from simclr_med.training.classifier import METRICS, Classifier
from simclr_med.training.resume_check import find_weights_flaw

S = TypeVar("S", bound=ClassifierStage)

PANELS = (
    ("cross-entropy", ("train/loss", "val/loss")),
    ("validation", ("val/auroc", "val/accuracy", "val/balanced_accuracy")),
    ("gradient norm", ("train/gradient_norm",)),
)
BEST = "best.ckpt"  # there is none where the last epoch is kept
BEST_EPOCH, LAST_EPOCH = "the epoch with the best validation score is kept", "the last epoch is kept"


def train_classifier(setup: TrainingSetup[S], module: Classifier, frame: StageFrame) -> None:
    """Train, from a checkpoint where there is one; the epoch that `watched` selects is saved as best.ckpt."""
    run, stage = setup.run, setup.run.cfg.stage
    metric, higher = stage.watched, stage.watched != "val/loss"
    steps = setup.data.steps_per_epoch
    patience = stage.patience_epochs(steps) if len(setup.data.val) else stage.epochs
    # Weights of the warm-up are not kept: batch normalisation's statistics are still near their initial values.
    first = peak_step(module.schedule(), steps * stage.epochs) // steps
    callbacks = (
        MetricsCsv(setup.metrics_csv, METRICS),
        *([] if metric is None else [EarlyStopping(metric, higher, patience, first)]),
        Checkpoints(run.checkpoints, stage.checkpoint_every_s, numerics_environment(run), metric, higher, first),
        ProgressLine(setup.data.batch_size),
    )
    checkpoint = setup.find_checkpoint(module, callbacks)
    setup.fit(module, callbacks, frame, checkpoint)


def save_and_score(
    setup: TrainingSetup[S],
    module: Classifier,
    trained_NL: np.ndarray | None,
    labels: Mapping[str, float],
    protocol: str,
) -> Outcome:
    """Save the kept epoch's weights, score them on test and return the result; a resumed run can repeat all of it.

    Args:
        setup: of the stage.
        module: as training left it.
        trained_NL: labels that the classifier learned from, or None where they are not known.
        labels: metrics of `scoring.count_labels`.
        protocol: the training in words, for result.json.
    """
    run, data, source = setup.run, setup.data, setup.source
    cfg, task = run.cfg, require_task(source, run.cfg.stage.name)
    table = read_rows(setup.metrics_csv)
    best, epoch = _kept_weights(run, module, table)
    module.to(setup.device)
    encoder, head = module.kept()
    save_encoder(run.folder / "encoder.safetensors", encoder, {"config_hash": run.config_hash})
    save_head(run.folder / "head.safetensors", head, source.classes, task)
    digest = encoder_hash(encoder)
    validated = None
    if len(data.val) and data.val.labels is not None:
        probabilities_MK = predict_proba(encoder, head, task, data.val.images, to_float, setup.device)
        validated = Validated(probabilities_MK, data.val.labels)
    scored = score_test_split(
        source,
        trained_NL,
        lambda: predict_proba(encoder, head, task, source.split("test").images, to_float, setup.device),
        run.folder,
        cfg.stage.resamples,
        data.notes,
        validated,
    ).with_metrics(
        {
            **best,
            **labels,
            "train/best_epoch": epoch,
            "train/epochs": len(table),
            "train/best_step": int(table[epoch - 1]["step"]),
            "train/steps": int(table[-1]["step"]),
        }
    )
    # Imported here, because it would delay the start of training.
    from simclr_med.plots.training import plot_training_curves

    picture = setup.figures / "training.png"
    plot_training_curves(setup.metrics_csv, picture, PANELS)
    images_per_s = round(statistics.median(float(row["train/images_per_s"]) for row in table), 1)
    steps = f"step {table[epoch - 1]['step']} of {table[-1]['step']}"
    rows = {"kept epoch": f"{epoch} of {len(table)} ({steps})", "speed": f"{images_per_s:.0f} images/s"}
    return Outcome(
        title=f"{cfg.stage.name.capitalize()} on {cfg.dataset.name}",
        rows=summary_rows(scored) | rows,
        metrics=scored.metrics,
        intervals=scored.intervals,
        tables=scored.tables,
        timing={"wall_s": float(table[-1]["wall_s"]), "images_per_s": images_per_s},
        facts={
            "protocol": protocol + (BEST_EPOCH if (run.checkpoints / BEST).exists() else LAST_EPOCH),
            "encoder_hash": digest,
        },
        pictures=[picture],
        predictions=scored.predictions,
        images=lambda: source.split("test").images,
        # The validation scores of the kept epoch are in the history already.
        logged={name: value for name, value in scored.metrics.items() if name not in best},
    )


def _kept_weights(run: Run[Config[S]], module: Classifier, table: list[dict[str, str]]) -> tuple[dict[str, float], int]:
    """Load the kept epoch's weights into the module; return its validation scores and its number, from 1."""
    path = run.checkpoints / BEST
    epoch = len(table)
    if path.exists():
        content = load_checkpoint(path)
        flaw = find_weights_flaw(content, module, epochs=epoch)
        if flaw is not None:
            raise CheckpointError(f"checkpoint={path}: unusable ({flaw}). Start the run again with overwrite=true.")
        module.load_state_dict(content["state_dict"], strict=True)
        epoch = int(content["epoch"]) + 1
    elif run.cfg.stage.watched is not None:
        print(f"{run.cfg.stage.watched} is not defined on the validation images: the last epoch is kept.")
    row = table[epoch - 1]
    names = ("val/loss", "val/accuracy", "val/auroc")
    return {name: float(row[name]) for name in names if row[name] and not np.isnan(float(row[name]))}, epoch
