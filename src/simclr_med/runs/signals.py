"""How a run that is told to stop stops: at once, wherever it is, and with all its processes."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

TERMINATED = 143  # the shell's exit code for SIGTERM
_received: list[int] = []


@contextmanager
def terminate_on_signal() -> Iterator[None]:
    """Inside, SIGTERM raises SystemExit as Ctrl-C raises KeyboardInterrupt; whatever is raised ends child processes.

    No moment is a wrong one, since files are written whole. Lightning alone would finish the epoch's look at the
    validation split first; and Python waits at its end for children that would go on training.
    """
    # Elsewhere Python allows no handlers.
    here = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, _leave) if here else None
    interrupt = signal.getsignal(signal.SIGINT)
    if here and interrupt is signal.default_int_handler:  # else somebody wants it ignored, or in another way
        signal.signal(signal.SIGINT, _interrupt)
    _received.clear()
    try:
        yield
    except BaseException:
        for child in multiprocessing.active_children():
            child.kill()
        raise
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)
        if here and signal.getsignal(signal.SIGINT) is _interrupt:
            signal.signal(signal.SIGINT, interrupt)


def received_signal() -> int | None:
    """The signal that told this run to stop, if one did: a library may make another exception of ours."""
    return _received[0] if _received else None


def _leave(number: int, _: Any) -> NoReturn:
    _received.append(number)
    raise SystemExit(TERMINATED)


def _interrupt(number: int, _: Any) -> NoReturn:
    _received.append(number)
    raise KeyboardInterrupt
