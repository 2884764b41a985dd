"""How far something long has come: a bar on a terminal, a line now and then elsewhere; on standard error."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LINE_EVERY_S = 10.0
QUIET_S = 2.0  # what is done sooner needs no line


@contextmanager
def progress(title: str, unit: str = "bytes") -> Iterator[Callable[[int, int | None], None]]:
    """Show the progress of a block.

    Args:
        title: what is being done.
        unit: ``bytes``, shown as MB, or the word for the things counted.

    Yields:
        A function of (done, total) to be called now and then; total is None when it is unknown.
    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(title, unit)
        return
    count = DownloadColumn() if unit == "bytes" else MofNCompleteColumn()
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), count, TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def say(line: str) -> None:
    """One line of news on standard error."""
    from rich.console import Console

    Console(stderr=True).print(line, markup=False, highlight=False, soft_wrap=True)


def _lines(title: str, unit: str) -> Callable[[int, int | None], None]:
    last = time.monotonic() - LINE_EVERY_S + QUIET_S

    def show(done: int, total: int | None) -> None:
        nonlocal last
        if time.monotonic() - last < LINE_EVERY_S:
            return
        last = time.monotonic()
        scale, word = (1e6, "MB") if unit == "bytes" else (1, unit)
        of = "" if total is None else f" of {total / scale:,.0f}"
        say(f"{title}: {done / scale:,.0f}{of} {word}")

    return show
