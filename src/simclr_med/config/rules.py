"""The rules that tie several keys of a config together; bounds of single keys stand beside their types."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

from simclr_med.config.batch_rules import cuda_graphs, micro_batches, same_patient
from simclr_med.config.bounds import is_finite
from simclr_med.config.channel_rules import broken_channel_rules
from simclr_med.config.corruptions import broken_families
from simclr_med.config.data_rules import broken_data_rules
from simclr_med.config.logger_rules import broken_logger_rules
from simclr_med.config.schema import Config, InitSaved, Multistep, WarmupCosine
from simclr_med.config.select_nodes import Select
from simclr_med.config.selection_keys import broken_selection_rules
from simclr_med.config.stage_kinds import Stage
from simclr_med.config.stage_nodes import Analyse, Audit, Export, Logistic, Predict, Preview, Probe, Report, Test
from simclr_med.config.training_nodes import Distill, Pretrain, Supervised
from simclr_med.config.training_rules import broken_training_rules
from simclr_med.runs.identity import LONGEST_SLUG, slug
from simclr_med.types import MULTI_LABEL

# Groups whose option's name becomes a part of a path.
PATH_GROUPS = ("dataset", "augmentation", "encoder", "init")
FORMATS = ("timm", "onnx", "torch")  # of stage=export
STRATEGIES = ("auto", "ddp", "ddp_spawn")  # names of Lightning's that fit one machine


def broken_rules(cfg: Config[Any]) -> Iterator[str]:
    """One sentence for each broken rule."""
    yield from _label_budget(cfg)
    yield from broken_selection_rules(cfg.data_fraction, cfg.stage)
    yield from _warmup(cfg)
    yield from _names(cfg)
    yield from broken_data_rules(cfg.dataset)
    yield from broken_channel_rules(cfg)
    yield from cuda_graphs(cfg)
    yield from broken_training_rules(cfg)
    yield from _milestones(cfg)
    yield from _targets(cfg)
    yield from _objective(cfg)
    yield from broken_logger_rules(cfg)
    yield from _stage(cfg, cfg.stage)
    yield from _teacher(cfg.stage)
    if isinstance(cfg.stage, Test):
        yield from broken_families(cfg.stage, cfg.dataset.name)


def _objective(cfg: Config[Any]) -> Iterator[str]:
    if cfg.objective is not None and not cfg.objective.startswith("val/"):
        yield (
            f"objective={cfg.objective}: expected a validation metric, since a choice never uses the test split. Use "
            "val/probe_auroc or val/knn_accuracy, for example."
        )


def use_default(key: str) -> str:
    """The remedy for a value that nothing better can be said about."""
    return f"Leave {key} out to use its default."


def _label_budget(cfg: Config[Any]) -> Iterator[str]:
    fraction = cfg.data_fraction
    amounts = {"samples": fraction.samples, "percent": fraction.percent, "per_class": fraction.per_class}
    given = [f"data_fraction.{name}={value}" for name, value in amounts.items() if value is not None]
    if len(given) > 1:
        yield f"{' '.join(given)}: more than one label budget. Keep one of them (data_fraction=full removes all)."
    if fraction.per_class is not None and fraction.imbalance_factor is not None:
        yield (
            f"data_fraction.imbalance_factor={fraction.imbalance_factor}: not available with data_fraction.per_class, "
            "which is balanced. Use data_fraction.samples, or remove one of them."
        )
    if cfg.dataset.known_task != MULTI_LABEL or cfg.stage.reason_unread("data_fraction"):
        return
    for key, value in {"per_class": fraction.per_class, "imbalance_factor": fraction.imbalance_factor}.items():
        if value is not None:
            yield (
                f"data_fraction.{key}={value}: not available for dataset={cfg.dataset.name}, whose images have several "
                "labels. Use data_fraction.samples or data_fraction.percent."
            )


def _warmup(cfg: Config[Any]) -> Iterator[str]:
    epochs = cfg.stage.schedule_epochs
    if isinstance(cfg.schedule, WarmupCosine) and epochs is not None and 0 < cfg.schedule.warmup_epochs >= epochs:
        yield (
            f"schedule.warmup_epochs={cfg.schedule.warmup_epochs}: expected less than stage.epochs={epochs}. Lower it."
        )


def _names(cfg: Config[Any]) -> Iterator[str]:
    options = {group: getattr(cfg, group) for group in ("stage", *PATH_GROUPS)}
    for group, option in options.items():
        if option.name and option.name != slug(option.name):
            yield (
                f"{group}.name={option.name}: expected at most {LONGEST_SLUG} letters, digits, underscores, dots and "
                f"dashes, without a dot or dash at the ends. Rename it, for example to {slug(option.name)}."
            )


def _folder(stage: Stage) -> Iterator[str]:
    if stage.folder is not None and (PurePath(stage.folder).name != stage.folder or stage.folder in ("", "..")):
        yield f"stage.folder={stage.folder}: expected the name of one folder, without a path. Rename it."


def _milestones(cfg: Config[Any]) -> Iterator[str]:
    lists = {}
    if isinstance(cfg.schedule, Multistep):
        lists["schedule.milestones"] = list(cfg.schedule.milestones)
    if isinstance(cfg.stage, Probe):
        lists["stage.solvers.sgd.milestones"] = list(cfg.stage.solvers.sgd.milestones)
    for key, values in lists.items():
        if not all(map(is_finite, values)):
            continue  # reported with the bounds
        if values != sorted(set(values)) or not all(0 < value < 1 for value in values):
            yield (
                f"{key}={values}: expected fractions of the training in (0, 1), in increasing order. {use_default(key)}"
            )


def _targets(cfg: Config[Any]) -> Iterator[str]:
    """Lists whose items are called: each names what."""
    for key, items in {"augmentation.ops": cfg.augmentation.ops, "logger.loggers": cfg.logger.loggers}.items():
        for item in items:
            if not isinstance(item, Mapping) or not isinstance(item.get("_target_"), str):
                yield f"{key}={item}: expected mappings with _target_. Write them as in conf/{key.split('.')[0]}."
    strategy = cfg.trainer.strategy
    is_known = isinstance(strategy.get("_target_"), str) if isinstance(strategy, Mapping) else strategy in STRATEGIES
    if not is_known:
        yield (
            f"trainer.strategy={strategy}: expected {' or '.join(STRATEGIES)}, or a mapping with _target_. "
            "Use trainer=auto, cpu, gpu or ddp_cpu instead."
        )


def _stage(cfg: Config[Any], stage: Stage) -> Iterator[str]:
    """The rules of one stage."""
    if not isinstance(stage, Report):  # its folder follows from its data sets
        yield from _folder(stage)
    if isinstance(stage, Pretrain):
        yield from micro_batches(stage, cfg.trainer)
        yield from same_patient(stage, cfg.dataset)
    yield from _strengths(stage)
    if isinstance(stage, Supervised) and 0 < stage.head_epochs >= stage.epochs:
        yield f"stage.head_epochs={stage.head_epochs}: expected less than stage.epochs={stage.epochs}. Lower it."
    if isinstance(stage, Report):
        yield from _report(cfg, stage)
    if isinstance(stage, Export):
        yield from _exported_run(cfg, stage)
        yield from _formats(stage)
    if isinstance(stage, Preview):
        yield from _sequences(stage)
    if isinstance(stage, Analyse):
        yield from _perplexities(stage)
    if isinstance(stage, (Test, Predict, Analyse)) and stage.run is not None and cfg.init.name != "model":
        yield f"init={cfg.init.name}: stage.run needs init=model, which uses the encoder of that run. Add init=model."


def _teacher(stage: Stage) -> Iterator[str]:
    if not isinstance(stage, Distill):
        return
    for text in stage.teacher_fields:
        if isinstance(text, str) and not (text.partition("=")[0] and "=" in text):
            yield f"stage.teacher_fields={text}: expected key=value. Write ['stage.projection_layers=1'], for example."
    if stage.teacher is not None and stage.teacher_fields:
        yield (
            f"stage.teacher_fields={list(stage.teacher_fields)}: not used with stage.teacher={stage.teacher}, which "
            "names the run. Remove one of them."
        )


def _strengths(stage: Stage) -> Iterator[str]:
    nodes: dict[str, Logistic] = {}
    if isinstance(stage, Probe):
        nodes["stage.solvers.logistic"] = stage.solvers.logistic
    if isinstance(stage, Audit):
        nodes["stage.classifier"] = stage.classifier
    if isinstance(stage, Select):
        nodes["stage.methods_with_labels.probe"] = stage.methods_with_labels.probe
    for key, node in nodes.items():
        if node.lowest > node.highest:
            yield f"{key}.lowest={node.lowest}: expected at most highest={node.highest}. Exchange the two."


def _exported_run(cfg: Config[Any], stage: Export) -> Iterator[str]:
    """The folder of an export is named after stage.run, so that no other model may be written there."""
    init = cfg.init
    if not isinstance(init, InitSaved):
        yield f"init={init.name}: not used by stage=export, which exports the model of stage.run. Remove it."
    elif init.run != stage.run:
        yield f"init.run={init.run}: not used by stage=export, which exports the model of stage.run. Remove it."


def _formats(stage: Export) -> Iterator[str]:
    unknown = [name for name in stage.format if name not in FORMATS]
    if unknown or not stage.format:
        yield f"stage.format={list(stage.format)}: expected some of {', '.join(FORMATS)}. Use stage.format=[onnx]."
    repository = stage.push_to_hub
    if repository is None:
        return
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        yield f"stage.push_to_hub={repository}: expected <user>/<name>. Correct it."
    elif "timm" not in stage.format:
        yield f"stage.push_to_hub={repository}: uploads the folder for timm. Add stage.format=[timm]."


def _sequences(stage: Preview) -> Iterator[str]:
    for name in stage.sequences:
        if isinstance(name, str) and name not in stage.options:
            yield (
                f"stage.sequences={name}: expected one of {', '.join(stage.options)}. Show a sequence of your own with "
                "augmentation=."
            )


def _perplexities(stage: Analyse) -> Iterator[str]:
    for value in stage.perplexities:
        if is_finite(value) and value < 1:
            yield f"stage.perplexities={value}: expected a number >= 1. {use_default('stage.perplexities')}"


def _report(cfg: Config[Any], stage: Report) -> Iterator[str]:
    if cfg.dataset.name != "synthetic":
        yield (
            f"dataset={cfg.dataset.name}: not used by stage=report, which reads runs and no data. Choose the data sets "
            f"with stage.datasets=[{cfg.dataset.name}]."
        )
    for name in stage.datasets:
        if isinstance(name, str) and name and name != slug(name):
            yield (
                f"stage.datasets={name}: expected the name of a folder of runs. Rename it, for example to {slug(name)}."
            )
