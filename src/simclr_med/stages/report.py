"""Stage report: the answer that all runs give together, as one page with its tables and figures."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from simclr_med.reporting.collect import collect
from simclr_med.reporting.publish import publish
from simclr_med.reporting.sections import counts
from simclr_med.reporting.terminal import summary
from simclr_med.runs import Run

if TYPE_CHECKING:
    from simclr_med.data.source import Source


def report(run: Run, source: Source) -> None:
    """Read every run under paths.runs and write report.html, tables/ and figures/.

    No data set, no weights: the source is not looked at. The run is never finished, so that the same command makes the
    report anew of what the runs are by then.
    """
    del source
    cfg = run.cfg
    found = collect(Path(cfg.paths.runs), list(cfg.stage.datasets), cfg.stage.mixed)
    folder = run.folder if cfg.stage.out is None else Path(cfg.stage.out).expanduser().absolute()
    target, parts = publish(found, folder)
    rows = {state: str(number) for state, number in counts(found).items()}
    for part in parts:
        for table in part.tables:
            if table.name == "comparisons":
                verdicts = Counter(table.numbers["verdict"])
                rows["comparisons"] = ", ".join(f"{number} {word}" for word, number in verdicts.most_common())
    rows |= {"tables": str(sum(len(part.tables) for part in parts))}
    rows |= {"figures": str(sum(len(part.charts) for part in parts))}
    number = found.table["dataset"].nunique()
    summary(f"Report on {number} data set{'s' * (number > 1)}", rows, folder, [])
    print(f"Report:   {target}")
