"""The frame of every stage: threads, clock, loggers, result.json and the summary."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf

from simclr_med import build
from simclr_med.config.schema import Config
from simclr_med.config.stage_kinds import TrainingStage
from simclr_med.evaluation.predictions import Predictions
from simclr_med.runs.identity import budget_name
from simclr_med.runs.names import method_name, shown_path
from simclr_med.runs.provenance import git_commit, package_versions
from simclr_med.runs.run import Run
from simclr_med.stages.summary import print_line, print_summary
from simclr_med.tracking.energy import start_energy_meter
from simclr_med.tracking.loggers import close_loggers, log_pictures, log_predictions
from simclr_med.training import devices
from simclr_med.training.callbacks.late_loggers import LateLoggers

ENDING_S = 5.0  # seconds that loggers have to start after the run has failed


@dataclass(frozen=True)
class Outcome:
    """What a stage hands over when its work is done.

    Attributes:
        title: of the summary, without the time.
        rows: of the summary.
        metrics, intervals, tables: as `Run.finish` takes them.
        facts: provenance besides what every result says.
        timing: seconds and images a second; None takes the time since the stage began.
        pictures: PNG files, listed in the summary and shown by the loggers.
        tables_written: files that the summary lists.
        predictions: shown by the loggers as a table; None shows nothing.
        images: opens the images of the predictions, uint8 [N, H, W, C].
        logged: metrics that the loggers get; None gives them `metrics`.
    """

    title: str
    rows: Mapping[str, str]
    metrics: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    tables: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    timing: Mapping[str, float] | None = None
    pictures: Sequence[Path] = ()
    tables_written: Sequence[Path] = ()
    predictions: Predictions | None = None
    images: Callable[[], np.ndarray] | None = None
    logged: Mapping[str, float] | None = None


class StageFrame:
    """The clock and the loggers of a stage at work; `open_stage` makes it.

    Args:
        run: of the stage.
    """

    def __init__(self, run: Run[Config[Any]]) -> None:
        self.run = run
        self.loggers: list[Any] = []
        self.measure_energy: Callable[[], dict[str, float]] = dict
        self._late: LateLoggers | None = None
        self._began = time.monotonic()
        self._outcome: Outcome | None = None
        self._wall_s = 0.0

    def start_loggers(self) -> list[Any]:
        """Start the run's loggers; after the checks of the data, so that a refused run logs nothing."""
        self.loggers = prepare_loggers(self.run)()
        return self.loggers

    def start_loggers_late(self) -> LateLoggers:
        """Start the run's loggers in a thread, and return the callback that gives them to the trainer.

        `wait_for_loggers` waits for the thread.
        """
        self._late = LateLoggers(prepare_loggers(self.run))
        return self._late

    def wait_for_loggers(self, timeout: float | None = None) -> None:
        """Wait until the thread has started the loggers, if there is one, and keep them.

        Args:
            timeout: seconds to wait; None waits as long as the start takes.

        Raises:
            TimeoutError: the loggers have not started in this time.
        """
        if self._late is not None:
            self.loggers = self._late.join(timeout)

    def finish(self, outcome: Outcome) -> None:
        """Log pictures and predictions, then the scores, and write result.json.

        The scores come last, since what is logged before them goes into their row.

        Raises:
            RunError: the lock of the run's folder was lost.
        """
        self.run.check_lock()
        log_pictures(self.loggers, outcome.pictures)
        log_predictions(self.loggers, outcome.predictions, outcome.images)
        logged = outcome.metrics if outcome.logged is None else outcome.logged
        if logged:
            for logger in self.loggers:
                logger.log_metrics(logged)
        timing = dict(outcome.timing or {"wall_s": round(time.monotonic() - self._began, 3)})
        timing |= self.measure_energy()
        facts = {**collect_provenance(self.run), **outcome.facts}
        self.run.finish(outcome.metrics, timing, facts, outcome.intervals, outcome.tables)
        self._outcome, self._wall_s = outcome, timing["wall_s"]

    def print_summary(self) -> None:
        """Print the outcome, if the stage finished."""
        if self._outcome is None:
            return
        if self.run.is_one_of_several:
            print_line(self.run.folder, self._outcome.rows, self._wall_s)
            return
        title = f"{self._outcome.title}: done in {self._wall_s:.{0 if self._wall_s >= 100 else 1}f} s"
        print_summary(title, self._outcome.rows, self.run.folder, self._outcome.pictures)
        for path in self._outcome.tables_written:
            print(f"Table:    {shown_path(path)}")


@contextmanager
def open_stage(run: Run[Config[Any]], uses_device: bool = True) -> Iterator[StageFrame]:
    """Set threads and arithmetic, run the stage's block, then close the loggers and print the summary.

    Args:
        run: of the stage.
        uses_device: whether the stage computes on the run's device. The first line of a training names device and
            precision, that of another stage a GPU alone.
    """
    trainer = run.cfg.trainer
    if trainer.threads is not None:
        torch.set_num_threads(trainer.threads)
    devices.set_gpu_arithmetic(trainer.precision)
    device = devices.resolve_device(trainer.accelerator) if uses_device else torch.device("cpu")
    trains = isinstance(run.cfg.stage, TrainingStage)
    precision = devices.name_precision(trainer.precision, trainer.accelerator) if trains else "32-true"
    if trains or device.type != "cpu":
        print(f"Device: {devices.describe_device(device)}, precision {precision}", flush=True)
    if trains and trainer.precision not in ("auto", precision):
        print(f"trainer.precision={trainer.precision} is not available on this device; using {precision}.", flush=True)
    frame = StageFrame(run)
    if trainer.energy is not None:
        frame.measure_energy = start_energy_meter(trainer.energy)
    try:
        yield frame
    except BaseException:
        with suppress(Exception):
            frame.measure_energy()  # ends its thread
        with suppress(Exception):  # an error of their start may be the one that is raised already
            frame.wait_for_loggers(ENDING_S)
        close_loggers(frame.loggers, failed=True)
        raise
    close_loggers(frame.loggers, failed=False, announce=not run.is_one_of_several)
    frame.print_summary()


def prepare_loggers(run: Run[Config[Any]]) -> Callable[[], list[Any]]:
    """Return a function that builds the run's loggers and logs its config and environment.

    `tracking.loggers.close_loggers` ends the loggers.
    """
    cfg = run.cfg
    budget = budget_name(cfg.data_fraction)
    # Read in this thread, because each thread has its own number of torch threads.
    parameters: Any = OmegaConf.to_container(run.plain, resolve=True)
    parameters |= {
        "method": method_name(run.plain, run.init),
        "config_hash": run.config_hash,
        "data_hash": run.data_hash,
        "environment": numerics_environment(run) | collect_provenance(run),
    }

    def build_loggers() -> list[Any]:
        loggers = [
            build.instantiate_node(
                node,
                folder=run.folder,
                name=f"{cfg.stage.name}-{cfg.dataset.name}-{run.config_hash[:10]}",
                group=f"{cfg.stage.name}-{cfg.dataset.name}",
                job_type=cfg.stage.name,
                tags=[cfg.dataset.name, cfg.augmentation.name, cfg.encoder.name, budget, f"seed{cfg.seed}"],
            )
            for node in cfg.logger.loggers
        ]
        for logger in loggers:
            logger.log_hyperparams(parameters)
        return loggers

    return build_loggers


def collect_provenance(run: Run[Config[Any]]) -> dict[str, Any]:
    """Return what every result says about how it was made: commit, versions of packages, and threads."""
    return {"git": git_commit(), "versions": package_versions(), "threads": torch.get_num_threads()}


def numerics_environment(run: Run[Config[Any]]) -> dict[str, Any]:
    """Return what the exact weights of the run depend on besides its config."""
    node = run.cfg.trainer
    precision = devices.name_precision(node.precision, node.accelerator)
    return devices.numerics_environment(devices.resolve_device(node.accelerator), node.processes, precision)
