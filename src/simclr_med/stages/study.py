"""Stage study: run pretrain, probe, control, finetune, baseline and report of one data set as commands."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from rich.console import Console
from rich.table import Table

from simclr_med.config.budgets import BUDGET_RULE, parse_budget
from simclr_med.config.schema import Config
from simclr_med.config.stage_nodes import Study
from simclr_med.data.source import Source
from simclr_med.errors import ConfigError, DataError, RunError
from simclr_med.runs.fields import Fields
from simclr_med.runs.run import Run
from simclr_med.safe_files import read_json
from simclr_med.stages.setup import collect_provenance

ENDING_S = 15.0  # that a step has to save a checkpoint when the study is terminated
START_S = 10.0  # of a process: imports, data, export
FORWARD = 0.45  # cost of an image with labels against one of pretraining, which sees two views and their loss
SHORT = 20  # epochs below which a supervised run has no warm-up
PRETRAINING = ("augmentation", "optimizer", "schedule", "seed", "data_fraction")
WAIT = 0.5  # part of the epochs after which early stopping ends a supervised run, roughly


@dataclass(frozen=True)
class Step:
    """One command of the study.

    Attributes:
        name: as the plan shows it.
        words: its overrides.
        images: that it trains on over all its epochs, in units of pretraining.
        always: whether it runs again each time.
    """

    name: str
    words: tuple[str, ...]
    images: float = 0.0
    always: bool = False


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
            f"dataset={source.name}: labels are required for stage=study. Add them to the data, or pretrain alone "
            "with stage=pretrain."
        )
    began = time.monotonic()
    words = list(HydraConfig.get().overrides.task)
    steps = plan_steps(cfg, words, len(source.split("train").images))
    states = read_states(steps)
    left = any(share_left(found) for step, found in zip(steps, states, strict=True) if not step.always)
    rate = _rate(shared_overrides(words), cfg.stage.timed_steps) if cfg.stage.timed_steps and left else None
    print_plan(steps, states, rate)
    failed: list[str] = []
    for number, step in enumerate(steps, 1):
        print(f"\nStep {number} of {len(steps)}: {step.name}", flush=True)
        if _command(step.words):
            failed.append(step.name)
            if number == 1:
                break  # every other step needs the encoder
    if failed:
        raise RunError(f"stage=study: failed steps: {', '.join(failed)}. The same command resumes.")
    run.finish({}, {"wall_s": round(time.monotonic() - began, 3)}, collect_provenance(run))


def shared_overrides(words: Sequence[str], without: Sequence[str] = ()) -> list[str]:
    """Return the overrides of the study that its steps get: all but the stage, its keys, and some groups."""
    own = {"stage", "overwrite", "dry_run", "grid", "init", *without}
    return [word for word in words if word.split("=")[0].split(".")[0].lstrip("+~") not in own]


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
    problems = [
        f"stage.{key}={budget}: {BUDGET_RULE}"
        for key, values in (("curve", node.curve), ("supervised", node.supervised))
        for budget in values
        if parse_budget(budget) is None
    ]
    if not node.repeats:
        problems.append("stage.repeats=[]: at least one seed is required. Add one, for example stage.repeats=[0].")
    if problems:
        raise ConfigError(*problems)
    curve, budgets = _fitting("curve", node.curve, images), _fitting("supervised", node.supervised, images)
    seeds = f"stage.seeds={_listed(node.repeats)}"
    # Overrides of these groups are for pretraining; the other stages have recipes of their own.
    common = shared_overrides(overrides, without=PRETRAINING)
    places = [word for word in common if word.startswith("paths.")]
    found = (f"init.augmentation={cfg.augmentation.name}", f"init.seed={cfg.seed}")
    probe = (*common, "stage=probe", f"stage.budgets={_listed(curve)}", seeds)
    tuned = (*common, f"stage.budgets={_listed(budgets)}", seeds, f"stage.epochs={node.supervised_epochs}")
    if node.supervised_epochs < SHORT:
        tuned = (*tuned, "schedule.warmup_epochs=0")
    labelled = sum(_images(word, images) for word in budgets) * len(node.repeats)
    cost = labelled * node.supervised_epochs * FORWARD * WAIT
    untrained = images * len(node.repeats) * FORWARD
    probes = [
        Step("probe of the encoder", (*probe, *found), images * FORWARD),
        Step("probe of the untrained encoder", (*probe, "init=random"), untrained),
    ]
    trained = [
        Step("finetune", (*tuned, "stage=finetune", *found), cost),
        Step("baseline", (*tuned, "stage=baseline"), cost),
    ]
    return [
        Step(
            "pretrain",
            (*shared_overrides(overrides), "stage=pretrain", f"stage.epochs={node.epochs}"),
            images * node.epochs,
        ),
        *(probes if curve else []),
        *(trained if budgets else []),
        Step("report", (*places, "stage=report", f"stage.datasets=[{cfg.dataset.name}]"), always=True),
    ]


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


def _listed(values: Sequence[Any]) -> str:
    return "[" + ",".join(map(str, values)) + "]"


def _rate(common: Sequence[str], steps: int) -> float | None:
    """Images a second of a few steps of pretraining on this machine; None when they fail."""
    with tempfile.TemporaryDirectory() as folder:
        words = ("stage=pretrain", "stage.epochs=1", f"trainer.limit_steps={steps}", "logger=none")
        command = [sys.executable, "-m", "simclr_med", *common, *words, f"paths.runs={folder}"]
        with _terminated_with_us(
            subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        ) as process:
            process.wait()
        for path in Path(folder).glob("pretrain/*/*/result.json"):
            return Fields.from_record(read_json(path)).fields("timing").number_or_none("images_per_s", 1e-9)
    return None


def read_states(steps: Sequence[Step]) -> list[list[str]]:
    """Return the state of each run of each step, as ``dry_run=true`` prints it.

    Raises:
        ConfigError: the command of a step is wrong.
    """
    states, problems = [], []
    for step in steps:
        command = [sys.executable, "-m", "simclr_med", *step.words, "dry_run=true"]
        done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
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
        table.add_row(step.name, "runs again" if step.always else counts, *([_span(seconds[-1])] if rate else []))
    if rate:
        table.add_section()
        table.add_row("all", "", _span(sum(seconds)))
    Console(markup=False, emoji=False).print(table)


def _span(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def _command(words: Sequence[str]) -> int:
    """Run one command of this program and return its exit code."""
    with _terminated_with_us(subprocess.Popen([sys.executable, "-m", "simclr_med", *words])) as process:
        return process.wait()


@contextmanager
def _terminated_with_us(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Terminate the process when this one is interrupted, and give it time to save its checkpoint."""
    try:
        yield process
    except BaseException:
        process.terminate()
        try:
            process.wait(ENDING_S)
        except subprocess.TimeoutExpired:
            process.kill()
        raise
