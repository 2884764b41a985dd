"""Stage test: score a saved classifier on a test split, its own or that of another data set with the same classes."""

from __future__ import annotations

from simclr_med.augment.sequence import to_float
from simclr_med.config import stage_nodes
from simclr_med.config.schema import Config
from simclr_med.data.source import Source
from simclr_med.evaluation.predict import predict_proba
from simclr_med.runs.run import Run
from simclr_med.stages.frame import Outcome, open_stage
from simclr_med.stages.saved_model import check_classes, load_model_of
from simclr_med.stages.scoring import require_task, score_test_split, summary_rows
from simclr_med.stages.subgroups import check_subgroups, load_subgroups, save_subgroups
from simclr_med.training.devices import resolve_device


def test(run: Run[Config[stage_nodes.Test]], source: Source) -> None:
    """Score the model on the test split and record what `stages.scoring` does."""
    with open_stage(run) as frame:
        model = load_model_of(run)
        task = require_task(source, "test")
        notes = check_classes(model, source.classes, task, source.name)
        check_subgroups(run)
        device = resolve_device(run.cfg.trainer.accelerator)
        encoder, head = model.encoder.to(device), model.head.module.to(device)
        frame.start_loggers()
        scored = score_test_split(
            source,
            None,
            lambda: predict_proba(encoder, head, task, source.split("test").images, to_float, device),
            run.folder,
            run.cfg.stage.resamples,
            notes,
        )
        save_subgroups(run.folder, load_subgroups(run, source))
        frame.finish(
            Outcome(
                title=f"{model.stage.capitalize()} of {model.dataset} on {source.name}",
                rows=summary_rows(scored),
                metrics=scored.metrics,
                intervals=scored.intervals,
                tables=scored.tables,
                facts={"model": {"stage": model.stage, "dataset": model.dataset}},
                predictions=scored.predictions,
                images=lambda: source.split("test").images,
            )
        )
