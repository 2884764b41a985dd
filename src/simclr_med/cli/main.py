"""The command ``simclr-med``: what needs no Hydra at once, the rest in `simclr_med.cli.hydra_app`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from simclr_med.cli.runs_command import run_runs_command
from simclr_med.cli.runs_completion import complete_runs
from simclr_med.errors import RunError, UserError
from simclr_med.runs.launch import find_launch
from simclr_med.runs.processes import FirstProcess, follow
from simclr_med.runs.signals import discard_output


def main() -> None:
    """The console entry."""
    sys.exit(run_command(sys.argv[1:]))


def run_command(argv: Sequence[str]) -> int:
    """Run a command line and return its exit code: 0, 2 for a config error, 1 for any other error.

    Where srun or torchrun started the command in several processes, only that of rank 0 runs it. The others take part
    in its trainings and return the same exit code.
    """
    try:
        launch = find_launch(os.environ)
        if launch is not None and launch.rank > 0:
            return follow(launch)
        processes = None if launch is None else FirstProcess(launch)
    except UserError as error:
        return _report(error)
    status = RunError.exit_code
    try:
        status = _run_command(list(argv), processes)
    finally:
        if processes is not None:
            processes.end(status)
    return status


def _run_command(words: Sequence[str], processes: FirstProcess | None) -> int:
    try:
        if words[:1] == ["runs"]:
            return run_runs_command(words[1:])
        if words[:1] in (["-sc"], ["--shell-completion"]):
            candidates = complete_runs(os.environ.get("COMP_LINE", ""))
            if candidates is not None and words[1:2] and words[1].startswith("query="):
                print("\n".join(candidates))
                return 0
        # Imported late: Hydra takes longer than a list of runs or its completion.
        from simclr_med.cli.hydra_app import run_overrides

        return run_overrides(words, processes)
    except UserError as error:
        return _report(error)
    except BrokenPipeError:
        return discard_output()


def _report(error: UserError) -> int:
    """Print the problems of an error and return the exit code."""
    from simclr_med.cli.failures import ProblemPrinter  # imports Hydra

    return ProblemPrinter().report(error).status


if __name__ == "__main__":
    main()
