"""What a stage prints when it ends."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table


def summary(title: str, rows: Mapping[str, str], folder: Path, pictures: list[Path]) -> None:
    """A short table, then the run's folder and its pictures as whole paths that can be copied."""
    table = Table(title=title, show_header=False, title_justify="left")
    for name, value in rows.items():
        table.add_row(name, value)
    console = Console()
    console.print(table)
    # Plain prints: rich would break a long path over two lines.
    print(f"Run:      {folder}")
    for picture in pictures:
        print(f"Picture:  {picture}")
