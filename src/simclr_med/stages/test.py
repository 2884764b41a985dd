"""Stage test: score a saved classifier on a test split, its own or that of another data set with the same classes."""

from __future__ import annotations

from functools import partial

from simclr_med.augment.sequence import to_float
from simclr_med.config import stage_nodes
from simclr_med.config.corruptions import find_family
from simclr_med.config.schema import Config
from simclr_med.data.source import Source
from simclr_med.evaluation.features import check_channels_of
from simclr_med.evaluation.predict import predict_proba
from simclr_med.runs.run import Run
from simclr_med.stages.corruptions import check_corruptions, score_corruptions
from simclr_med.stages.foreign_images import open_foreign, score_foreign_images
from simclr_med.stages.frame import Outcome, open_stage
from simclr_med.stages.saved_model import check_classes, load_model_of
from simclr_med.stages.scoring import load_labels, require_task, score_test_split, summary_rows
from simclr_med.stages.subgroups import check_subgroups, load_subgroups, save_subgroups
from simclr_med.training.devices import resolve_device


def test(run: Run[Config[stage_nodes.Test]], source: Source) -> None:
    """Score the model on the test split and record what `stages.scoring` does.

    With stage.corruptions=true it also scores corrupted images. With stage.ood it also measures how well scores detect
    the images of other data sets.
    """
    cfg = run.cfg
    with open_stage(run) as frame:
        model = load_model_of(run)
        task = require_task(source, "test")
        notes = check_classes(model, source.classes, task, source.name)
        check_channels_of(model.encoder, source.channels, f"dataset={source.name}")
        check_subgroups(run)
        check_corruptions(cfg, source)
        others = open_foreign(cfg, source)
        device = resolve_device(cfg.trainer.accelerator)
        encoder, head = model.encoder.to(device), model.head.module.to(device)
        predict = partial(predict_proba, encoder, head, task, to_float=to_float, device=device)
        frame.start_loggers()
        scored = score_test_split(
            source, None, lambda: predict(source.split("test").images), run.folder, cfg.stage.resamples, notes
        )
        save_subgroups(run.folder, load_subgroups(run, source))
        rows, intervals, written = summary_rows(scored), dict(scored.intervals), []
        facts = {"model": {"stage": model.stage, "dataset": model.dataset}}
        if cfg.stage.corruptions:
            images, labels = source.split("test").images, load_labels(source, "test", "test")
            corrupted = score_corruptions(cfg, task, images, labels, predict, device)
            scored = scored.with_metrics(corrupted.metrics)
            intervals |= corrupted.intervals
            written.append(corrupted.save(run.folder))
            rows |= corrupted.summary_rows()
            facts["corruptions"] = {"family": find_family(cfg.stage, cfg.dataset.name)}
        if others:
            foreign = score_foreign_images(cfg, model, source, others, device)
            scored = scored.with_metrics(foreign.metrics)
            intervals |= foreign.intervals
            rows |= foreign.summary_rows()
            facts["ood"] = foreign.hashes
            for note in foreign.notes:
                print(note, flush=True)
            scored.tables["notes"].extend(foreign.notes)
        frame.finish(
            Outcome(
                title=f"{model.stage.capitalize()} of {model.dataset} on {source.name}",
                rows=rows,
                metrics=scored.metrics,
                intervals=intervals,
                tables=scored.tables,
                facts=facts,
                tables_written=written,
                predictions=scored.predictions,
                images=lambda: source.split("test").images,
            )
        )
