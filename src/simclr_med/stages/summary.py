"""What a stage prints when it ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from simclr_med.runs.names import shown_path


def print_summary(title: str, rows: Mapping[str, str], folder: Path, pictures: Sequence[Path]) -> None:
    """Print a short table, then the paths of the run's folder and of its pictures."""
    table = Table(show_header=False)
    for name, value in rows.items():
        table.add_row(name, value)
    console = Console(markup=False, emoji=False)  # a data set may be called [red] or :cat:
    # Plain prints: rich would break a title over the table's width, a long path over the terminal's.
    print(title)
    console.print(table)
    print(f"Run:      {shown_path(folder)}")
    for picture in pictures:
        print(f"Picture:  {shown_path(picture)}")


def print_line(folder: Path, rows: Mapping[str, str], seconds: float) -> None:
    """Print the summary of a run that is one of several as a line: its folder's name and its first two scores.

    Args:
        folder: of the run.
        rows: of the summary; an interval after two spaces is left out.
        seconds: wall time.
    """
    scores = ", ".join(f"{name} {value.partition('  ')[0]}" for name, value in list(rows.items())[:2])
    print(f"{folder.name}: {scores}; {seconds:.1f} s", flush=True)
