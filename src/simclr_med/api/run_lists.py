"""The list of runs as a table of pandas."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import pandas as pd

from simclr_med.runs.records import read_records
from simclr_med.runs.run_table import to_dicts
from simclr_med.runs.selection import sort_records


def list_runs(folder: str | PathLike[str] = "runs") -> pd.DataFrame:
    """Return every run in a folder, the best validation score of each data set first.

    Args:
        folder: of all runs, the ``paths.runs`` of the commands.

    Returns:
        a row per run, with the columns of ``simclr-med runs --json`` and one column per metric (``test/auroc``). Runs
        that cannot be read are left out.

    Examples:
        >>> import simclr_med as sm
        >>> runs = sm.list_runs(runs_folder)
        >>> sorted(runs["stage"])
        ['pretrain', 'probe']
        >>> probes = runs[runs["stage"] == "probe"]
        >>> [0 < score < 1 for score in probes["test/auroc"]]
        [True]
    """
    records, _ = read_records(Path(folder).expanduser().absolute())
    rows = to_dicts(sort_records(records))
    return pd.DataFrame(
        [{key: value for key, value in row.items() if key != "metrics"} | row["metrics"] for row in rows]
    )
