"""How a run that is told to stop stops: at once, wherever it is, and with all its processes."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

TERMINATED = 143  # the shell's exit code for SIGTERM


@contextmanager
def stoppable() -> Iterator[None]:
    """Inside, SIGTERM raises SystemExit as Ctrl-C raises KeyboardInterrupt; whatever is raised ends child processes.

    No moment is a wrong one, since files are written whole. Lightning alone would finish the epoch's look at the
    validation split first; and Python waits at its end for children that would go on training.
    """
    # Elsewhere Python allows no handlers.
    here = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, _leave) if here else None
    try:
        yield
    except BaseException:
        for child in multiprocessing.active_children():
            child.kill()
        raise
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def _leave(*_: Any) -> NoReturn:
    raise SystemExit(TERMINATED)
