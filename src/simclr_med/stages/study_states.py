"""The states of a study's steps, and the table that shows them. Nothing here trains, and no torch is imported."""

from __future__ import annotations

from collections.abc import Sequence

from hydra.core.hydra_config import HydraConfig
from rich.console import Console
from rich.table import Table

from simclr_med.cli.command_process import capture_command
from simclr_med.config.schema import Config
from simclr_med.config.stage_nodes import Study
from simclr_med.data.source import Source
from simclr_med.errors import ConfigError, DataError, RunError
from simclr_med.runs.names import shown_path
from simclr_med.stages.study_foundation import check_weights
from simclr_med.stages.study_plan import START_S, describe_design, format_span, plan_steps
from simclr_med.stages.study_steps import Step


def list_steps(cfg: Config[Study], source: Source) -> None:
    """Print the steps of a study with the states of their runs: the study's ``dry_run=true``.

    Raises:
        DataError: there are no labels to evaluate the encoder with.
        ConfigError: the command of a step is wrong.
        RunError: the weights of a foundation model are missing, or as `read_states`.
    """
    steps = plan_steps(cfg, list(HydraConfig.get().overrides.task), count_images(source))
    check_weights(cfg.stage)
    print_plan(steps, read_states(steps, own_folders()), rate=None)
    for line in describe_design(cfg.stage, steps, rate=None):
        print(line, flush=True)


def count_images(source: Source) -> int:
    """Return the number of training images, which a study needs labels for.

    Raises:
        DataError: there are no labels to evaluate the encoder with.
    """
    labels = None if source.task is None else source.labels("train")
    if labels is None:
        raise DataError(
            f"dataset={source.name}: labels are required for stage=study. Add them to the data, or only pretrain "
            "with stage=pretrain."
        )
    return len(labels)


def own_folders() -> list[str]:
    """Return the part of the command line that names folders of the user's own options; every step needs it."""
    hydra = HydraConfig.get()
    typed = [source.path for source in hydra.runtime.config_sources if source.provider == "command-line"]
    searched = [word for word in hydra.overrides.hydra if word.startswith("hydra.searchpath=")]
    return [*(word for path in typed for word in ("--config-dir", path)), *searched]


def read_states(steps: Sequence[Step], flags: Sequence[str] = ()) -> list[list[str]]:
    """Return the state of each run of each step, as ``dry_run=true`` prints it.

    Args:
        steps: of the study.
        flags: that every command needs besides the overrides of its step.

    Raises:
        ConfigError: the command of a step is wrong.
        RunError: a step would fail, or later steps could not tell the study's encoders from those of other runs.
    """
    states, mistakes, failures, others = [], [], [], []
    for step in steps:
        done = capture_command((*flags, *step.overrides, "dry_run=true"))
        lines = done.stdout.splitlines()
        if done.returncode == ConfigError.exit_code:
            mistakes += done.stderr.splitlines()
        elif done.returncode:
            failures += done.stderr.splitlines()
        else:
            others += [run for run in step.similar if not any(line.endswith(run.name) for line in lines)]
        states.append(["pending" if line.startswith("no encoder") else line.split()[0] for line in lines])
    if mistakes:
        raise ConfigError(*dict.fromkeys(mistakes))
    if others:
        raise RunError(
            "stage=study: finished pretraining runs with other settings have the data set, augmentation, encoder, size "
            "and seed of the study's own, and its steps find encoders by these fields. Choose another paths.runs, or "
            "delete them with simclr-med runs rm:",
            *(f"  {shown_path(run)}" for run in others),
        )
    if failures:
        raise RunError(*dict.fromkeys(failures))
    return states


def share_left(states: Sequence[str]) -> float:
    """The share of a step's runs that is not finished, in [0, 1]."""
    return 1 - states.count("finished") / len(states) if states else 1.0


def print_plan(steps: Sequence[Step], states: Sequence[Sequence[str]], rate: float | None) -> None:
    """Print the steps, the states of their runs, and about how long the rest takes."""
    table = Table("step", "runs", *(["about"] if rate else []), title="Steps of the study")
    seconds = []
    for step, found in zip(steps, states, strict=True):
        left = 1.0 if step.always else share_left(found)
        span = "not known" if left else format_span(0)
        if rate and step.images is not None:
            seconds.append((START_S + step.images / rate) * left)
            span = format_span(seconds[-1])
        counts = ", ".join(f"{found.count(state)} {state}" for state in dict.fromkeys(found))
        table.add_row(step.name, "runs again" if step.always else counts, *([span] if rate else []))
    if rate:
        table.add_section()
        table.add_row("all", "", format_span(sum(seconds)))
    Console(markup=False, emoji=False).print(table)
