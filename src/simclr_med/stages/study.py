"""Stage study: run audit, pretrain, probe, control, finetune, baseline and report of one data set as commands."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig

from simclr_med.cli.command_process import call_command
from simclr_med.config.schema import Config, WarmupCosine
from simclr_med.config.stage_nodes import Study
from simclr_med.data.source import Source
from simclr_med.errors import RunError
from simclr_med.runs.fields import Fields
from simclr_med.runs.run import Run
from simclr_med.safe_files import read_json
from simclr_med.stages import audit, pretrain, probe, report, supervised  # noqa: F401 (imported once, for all steps)
from simclr_med.stages.frame import collect_provenance
from simclr_med.stages.study_foundation import check_weights
from simclr_med.stages.study_plan import describe_design, plan_steps
from simclr_med.stages.study_states import count_images, own_folders, print_plan, read_states, share_left
from simclr_med.stages.study_steps import Step, pretraining_overrides, shared_overrides


def study(run: Run[Config[Study]], source: Source) -> None:
    """Run every unfinished step in order, the report last; a failed pretraining ends the study.

    Raises:
        DataError: there are no labels to evaluate the encoder with.
        ConfigError: the command of a step is wrong; raised before the first step.
        RunError: before the first step as `list_steps`; or steps failed; names them.
    """
    cfg = run.cfg
    images = count_images(source)
    began = time.monotonic()
    overrides = list(HydraConfig.get().overrides.task)
    flags = own_folders()
    steps = plan_steps(cfg, overrides, images)
    check_weights(cfg.stage)
    states = read_states(steps, flags)
    left = any(share_left(found) for step, found in zip(steps, states, strict=True) if not step.always)
    rate = _rate([*flags, *timing_overrides(cfg, overrides)]) if cfg.stage.timed_steps and left else None
    print_plan(steps, states, rate)
    for line in describe_design(cfg.stage, steps, rate):
        print(line, flush=True)
    if failed := call_steps(steps, flags, call_command):
        raise RunError(f"stage=study: failed steps: {', '.join(failed)}. The same command resumes.")
    run.finish({}, {"wall_s": round(time.monotonic() - began, 3)}, collect_provenance(run))


def call_steps(steps: Sequence[Step], flags: Sequence[str], call: Callable[[list[str]], int]) -> list[str]:
    """Call the steps in their order and return the names of those that failed or were left out.

    Args:
        steps: of the study.
        flags: that every step gets.
        call: executes a command and returns its exit code.
    """
    failed: list[str] = []
    for number, step in enumerate(steps, 1):
        print(f"\nStep {number} of {len(steps)}: {step.name}", flush=True)
        if missing := [name for name in step.needs if name in failed]:
            print(f"Left out: it needs {', '.join(missing)}.", flush=True)
            failed.append(step.name)
        elif call([*flags, *step.overrides]):
            failed.append(step.name)
            if step.is_required:
                break
    return failed


def timing_overrides(cfg: Config[Study], overrides: Sequence[str]) -> list[str]:
    """Return the overrides of a pretraining that ends after `stage.timed_steps` steps.

    Args:
        cfg: of the study.
        overrides: of its command line.
    """
    few = ("stage.epochs=1", f"trainer.limit_steps={cfg.stage.timed_steps}", "logger=none")
    # A warm-up must be shorter than the training.
    without_warmup = ("schedule.warmup_epochs=0",) if isinstance(cfg.schedule, WarmupCosine) else ()
    return [*shared_overrides(overrides), *pretraining_overrides(cfg.stage), *few, *without_warmup]


def _rate(pretraining: Sequence[str]) -> float | None:
    """Return the images per second of a short pretraining on this machine; None if it fails.

    Args:
        pretraining: its flags and overrides.
    """
    with tempfile.TemporaryDirectory() as folder:
        with open(os.devnull, "wb") as null:
            call_command((*pretraining, f"paths.runs={folder}"), (null, null))
        for path in Path(folder).glob("pretrain/*/*/result.json"):
            return Fields.from_record(read_json(path)).fields("timing").number_or_none("images_per_s", 1e-9)
    return None
