"""Stage report: summarise all runs in one page with tables and figures."""

from __future__ import annotations

import os
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from simclr_med.config.schema import Config
from simclr_med.config.stage_nodes import Report
from simclr_med.errors import RunError
from simclr_med.report.collect import collect_runs
from simclr_med.report.sections import counts
from simclr_med.report.write import write_report
from simclr_med.runs.run import Run
from simclr_med.stages.summary import print_summary

if TYPE_CHECKING:
    from simclr_med.data.source import Source


def report(run: Run[Config[Report]], source: Source) -> None:
    """Read every run under paths.runs and write report.html, tables/ and figures/.

    The stage reads no data set and no weights. It never finishes its run, so that the same command writes the report
    again.
    """
    del source
    cfg = run.cfg
    if cfg.stage.dashboard:
        _require_workspaces()
    found = collect_runs(Path(cfg.paths.runs), list(cfg.stage.datasets), cfg.stage.mixed)
    folder = run.folder if cfg.stage.out is None else Path(cfg.stage.out).expanduser().absolute()
    target, parts = write_report(found, folder)
    rows = {state: str(number) for state, number in counts(found).items()}
    for part in parts:
        for table in part.tables:
            if table.name == "comparisons":
                verdicts = Counter(table.numbers["verdict"])
                rows["comparisons"] = ", ".join(f"{number} {word}" for word, number in verdicts.most_common())
    rows |= {"tables": str(sum(len(part.tables) for part in parts))}
    rows |= {"figures": str(sum(len(part.charts) for part in parts))}
    number = found.table["dataset"].nunique()
    print_summary(f"Report on {number} data set{'s' * (number > 1)}", rows, folder, [])
    if cfg.stage.dashboard:
        _dashboard(cfg.stage, folder / "dashboard.json")
    print(f"Report:   {target}")


def _require_workspaces() -> None:
    """Check for the library of the dashboard before the report is made.

    Raises:
        RunError: the library is not installed.
    """
    if find_spec("wandb_workspaces") is None:
        raise RunError(
            "stage.dashboard=true: the package wandb-workspaces is not installed. Run pip install "
            "'simclr-med[dashboard]', or leave stage.dashboard out."
        )


def _dashboard(stage: Report, path: Path) -> None:
    """Make views of the runs at Weights & Biases, or write their content to path and say why not."""
    os.environ.setdefault("WANDB_SILENT", "true")
    from simclr_med.tracking import workspaces
    from simclr_med.tracking.wandb_mode import resolve_mode

    logger = stage.wandb["loggers"][0]
    project, datasets = logger["project"], list(stage.datasets)
    workspaces.write_specifications(
        path, workspaces.build_workspaces("", project, datasets), []
    )  # first, since this is where they are checked
    mode, why = resolve_mode(logger["timeout_s"])
    entity = os.environ.get("WANDB_ENTITY", "")
    addresses: list[str] = []
    problem = ""
    if mode == "online":
        try:
            entity = entity or workspaces.default_entity()
            for workspace in workspaces.build_workspaces(entity, project, datasets):
                addresses.append(workspaces.save(workspace))
                print(f"Dashboard: {addresses[-1]}", flush=True)
        except RunError as error:
            problem = str(error)
    else:
        problem = f"{why or f'Weights & Biases is {mode} here (WANDB_MODE)'}; the same command makes it when online"
    workspaces.write_specifications(path, workspaces.build_workspaces(entity, project, datasets), addresses)
    if problem:
        print(f"Dashboard: not made: {problem}. Its content: {path}", flush=True)
