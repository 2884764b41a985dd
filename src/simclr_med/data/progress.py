"""Progress on standard error: a bar on a terminal, a line from time to time elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LINE_EVERY_S = 10.0  # seconds between two lines
QUIET_S = 2.0  # seconds before the first line: short tasks print nothing


@contextmanager
def show_progress(title: str, unit: str = "bytes") -> Iterator[Callable[[int, int | None], None]]:
    """Show the progress of the block.

    Args:
        title: the task, for example ``Downloading bloodmnist.npz``.
        unit: ``bytes``, shown as MB, or the plural of what is counted.

    Yields:
        A function of (done, total) that updates the display; total is None if unknown.
    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _build_line_printer(title, unit)
        return
    count = DownloadColumn() if unit == "bytes" else TextColumn("{task.fields[counted]}")
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), count, TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(title, total=None, counted="")
        yield lambda done, total: bar.update(task, completed=done, total=total, counted=_format_count(done, total))


def print_message(line: str) -> None:
    """Print one line on standard error."""
    from rich.console import Console

    Console(stderr=True).print(line, markup=False, highlight=False, soft_wrap=True)


def _format_count(done: int, total: int | None) -> str:
    return f"{done:,}" if total is None else f"{done:,}/{total:,}"


def _build_line_printer(title: str, unit: str) -> Callable[[int, int | None], None]:
    last = time.monotonic() - LINE_EVERY_S + QUIET_S

    def update(done: int, total: int | None) -> None:
        nonlocal last
        if time.monotonic() - last < LINE_EVERY_S:
            return
        last = time.monotonic()
        scale, label = (1e6, "MB") if unit == "bytes" else (1, unit)
        of_total, end = ("", " so far") if total is None else (f" of {total / scale:,.0f}", "")
        print_message(f"{title}: {done / scale:,.0f}{of_total} {label}{end}")

    return update
