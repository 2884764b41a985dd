"""The steps of a study for pretrained models of timm: frozen, and with continued pretraining."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from simclr_med.config.schema import Config
from simclr_med.config.stage_nodes import Study
from simclr_med.errors import RunError
from simclr_med.runs.init import timm
from simclr_med.stages.study_steps import (
    PRETRAINING,
    VALIDATION,
    Step,
    find_similar,
    join_list,
    pretraining_overrides,
    shared_overrides,
)


def foundation_problems(node: Study) -> Iterator[str]:
    """Yield a sentence for each wrong value of the keys of foundation models."""
    names = list(node.foundation)
    for name in dict.fromkeys(names):
        model, _, tag = name.partition(".")
        if not (model and tag):
            yield (
                f"stage.foundation={name}: expected <model>.<tag>, such as resnet50.a1_in1k. Choose one of "
                f"timm.list_pretrained('{model}*')."
            )
        if names.count(name) > 1:
            yield f"stage.foundation={name}: named {names.count(name)} times. Keep one."
    if node.continue_pretraining and not names:
        yield (
            "stage.continue_pretraining=true: there is no model to continue from. Add stage.foundation=[<model>.<tag>]."
        )


def check_weights(node: Study) -> None:
    """Check that the weights of the foundation models can be read, so that their steps do not fail after hours.

    Raises:
        RunError: names every model without weights.
    """
    problems: list[str] = []
    for name in node.foundation:
        try:
            timm(name)
        except RunError as error:
            # The study sets the keys that these sentences begin with: encoder.model and init.
            problems += (f"stage.foundation={name}: {problem.partition(': ')[2]}" for problem in error.problems)
    if problems:
        raise RunError(*problems)


def foundation_steps(cfg: Config[Study], overrides: Sequence[str], curve: Sequence[Any]) -> list[Step]:
    """Return the steps of each foundation model: its frozen probe, and continued pretraining with its probe.

    Args:
        cfg: of the study.
        overrides: of its command line.
        curve: label budgets of the probes; without any, there are no steps.
    """
    node = cfg.stage
    if not curve:
        return []
    probe = (
        *shared_overrides(overrides, without=(*PRETRAINING, "encoder")),
        *(word for word in overrides if word.startswith(f"{VALIDATION}=")),
        "stage=probe",
        f"stage.budgets={join_list(curve)}",
        f"stage.seeds={join_list(node.probe_repeats)}",
    )
    pretraining = (*shared_overrides(overrides, without=("seed", "encoder")), *pretraining_overrides(node))
    seeds = range(cfg.seed, cfg.seed + node.encoders)
    source = ("init.start=timm", f"init.augmentation={cfg.augmentation.name}")
    continued = (*source, f"stage.init_seeds={join_list(seeds)}")
    steps = []
    for name in node.foundation:
        size = () if node.foundation_size is None else (f"encoder.input_size={node.foundation_size}",)
        encoder = ("encoder=timm", f"encoder.model={name}", *size)
        steps.append(Step(f"probe of frozen {name}", (*probe, *encoder, "init=timm"), images=None))
        if node.continue_pretraining:
            start = (*pretraining, *_recipe(name, overrides), *encoder, "init=timm")
            trained = [
                Step(
                    f"continue {name}, seed {seed}",
                    (*start, f"seed={seed}"),
                    images=None,
                    similar=find_similar(cfg, seed, name),
                )
                for seed in seeds
            ]
            needs = tuple(step.name for step in trained)
            probed = (*probe, *encoder, *continued)
            steps += trained
            steps.append(
                Step(f"probe of continued {name}", probed, images=None, encoders=len(seeds), needs=needs),
            )
    return steps


def _recipe(name: str, overrides: Sequence[str]) -> tuple[str, ...]:
    """Return the override that gives a model its optimizer, unless the command line chooses one.

    The default optimizer is for networks with batch normalisation. Others, such as vision transformers and ConvNeXts,
    need a warm-up and gradient clipping.
    """
    if any(word.startswith(("optimizer=", "experiment=")) for word in overrides):
        return ()
    from simclr_med.models.timm_encoder import has_batch_norm  # imports torch, which a dry run does not need

    return () if has_batch_norm(name) else ("experiment=vit",)
