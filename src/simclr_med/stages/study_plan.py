"""The steps of a study: their commands, their cost, and what the study can conclude."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

from simclr_med.config.budgets import budget_problems, parse_budget
from simclr_med.config.schema import Config
from simclr_med.config.stage_nodes import Study
from simclr_med.errors import ConfigError
from simclr_med.stages.study_foundation import foundation_problems, foundation_steps
from simclr_med.stages.study_steps import (
    PRETRAINING,
    VALIDATION,
    Step,
    find_similar,
    join_list,
    pretraining_overrides,
    shared_overrides,
)

START_S = 10.0  # of a process: imports, data, export
AUDIT = 2.0  # cost of an image in the audit relative to one of pretraining, on sets of a few thousand images
FORWARD = 0.45  # cost of a labelled image relative to one of pretraining, which computes two views and their loss
SHORT = 20  # epochs below which a supervised run has no warm-up
LEAST_SEEDS = 3  # for an interval or a verdict in the report
BATCH = 128  # stage.batch_size of finetune and baseline
WAIT = 0.5  # part of the epochs after which early stopping ends a supervised run on all labels, roughly


def plan_steps(cfg: Config[Study], overrides: Sequence[str], images: int) -> list[Step]:
    """The steps of a study.

    Args:
        cfg: of the study.
        overrides: of its command line.
        images: of the training split; larger budgets are left out with a message.

    Raises:
        ConfigError: a value that is no label budget, or no seed.
    """
    node = cfg.stage
    is_shared = list(node.supervised) == list(node.curve)  # the default; its problems are named once
    problems = list(budget_problems("stage.curve", node.curve))
    problems += [] if is_shared else budget_problems("stage.supervised", node.supervised)
    problems += [
        f"stage.{key}=[]: at least one seed is required. Add one, for example stage.{key}=[0]."
        for key, seeds in (("repeats", node.repeats), ("probe_repeats", node.probe_repeats))
        if not seeds
    ]
    problems += foundation_problems(node)
    if problems:
        raise ConfigError(*problems)
    curve = _fitting("curve", node.curve, images)
    budgets = curve if is_shared else _fitting("supervised", node.supervised, images)
    # Overrides of these groups are for pretraining; the other stages have recipes of their own.
    common = [
        *shared_overrides(overrides, without=PRETRAINING),
        *(word for word in overrides if word.startswith(f"{VALIDATION}=")),
    ]
    places = [word for word in common if word.startswith("paths.")]
    encoders = list(range(cfg.seed, cfg.seed + node.encoders))
    found, inits = f"init.augmentation={cfg.augmentation.name}", f"stage.init_seeds={join_list(encoders)}"
    probe = ("stage=probe", f"stage.budgets={join_list(curve)}", f"stage.seeds={join_list(node.probe_repeats)}", inits)
    tuned: tuple[str, ...] = (
        f"stage.budgets={join_list(budgets)}",
        f"stage.seeds={join_list(node.repeats)}",
        f"stage.epochs={node.supervised_epochs}",
        f"stage.min_steps={node.supervised_min_steps}",
    )
    if node.supervised_epochs < SHORT:
        tuned = (*tuned, "schedule.warmup_epochs=0")
    labelled = sum(_trained_images(node, word, _images(word, images)) for word in budgets) * len(node.repeats)
    cost = labelled * FORWARD
    count = len(encoders)
    features = images * count * FORWARD
    pretraining = (*shared_overrides(overrides, without=("seed",)), *pretraining_overrides(node))
    probes = [
        Step("probe of the encoders", (*common, *probe, found), features, encoders=count),
        Step("probe of untrained encoders", (*common, *probe, "init=random"), features, encoders=count),
    ]
    trained = [
        Step("finetune", (*common, *tuned, "stage=finetune", found, inits), cost * count, encoders=count),
        Step("baseline", (*common, *tuned, "stage=baseline"), cost),
    ]
    audit = (*shared_overrides(overrides, without=PRETRAINING), "stage=audit")
    return [
        Step("audit of the data", audit, images * AUDIT),
        *(
            Step(
                f"pretrain, seed {seed}",
                (*pretraining, f"seed={seed}"),
                images * node.epochs,
                is_required=True,
                similar=find_similar(cfg, seed),
            )
            for seed in encoders
        ),
        *(probes if curve else []),
        *(trained if budgets else []),
        *foundation_steps(cfg, overrides, curve),
        Step("report", (*places, "stage=report", f"stage.datasets=[{cfg.dataset.name}]"), always=True),
    ]


def describe_design(node: Study, steps: Sequence[Step], rate: float | None) -> Iterator[str]:
    """Yield sentences about what the study can conclude, and what a cheaper one could.

    Args:
        node: of the study.
        steps: of the study.
        rate: images a second of pretraining; None when not known.
    """
    seeds = min(len(set(node.repeats)), len(set(node.probe_repeats)))
    if node.encoders == 1:
        yield (
            "With one encoder, the report describes this encoder and not the method. Set stage.encoders=3 to compare "
            "methods."
        )
    else:
        pretraining = [step for step in steps if step.is_required]
        others = [step for step in steps if not step.is_required]
        one = [step.images / step.encoders for step in (*pretraining[:1], *others) if step.images is not None]
        spans = ""
        if rate:
            every = [step.images for step in steps if step.images is not None]
            whole, cheaper = (sum(START_S + images / rate for images in costs) for costs in (every, one))
            spans = f" (about {format_span(cheaper)} in all instead of {format_span(whole)})"
        yield (
            f"With {node.encoders} encoders, the verdicts are about the method. stage.encoders=1 is cheaper{spans}; "
            "its report describes only that encoder."
        )
    if rate and any(step.images is None for step in steps):
        yield "The estimate does not include the steps of stage.foundation."
    if seeds < LEAST_SEEDS:
        yield f"With fewer than {LEAST_SEEDS} seeds, the report shows the values, without intervals and verdicts."


def _fitting(key: str, words: Sequence[Any], images: int) -> list[Any]:
    """Return the budgets of fewer images than there are, and full."""
    kept = [word for word in words if word == "full" or _images(word, images) < images]
    for word in words:
        if word not in kept:
            print(f"stage.{key}={word} is not less than the {images:,} training images: left out.", flush=True)
    return kept


def _images(word: Any, images: int) -> float:
    """The images that a budget takes, roughly; a budget per class counts as 0."""
    asked: Any = parse_budget(word)
    if asked["percent"] is not None:
        return images * asked["percent"] / 100
    return float(images if word == "full" else asked["samples"] or 0)


def _trained_images(node: Study, budget: Any, labels: float) -> float:
    """The images that a supervised run trains on in all epochs, roughly."""
    images = max(node.supervised_epochs * labels, node.supervised_min_steps * min(labels, BATCH))
    return images * WAIT if budget == "full" else images


def format_span(seconds: float) -> str:
    """Return seconds as hours, minutes and seconds."""
    return str(timedelta(seconds=round(seconds)))
