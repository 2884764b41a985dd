"""Stop a run on SIGTERM or Ctrl-C: at once, and with all its child processes."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

TERMINATED = 143  # the shell's exit code for SIGTERM


class StopSignal:
    """The signal that asked a run to stop.

    Libraries sometimes replace the exception that a signal raises by one of their own. The number stays here.

    Attributes:
        number: of the signal, or None while there was none.
    """

    def __init__(self) -> None:
        self.number: int | None = None

    def terminate(self, number: int, _: Any) -> NoReturn:
        """Handle SIGTERM."""
        self.number = number
        raise SystemExit(TERMINATED)

    def interrupt(self, number: int, _: Any) -> NoReturn:
        """Handle SIGINT."""
        self.number = number
        raise KeyboardInterrupt


@contextmanager
def terminate_on_signal() -> Iterator[StopSignal]:
    """Raise SystemExit on SIGTERM and KeyboardInterrupt on SIGINT inside the block, and kill child processes on errors.

    Stopping is safe at any time: every file is written atomically. Without this, Lightning would finish the epoch's
    validation first, and Python would wait at its end for child processes that still train.
    """
    stop = StopSignal()
    # Python allows signal handlers in the main thread only.
    is_main_thread = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, stop.terminate) if is_main_thread else None
    interrupt = signal.getsignal(signal.SIGINT)
    # Any other handler was set on purpose, for example to ignore Ctrl-C.
    handles_interrupt = is_main_thread and interrupt is signal.default_int_handler
    if handles_interrupt:
        signal.signal(signal.SIGINT, stop.interrupt)
    try:
        yield stop
    except BaseException:
        for child in multiprocessing.active_children():
            child.kill()
        raise
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)
        if handles_interrupt and signal.getsignal(signal.SIGINT) == stop.interrupt:
            signal.signal(signal.SIGINT, interrupt)
