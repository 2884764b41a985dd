"""Stage report: summarises all runs as one page with tables and figures."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from simclr_med.config.schema import Config
from simclr_med.config.stage_nodes import Report
from simclr_med.report.collect import collect_runs
from simclr_med.report.sections import count_states
from simclr_med.report.write import write_report
from simclr_med.runs.names import shown_path
from simclr_med.runs.run import Run
from simclr_med.stages.summary import print_summary
from simclr_med.tracking.dashboard import require_dashboard_package, save_dashboard

if TYPE_CHECKING:
    from simclr_med.data.source import Source


def report(run: Run[Config[Report]], source: Source) -> None:
    """Read every run under paths.runs and write report.html, tables/ and figures/.

    The stage reads neither the data set nor weights. Its run is never marked as finished, so that the same command
    writes the report again.
    """
    del source
    cfg = run.cfg
    if cfg.stage.dashboard:
        require_dashboard_package()
    found = collect_runs(Path(cfg.paths.runs), list(cfg.stage.datasets), cfg.stage.mixed)
    folder = run.folder if cfg.stage.out is None else Path(os.path.expanduser(cfg.stage.out)).absolute()
    target, content = write_report(found, folder, cfg.stage.margin)
    parts = content.sections
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
        logger = cfg.stage.wandb["loggers"][0]
        save_dashboard(logger["project"], list(cfg.stage.datasets), logger["timeout_s"], folder / "dashboard.json")
    print(f"Report:   {shown_path(target)}")
