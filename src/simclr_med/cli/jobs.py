"""One job of the command: check its configs, find or make each run, and call its stage."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from omegaconf import DictConfig

from simclr_med import build
from simclr_med.cli.failures import ProblemPrinter, describe_unexpected
from simclr_med.cli.pretrain_command import with_command
from simclr_med.config import budgets
from simclr_med.config.schema import Config
from simclr_med.config.stage_nodes import Study
from simclr_med.config.validate import validate_config
from simclr_med.errors import BusyError, ConfigError, MissingEncoderError, MissingTeacherError, RunError, UserError
from simclr_med.runs.identity import Init, budget_name, compute_config_hash
from simclr_med.runs.job_cache import JobCache
from simclr_med.runs.launch import check_nodes
from simclr_med.runs.mean_scores import print_means
from simclr_med.runs.names import run_folder, shown_path
from simclr_med.runs.processes import FirstProcess
from simclr_med.runs.run import Run, open_run
from simclr_med.runs.signals import exit_code, is_step
from simclr_med.runs.states import run_state
from simclr_med.runs.sweep import RunOutcome

INTERRUPTED = exit_code(signal.SIGINT)


@dataclass(frozen=True)
class Job:
    """A composed config and how to run it.

    Attributes:
        cfg: as composed. It holds several runs when the stage lists several budgets or seeds.
        overrides: of the job.
        wait: for another process that is running the same run.
        in_sweep: a sweep's overrides are for several stages, so a stage may ignore some of them.
        processes: hands trainings to the other processes of the command; None if this process was started alone.
    """

    cfg: DictConfig
    overrides: Sequence[str]
    wait: bool = True
    in_sweep: bool = False
    processes: FirstProcess | None = None

    def run(self, printer: ProblemPrinter) -> list[RunOutcome]:
        """Run all runs of the job. All configs are checked before the first run starts."""
        checked = () if self.in_sweep else self.overrides
        try:
            configs = [validate_config(config, checked) for config in budgets.expand_budgets(self.cfg)]
            for config in configs:
                self._check_processes(config)
        except Exception as error:
            return [printer.report(error)]
        cache, several = JobCache(), len(configs) > 1
        outcomes = [self._execute(config, cache, printer, several) for config in configs]
        if several:
            _print_several(configs, outcomes)
        return outcomes

    def _check_processes(self, cfg: Config[Any]) -> None:
        """Raise ConfigError if the command was not started in as many processes as the run needs."""
        if cfg.dry_run:
            return
        launch = None if self.processes is None else self.processes.launch
        if launch is not None and isinstance(cfg.stage, Study):
            raise ConfigError(
                f"stage=study: not available with {launch.launcher}, since each step is a separate command. Run "
                f"the steps one by one with {launch.launcher}."
            )
        check_nodes(launch, cfg.trainer.nodes, cfg.trainer.devices)

    def _execute(self, cfg: Config[Any], cache: JobCache, printer: ProblemPrinter, several: bool) -> RunOutcome:
        """Find or make one run and call its stage."""
        started = time.monotonic()
        try:
            source, init = build.build_source(cfg), build.build_init(cfg)
            data_hash = source.content_hash()
            if cfg.dry_run:
                return _look_up(cfg, source, data_hash, init)
            with open_run(cfg, data_hash, init, self.wait, cache, self.processes) as run:
                return _call_stage(replace(run, is_one_of_several=several), source, started)
        except BusyError as error:
            print(str(error), flush=True)
            return RunOutcome("busy", 1, str(error))
        except MissingEncoderError as error:
            missing = with_command(error, cfg.plain, self.overrides)
            if not cfg.dry_run:
                return printer.report(missing)
            print(f"{'no encoder':<11} {missing.problems[0]}", flush=True)
            return RunOutcome("missing encoder", 0, missing.problems[0])
        except MissingTeacherError as error:
            if not cfg.dry_run:
                return printer.report(error)
            print(f"{'no teacher':<11} {error.problems[0]}", flush=True)
            return RunOutcome("missing teacher", 0, error.problems[0])
        except Exception as error:
            return printer.report(error)


def _look_up(cfg: Config[Any], source: Any, data_hash: str, init: Init) -> RunOutcome:
    """Print the state of a run without changing it, or the steps of a stage that has some."""
    if cfg.stage.lists_steps is not None:
        build.import_function(cfg.stage.lists_steps)(cfg, source)
        return RunOutcome("pending")
    config_hash = compute_config_hash(cfg.plain, data_hash, init.identity)
    folder = run_folder(cfg.plain, config_hash, init, cfg.changes)
    state = run_state(folder, config_hash)
    print(f"{state:<11} {shown_path(folder)}", flush=True)
    return RunOutcome(state, folder=str(folder))


def _call_stage(run: Run[Config[Any]], source: Any, started: float) -> RunOutcome:
    """Call the stage unless the run is finished."""
    if run.state == "finished":
        if not run.is_one_of_several:
            print(f"Already finished, skipping: {shown_path(run.folder)} (overwrite=true runs it again)", flush=True)
        return RunOutcome("skipped", folder=str(run.folder))
    try:
        with run.stop_signal.at_once():
            stage = build.import_stage(run.cfg)
        stage(_with_remarks(run, source), source)
    except (KeyboardInterrupt, SystemExit):
        _stop(run)
    except Exception as error:
        if run.stop_signal.number is not None:  # a library replaced the exception that the signal raised
            _stop(run)
        run.fail(error)
        if isinstance(error, UserError):
            raise
        found = describe_unexpected(error, run.plain)
        raise RunError(f"{found} (traceback in {run.folder / 'failure.json'})") from error
    return RunOutcome("done", folder=str(run.folder), seconds=round(time.monotonic() - started, 3))


def _print_several(configs: Sequence[Config[Any]], outcomes: Sequence[RunOutcome]) -> None:
    """Print how many runs of a job were finished before, and the mean scores of all that are finished now."""
    skipped = sum(outcome.outcome == "skipped" for outcome in outcomes)
    if skipped:
        print(f"Already finished, skipped: {skipped} of {len(outcomes)} runs (overwrite=true runs them again)")
    finished = [
        (budget_name(config.data_fraction), Path(outcome.folder))
        for config, outcome in zip(configs, outcomes, strict=True)
        if outcome.outcome in ("done", "skipped")
    ]
    if finished:
        print_means(finished)


def _with_remarks(run: Run[Config[Any]], source: Any) -> Run[Config[Any]]:
    """Print what the user should know about how the files of the data set are read; return the run with these lines."""
    lines = () if "dataset" in run.cfg.stage.unread else source.remarks().lines
    for line in () if is_step() else lines:  # the study has printed them
        print(line, flush=True)
    return replace(run, remarks=lines)


def _stop(run: Run[Config[Any]]) -> NoReturn:
    """End the command, and the sweep that it may be part of."""
    if not is_step():  # else the study says it
        print(f"Stopped by a signal. Repeat the command to resume: {shown_path(run.folder)}", file=sys.stderr)
    sys.exit(exit_code(run.stop_signal.number or signal.SIGINT))
