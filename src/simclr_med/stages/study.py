"""Stage study: pretrain, probe, control, finetune, baseline and report of one data set, each a command of its own."""

from __future__ import annotations

import json
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

from simclr_med.data.source import Source
from simclr_med.errors import RunError
from simclr_med.runs import Run
from simclr_med.stages.assembly import provenance

ENDING_S = 15.0  # that a step has to save and end when the study is told to stop
START_S = 10.0  # of a process: imports, data, export
FORWARD = 0.45  # cost of an image with labels against one of pretraining, which sees two views and their loss
SHORT = 20  # epochs below which a supervised run has no warm-up
PRETRAINING = ("augmentation", "optimizer", "schedule", "seed", "data_fraction")
WAIT = 0.5  # part of the epochs after which patience ends a supervised run, roughly


@dataclass(frozen=True)
class Step:
    """One command of the study.

    Attributes:
        name: for the reader.
        words: what it adds to the words of the study.
        images: that it trains on over all its epochs, in units of pretraining.
    """

    name: str
    words: tuple[str, ...]
    images: float = 0.0


def study(run: Run, source: Source) -> None:
    """Run every step that is not finished, in order; one that fails stops those that need it, the report comes last.

    Raises:
        RunError: steps failed; names them.
    """
    cfg = run.cfg
    began = time.monotonic()
    words = list(HydraConfig.get().overrides.task)
    steps = plan(cfg, words, len(source.split("train").images))
    rate = _rate(shared_words(words), cfg.stage.timed_steps) if cfg.stage.timed_steps else None
    _tell(steps, rate)
    failed: list[str] = []
    for number, step in enumerate(steps, 1):
        print(f"\nStep {number} of {len(steps)}: {step.name}", flush=True)
        if _command(step.words):
            failed.append(step.name)
            if number == 1:
                break  # nothing stands without the encoder
    if failed:
        raise RunError(f"stage=study: must finish every step; failed: {', '.join(failed)}. The same command goes on.")
    run.finish({}, {"wall_s": round(time.monotonic() - began, 3)}, provenance(run))


def shared_words(words: Sequence[str], without: Sequence[str] = ()) -> list[str]:
    """What of the study's own command line goes to a step: all but the stage, its keys, and some groups."""
    own = {"stage", "overwrite", "dry_run", "grid", "init", *without}
    return [word for word in words if word.split("=")[0].split(".")[0].lstrip("+~") not in own]


def plan(cfg: Any, typed: Sequence[str], images: int) -> list[Step]:
    """The steps of a study.

    Args:
        cfg: of the study.
        typed: the words of its command line.
        images: of the training split; budgets that ask for more are left out.
    """
    node = cfg.stage
    curve, budgets = (
        [word for word in words if word == "full" or _amount(word) < images]
        for words in (list(node.curve), list(node.supervised))
    )
    seeds = f"stage.seeds={_listed(node.repeats)}"
    # What the user says of these is about pretraining; the other stages have recipes of their own.
    common = shared_words(typed, without=PRETRAINING)
    places = [word for word in common if word.startswith("paths.")]
    found = (f"init.augmentation={cfg.augmentation.name}", f"init.seed={cfg.seed}")
    probe = (*common, "stage=probe", f"stage.budgets={_listed(curve)}", seeds)
    tuned = (*common, f"stage.budgets={_listed(budgets)}", seeds, f"stage.epochs={node.supervised_epochs}")
    if node.supervised_epochs < SHORT:
        tuned = (*tuned, "schedule.warmup_epochs=0")
    labelled = sum(images if word == "full" else _amount(word) for word in budgets) * len(node.repeats)
    cost = labelled * node.supervised_epochs * FORWARD * WAIT
    untrained = images * len(node.repeats) * FORWARD
    return [
        Step("pretrain", (*shared_words(typed), "stage=pretrain", f"stage.epochs={node.epochs}"), images * node.epochs),
        Step("probe of the encoder", (*probe, *found), images * FORWARD),
        Step("probe of the untrained encoder", (*probe, "init=random"), untrained),
        Step("finetune", (*tuned, "stage=finetune", *found), cost),
        Step("baseline", (*tuned, "stage=baseline"), cost),
        Step("report", (*places, "stage=report", f"stage.datasets=[{cfg.dataset.name}]")),
    ]


def _amount(word: Any) -> float:
    """Images of a budget that is a plain number; others count as none."""
    return float(word) if isinstance(word, int) else 0.0


def _listed(values: Sequence[Any]) -> str:
    return "[" + ",".join(map(str, values)) + "]"


def _rate(common: Sequence[str], steps: int) -> float | None:
    """Images a second of a few steps of pretraining on this machine; None when they fail, which step one then tells."""
    with tempfile.TemporaryDirectory() as folder:
        words = ("stage=pretrain", "stage.epochs=1", f"trainer.limit_steps={steps}", "logger=none")
        command = [sys.executable, "-m", "simclr_med.main", *common, *words, f"paths.runs={folder}"]
        with _ended_with_us(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)) as process:
            process.wait()
        for path in Path(folder).glob("pretrain/*/*/result.json"):
            return float(json.loads(path.read_text(encoding="utf-8"))["timing"]["images_per_s"])
    return None


def _tell(steps: Sequence[Step], rate: float | None) -> None:
    """What will be done and about how long it takes, when all of it is still to do."""
    table = Table("step", "about" if rate else "", title="What this study does (finished parts are skipped)")
    for step in steps:
        table.add_row(step.name, _span(START_S + step.images / rate) if rate else "")
    if rate:
        table.add_section()
        table.add_row("all", _span(sum(START_S + step.images / rate for step in steps)))
    Console(markup=False, emoji=False).print(table)


def _span(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def _command(words: Sequence[str]) -> int:
    """Run one command line of this program and give its exit code."""
    with _ended_with_us(subprocess.Popen([sys.executable, "-m", "simclr_med.main", *words])) as process:
        return process.wait()


@contextmanager
def _ended_with_us(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is told to stop when we are, and has a while to save what it has."""
    try:
        yield process
    except BaseException:
        process.terminate()
        try:
            process.wait(ENDING_S)
        except subprocess.TimeoutExpired:
            process.kill()
        raise
