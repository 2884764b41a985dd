"""Stage report: the answer that all runs give together, as one page with its tables and figures."""

from __future__ import annotations

import os
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simclr_med.errors import RunError
from simclr_med.report.collect import collect_runs
from simclr_med.report.sections import count_states
from simclr_med.report.write import write_report
from simclr_med.runs.run import Run
from simclr_med.stages.summary import print_summary

if TYPE_CHECKING:
    from simclr_med.data.source import Source


def report(run: Run, source: Source) -> None:
    """Read every run under paths.runs and write report.html, tables/ and figures/.

    No data set, no weights: the source is not looked at. The run is never finished, so that the same command makes the
    report anew of what the runs are by then.
    """
    del source
    cfg = run.cfg
    if cfg.stage.dashboard:
        _can_be_drawn()
    found = collect_runs(Path(cfg.paths.runs), list(cfg.stage.datasets), cfg.stage.mixed)
    folder = run.folder if cfg.stage.out is None else Path(cfg.stage.out).expanduser().absolute()
    target, parts = write_report(found, folder)
    rows = {state: str(number) for state, number in count_states(found).items()}
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


def _can_be_drawn() -> None:
    """Told before the report is made, not after.

    Raises:
        RunError: the library is not there.
    """
    if find_spec("wandb_workspaces") is None:
        raise RunError(
            "stage.dashboard=true: must find the package wandb-workspaces. Run pip install 'simclr-med[dashboard]', or "
            "leave stage.dashboard out."
        )


def _dashboard(node: Any, path: Path) -> None:
    """Views of the runs at Weights & Biases, where it can be reached; else what they would be, and why they are not."""
    os.environ.setdefault("WANDB_SILENT", "true")
    from simclr_med.tracking import workspaces
    from simclr_med.tracking.wandb_mode import resolve_mode

    logger = node.wandb.loggers[0]
    project, datasets = logger.project, list(node.datasets)
    workspaces.write_specifications(
        path, workspaces.build_workspaces("", project, datasets), []
    )  # first, since this is where they are checked
    mode, why = resolve_mode(logger.timeout_s)
    entity = os.environ.get("WANDB_ENTITY", "")
    addresses: list[str] = []
    told = ""
    if mode == "online":
        try:
            entity = entity or workspaces.default_entity()
            for workspace in workspaces.build_workspaces(entity, project, datasets):
                addresses.append(workspaces.save(workspace))
                print(f"Dashboard: {addresses[-1]}", flush=True)
        except RunError as error:
            told = str(error)
    else:
        told = f"{why or f'Weights & Biases is {mode} here (WANDB_MODE)'}; the same command makes it when online"
    workspaces.write_specifications(path, workspaces.build_workspaces(entity, project, datasets), addresses)
    if told:
        print(f"Dashboard: not made, for {told}. Its content: {path}", flush=True)
