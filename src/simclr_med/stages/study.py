"""Stage study: run pretrain, probe, control, finetune, baseline and report of one data set as commands."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from rich.console import Console
from rich.table import Table

from simclr_med.cli.command_process import call_command, capture_command
from simclr_med.config.schema import Config
from simclr_med.config.stage_nodes import Study
from simclr_med.data.source import Source
from simclr_med.errors import ConfigError, DataError, RunError
from simclr_med.runs.fields import Fields
from simclr_med.runs.run import Run
from simclr_med.safe_files import read_json
from simclr_med.stages import pretrain, probe, report, supervised  # noqa: F401 (imported once, for all steps)
from simclr_med.stages.frame import collect_provenance
from simclr_med.stages.study_plan import (
    START_S,
    Step,
    describe_design,
    format_span,
    plan_steps,
    pretraining_overrides,
    shared_overrides,
)


def study(run: Run[Config[Study]], source: Source) -> None:
    """Run every unfinished step in order, the report last; a failed pretraining ends the study.

    Raises:
        DataError: there are no labels to evaluate the encoder with.
        ConfigError: the command of a step is wrong; raised before the first step.
        RunError: steps failed; names them.
    """
    cfg = run.cfg
    if source.task is None:
        raise DataError(
            f"dataset={source.name}: labels are required for stage=study. Add them to the data, or only pretrain "
            "with stage=pretrain."
        )
    began = time.monotonic()
    overrides = list(HydraConfig.get().overrides.task)
    flags = _own_folders()
    steps = plan_steps(cfg, overrides, len(source.split("train").images))
    states = read_states(steps, flags)
    left = any(share_left(found) for step, found in zip(steps, states, strict=True) if not step.always)
    timed = cfg.stage.timed_steps
    pretraining = [*flags, *shared_overrides(overrides), *pretraining_overrides(cfg.stage)]
    rate = _rate(pretraining, timed) if timed and left else None
    print_plan(steps, states, rate)
    for line in describe_design(cfg.stage, steps, rate):
        print(line, flush=True)
    failed: list[str] = []
    for number, step in enumerate(steps, 1):
        print(f"\nStep {number} of {len(steps)}: {step.name}", flush=True)
        if call_command([*flags, *step.overrides]):
            failed.append(step.name)
            if number <= cfg.stage.encoders:
                break  # every other step needs the encoders
    if failed:
        raise RunError(f"stage=study: failed steps: {', '.join(failed)}. The same command resumes.")
    run.finish({}, {"wall_s": round(time.monotonic() - began, 3)}, collect_provenance(run))


def _rate(pretraining: Sequence[str], steps: int) -> float | None:
    """Return the images per second of a few steps of pretraining on this machine; None if they fail.

    Args:
        pretraining: flags and overrides of the pretraining steps.
        steps: number of training steps to time.
    """
    with tempfile.TemporaryDirectory() as folder:
        own = ("stage.epochs=1", f"trainer.limit_steps={steps}", "logger=none")
        with open(os.devnull, "wb") as null:
            call_command((*pretraining, *own, f"paths.runs={folder}"), (null, null))
        for path in Path(folder).glob("pretrain/*/*/result.json"):
            return Fields.from_record(read_json(path)).fields("timing").number_or_none("images_per_s", 1e-9)
    return None


def _own_folders() -> list[str]:
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
    """
    states, problems = [], []
    for step in steps:
        done = capture_command((*flags, *step.overrides, "dry_run=true"))
        problems += done.stderr.splitlines() if done.returncode == ConfigError.exit_code else []
        states.append(
            ["pending" if line.startswith("no encoder") else line.split()[0] for line in done.stdout.splitlines()]
        )
    if problems:
        raise ConfigError(*dict.fromkeys(problems))
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
        seconds.append((START_S + step.images / rate) * left if rate else 0.0)
        counts = ", ".join(f"{found.count(state)} {state}" for state in dict.fromkeys(found))
        table.add_row(step.name, "runs again" if step.always else counts, *([format_span(seconds[-1])] if rate else []))
    if rate:
        table.add_section()
        table.add_row("all", "", format_span(sum(seconds)))
    Console(markup=False, emoji=False).print(table)
