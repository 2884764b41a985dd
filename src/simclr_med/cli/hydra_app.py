"""Overrides: let Hydra compose and run the jobs, report the outcomes.

A job is run by `simclr_med.cli.session.Session`, and each of its runs by `simclr_med.cli.jobs.Job`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

import simclr_med
from simclr_med.cli.arguments import CommandLine, as_sweep_axes, parse_argv
from simclr_med.cli.errors import explain_errors
from simclr_med.cli.failures import describe_unexpected, first_line
from simclr_med.cli.help import help_text
from simclr_med.cli.hydra_keys import check_own_options
from simclr_med.cli.jobs import INTERRUPTED
from simclr_med.cli.session import Session
from simclr_med.config.folders import CONF
from simclr_med.config.registry import register
from simclr_med.errors import ConfigError, RunError
from simclr_med.runs import sweep
from simclr_med.runs.processes import FirstProcess
from simclr_med.runs.signals import discard_output


def run_overrides(words: Sequence[str], processes: FirstProcess | None) -> int:
    """Run what flags and overrides ask for and return the exit code; without any, print the help.

    Raises:
        UserError: a problem of the command line that no job reports.
        BrokenPipeError: the reader of the output has ended.
    """
    command = parse_argv(list(words))
    _check_working_directory()
    if not command.allows_code:
        check_own_options(command.own_folders, command.overrides)
    if command.wants_version:
        print(f"simclr-med {simclr_med.__version__}", flush=True)
        return 0
    folders = [CONF, *([Path(command.config_dir)] if command.config_dir else [])]
    if command.wants_help or not (command.flags or command.overrides):
        print(help_text(folders), flush=True)
        return 0
    register(folders)
    return _run_jobs(command, processes)


def _run_jobs(command: CommandLine, processes: FirstProcess | None) -> int:
    """Let Hydra call a session for each job, then print the summary of a sweep."""
    overrides = as_sweep_axes(command.overrides) if command.is_sweep else command.overrides
    sys.argv[1:] = [*command.flags, *overrides]  # Hydra reads them there
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises its exceptions instead of printing them
    HydraConfig.instance().cfg = None  # a Python process may run several commands, and a fork has Hydra's state
    GlobalHydra.instance().clear()
    session = Session(allow_code=command.allows_code, processes=processes)
    status = 0
    try:
        hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")(session)()
        session.run_postponed()
    except KeyboardInterrupt:
        status = INTERRUPTED
    except SystemExit as stop:  # a signal stopped a run; this ends its sweep as well
        status = stop.code if isinstance(stop.code, int) else 1
    except BrokenPipeError:
        status = discard_output()
    except Exception as error:  # a job reports its own errors, so this one is Hydra's or a launcher's
        status = _report_launch_error(error, explain_errors(command, CONF))
    outcomes = [*session.outcomes, *_finish_sweep()]
    return status or sweep.exit_status(outcomes)


def _finish_sweep() -> list[sweep.RunOutcome]:
    """Print the summary of the sweep that this process started and return its outcomes."""
    folder = sweep.started_sweep()
    outcomes = sweep.read_outcomes(folder) if folder else []
    if folder and outcomes:
        print(sweep.sweep_summary(outcomes, folder), flush=True)
    return [outcome for _, outcome in outcomes]


def _report_launch_error(error: Exception, problems: list[str]) -> int:
    """Print an error raised outside of all jobs and return the exit code.

    Args:
        error: raised by Hydra, or by the launcher of a sweep: a worker was killed, a scheduler rejects jobs.
        problems: of the command line.
    """
    folder = sweep.started_sweep()
    if problems or folder is None:
        if folder is not None:
            sweep.remove_unstarted(folder)
        print("\n".join(problems or [first_line(error)]), file=sys.stderr)
        return ConfigError.exit_code
    if isinstance(error, OSError):
        print(f"{folder}: cannot be written ({error.strerror}). Choose another paths.runs.", file=sys.stderr)
    else:
        print(f"The sweep ended early. Repeat the command to resume. {describe_unexpected(error)}", file=sys.stderr)
    return RunError.exit_code


def _check_working_directory() -> None:
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise RunError("The working directory was removed. Change to another one.") from error
