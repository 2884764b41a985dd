"""The console entry and the one Hydra main: compose, validate, find or make the run, call its stage."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from simclr_med import build
from simclr_med.cli.arguments import as_sweep_axes, parse_argv
from simclr_med.cli.errors import explain_errors, first_line
from simclr_med.cli.help import help_text
from simclr_med.config import budgets
from simclr_med.config.registry import register
from simclr_med.config.schema import Config
from simclr_med.config.validate import validate_config
from simclr_med.errors import BusyError, ConfigError, MissingEncoderError, RunError, UserError
from simclr_med.runs import gpus, signals, sweep
from simclr_med.runs.encoder_cache import EncoderCache
from simclr_med.runs.identity import Init, compute_config_hash, run_folder
from simclr_med.runs.run import Run, open_run, run_state
from simclr_med.runs.sweep import RunOutcome

# In a wheel conf/ travels inside the package; in a checkout it stands at the top.
_INSIDE = Path(__file__).parents[1] / "conf"
CONF = _INSIDE if _INSIDE.is_dir() else Path(__file__).parents[3] / "conf"

register()
# What became of every run of this process outside a sweep: several for a job that covers several budgets.
_done: list[RunOutcome] = []
# Cells that another process was doing when their turn came.
_later: list[tuple[sweep.SweepJob, DictConfig]] = []
_said: set[str] = set()


@hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")
def job(cfg: DictConfig) -> int:
    """One run, or one cell of a sweep. It returns an exit code and never raises, so a sweep goes on."""
    place = sweep.current_job()
    if place is not None:
        return _cell(place, cfg, wait=not place.own)
    _done.extend(_runs(cfg, wait=True, words=HydraConfig.get().overrides.task))
    return sweep.exit_status(_done)


def main() -> None:
    """The command ``simclr-med``."""
    try:
        typed = parse_argv(sys.argv[1:])
        Path.cwd()
    except ConfigError as error:
        sys.exit(_failed(error).status)
    except FileNotFoundError:
        sys.exit(
            _failed(RunError("The working directory must exist; it has been removed. Change to another one.")).status
        )
    if {"--help", "-h"} & set(typed.flags):
        try:
            print(help_text([CONF, *([Path(typed.extra)] if typed.extra else [])]), flush=True)
        except BrokenPipeError:
            sys.exit(_unread())
        return
    sys.argv[1:] = [*typed.flags, *(as_sweep_axes(typed.overrides) if typed.sweep else typed.overrides)]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then hands its exceptions to us instead of printing them
    status = 0
    try:
        job()
        for place, cfg in _later:
            _cell(place, cfg, wait=True)
    except KeyboardInterrupt:
        status = 130
    except SystemExit as stop:  # of a run that was told to stop, which ends its sweep as well
        status = stop.code if isinstance(stop.code, int) else 1
    except BrokenPipeError:
        status = _unread()
    except Exception as error:  # a job tells its own: this is Hydra, or the launcher of a sweep
        status = _not_launched(error, explain_errors(typed, CONF))
    swept = _swept()
    sys.exit(status or sweep.exit_status([*_done, *swept]))


def _unread() -> int:
    """The exit code when nobody reads what we print any more, as of ``| head``; the rest of it goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 141  # as a shell's own tools end then: 128 + SIGPIPE


def _not_launched(error: Exception, problems: list[str]) -> int:
    """Tell what came before, or between, all jobs, and give the exit code.

    Args:
        error: of Hydra, which fails on odd words with errors of many kinds; or, once a sweep has begun, of its
            launcher: a worker that was killed, a scheduler that takes no job.
        problems: of the command line.
    """
    folder = sweep.begun()
    if problems or folder is None:
        if folder is not None:
            sweep.remove_unstarted(folder)
        print("\n".join(problems or [first_line(error)]), file=sys.stderr)
        return 2
    if isinstance(error, OSError):
        told = f"{folder}: must be a folder that can be written ({error.strerror}). Choose another paths.runs."
        print(told, file=sys.stderr)
    else:
        print(f"The sweep ended early; the same command goes on. {_unforeseen(error)}", file=sys.stderr)
    return 1


def _swept() -> list[RunOutcome]:
    """What became of the sweep that this process began, told."""
    folder = sweep.begun()
    found = sweep.read_outcomes(folder) if folder else []
    if folder and found:
        print(sweep.sweep_summary(found, folder), flush=True)
    return [cell for _, cell in found]


def _cell(place: sweep.SweepJob, cfg: DictConfig, wait: bool) -> int:
    """A job that is a cell of a sweep: written down before it starts and after it ends, whatever its end."""
    print(f"Cell {place.number}: {' '.join(place.words)}", flush=True)
    sweep.record_outcomes(place, [RunOutcome("started", 1)])
    if not place.own:
        gpus.claim_gpus(cfg.trainer.devices)
    found = _runs(cfg, wait)
    sweep.record_outcomes(place, found)
    if any(cell.outcome == "busy" for cell in found):
        _later.append((place, cfg))
    return sweep.exit_status(found)


def _runs(cfg: DictConfig, wait: bool, words: Sequence[str] = ()) -> list[RunOutcome]:
    """All runs of one job: one, or one for each budget and seed of the stage; checked before the first starts."""
    try:
        configs = [validate_config(config, words) for config in budgets.expand_budgets(cfg)]
    except Exception as error:
        return [_failed(error)]
    encoders = EncoderCache()
    return [_run(config, wait, encoders) for config in configs]


def _run(cfg: Config[Any], wait: bool, encoders: EncoderCache) -> RunOutcome:
    """One run, and what became of it."""
    began = time.monotonic()
    try:
        source, origin = build.build_source(cfg), build.instantiate_node(cfg.init)
        data_hash = source.content_hash()
        if cfg.dry_run:
            return _looked_up(cfg, data_hash, origin)
        with open_run(cfg, data_hash, origin, wait, encoders) as run:
            return _done_in(run, source, began)
    except BusyError as busy:
        print(str(busy), flush=True)
        return RunOutcome("busy", 1, str(busy))
    except MissingEncoderError as error:
        if not cfg.dry_run:
            return _failed(error)
        print(f"{'no encoder':<11} {error.problems[0]}", flush=True)
        return RunOutcome("missing encoder", 0, error.problems[0])
    except Exception as error:
        return _failed(error)


def _looked_up(cfg: Config[Any], data_hash: str, origin: Init) -> RunOutcome:
    """How far a run has come, said and not changed."""
    config_hash = compute_config_hash(cfg.plain, data_hash, origin.hash)
    folder = run_folder(cfg.plain, config_hash, origin)
    state = run_state(folder, config_hash)
    print(f"{state:<11} {folder}", flush=True)
    return RunOutcome(state, folder=str(folder))


def _done_in(run: Run, source: Any, began: float) -> RunOutcome:
    """Call the stage, unless the run is finished."""
    if run.state == "finished":
        print(f"Finished already (overwrite=true does it again): {run.folder}", flush=True)
        return RunOutcome("skipped", folder=str(run.folder))
    try:
        build.import_stage(run.cfg)(run, source)
    except (KeyboardInterrupt, SystemExit) as stop:
        # Lightning makes a SystemExit(1) of SIGINT and one without a code of SIGTERM. Either ends a sweep as well.
        _stopped(run, 143 if isinstance(stop, SystemExit) and stop.code in (None, 143) else 130)
    except Exception as error:
        if (
            number := signals.received_signal()
        ) is not None:  # what a library made of the exception that the signal raised
            _stopped(run, 128 + number)
        run.fail(error)
        if isinstance(error, UserError):
            raise
        raise RunError(f"{_unforeseen(error)} (traceback in {run.folder / 'failure.json'})") from error
    return RunOutcome("done", folder=str(run.folder), seconds=round(time.monotonic() - began, 3))


def _stopped(run: Run, status: int) -> NoReturn:
    print(f"Stopped by a signal. The same command goes on from what is saved: {run.folder}", file=sys.stderr)
    sys.exit(status)


def _failed(error: Exception) -> RunOutcome:
    """A run that ended with an error, which is printed, one line a problem."""
    lines, status = _problems(error)
    _say(lines, status)
    return RunOutcome("failed", status, "\n".join(lines))


def _say(lines: list[str], status: int) -> None:
    for line in lines:
        if status != ConfigError.exit_code or line not in _said:  # the cells of a sweep share their mistakes
            print(line, file=sys.stderr, flush=True)
        _said.add(line)


def _problems(error: Exception) -> tuple[list[str], int]:
    """An error, one line a problem, and its exit code."""
    if isinstance(error, UserError):
        problems, status = error.problems, error.exit_code
    elif isinstance(error, (HydraException, OmegaConfBaseException)):
        problems, status = (_unforeseen(error),), ConfigError.exit_code
    else:
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(place.filename).name}, line {place.lineno}"
        problems, status = (f"{_unforeseen(error)} ({where}). Please report this fault with the command.",), 1
    return [" ".join(problem.splitlines()) for problem in problems], status


def _unforeseen(error: Exception) -> str:
    """What a library, or a fault of ours, raised."""
    if isinstance(error, InstantiationException) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # what a target said is worth more than Hydra's word that it said something
    first = first_line(error)
    if isinstance(error, MemoryError) or "out of memory" in first or "can't allocate memory" in first:
        return f"Out of memory ({first}). Lower stage.batch_size or dataset.size, or raise stage.accumulate."
    return f"{type(error).__name__}: {first}"


if __name__ == "__main__":
    main()
