"""Stop a command on SIGTERM, SIGHUP or Ctrl-C: at once, with all its child processes, and without a traceback."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

# The terminal was closed or the connection lost; Windows has no such signal.
_HANGUP = getattr(signal, "SIGHUP", None)
SIGNALS = tuple(number for number in (signal.SIGTERM, _HANGUP) if number is not None)
STEP = "SIMCLR_MED_STEP"  # environment variable of a command that another command of this program started
BROKEN_PIPE = 141  # the shell's exit code for SIGPIPE, which Windows does not have
AGAIN_S = 0.05  # seconds after which a stop that Python dropped is raised again


def exit_code(number: int) -> int:
    """Return the shell's exit code of a process that a signal ended: 130 for Ctrl-C, 143 for SIGTERM."""
    return 128 + number


def exit_on_interrupt() -> None:
    """End the process at once on Ctrl-C, outside of `terminate_on_signal`; a handler that ignores it stays.

    Nothing needs to be cleaned up there, and an exception could be replaced or printed by the import that it hits.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _exit)


def discard_output() -> int:
    """Redirect stdout to nowhere after its reader has ended, as in ``| head``, and return the exit code of SIGPIPE."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return BROKEN_PIPE


def is_step() -> bool:
    """Return whether another command of this program started this one, and reports signals itself."""
    return STEP in os.environ


@contextmanager
def block_signals() -> Iterator[None]:
    """Delay SIGTERM, SIGHUP and SIGINT until the block ends. A fork made inside it calls `reset_signals`."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (*SIGNALS, signal.SIGINT))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def reset_signals() -> None:
    """Handle signals in a fork like a new command. Ignored signals stay ignored."""
    sys.unraisablehook = sys.__unraisablehook__
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, _exit)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (*SIGNALS, signal.SIGINT))


class StopSignal:
    """The signal that asked a run to stop.

    Libraries sometimes replace the exception that a signal raises by one of their own. The number stays here.

    Attributes:
        number: of the signal, or None while there was none.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._exits_at_once = False

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """End the process at once on a signal in this block: for imports, which may replace or drop an exception."""
        self._exits_at_once = True
        try:
            yield
        finally:
            self._exits_at_once = False

    def stop(self, number: int, _: Any) -> None:
        """Handle a signal: raise KeyboardInterrupt for SIGINT, SystemExit for the others.

        A later Ctrl-C ends the process at once. Other later signals are ignored: the run stops already.
        """
        if self._exits_at_once or (self.number is not None and number == signal.SIGINT):
            _exit(number, _)
        if self.number is not None:
            return
        self.number = number
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(exit_code(number))

    def stop_again(self, dropped: Any) -> None:
        """Handle an exception that Python drops (`sys.unraisablehook`), for example one raised in a ``__del__``."""
        if self.number is None:
            sys.__unraisablehook__(dropped)
        elif issubclass(dropped.exc_type, (KeyboardInterrupt, SystemExit)):
            number, self.number = self.number, None
            # To the main thread itself, which may be waiting.
            again = threading.Timer(AGAIN_S, signal.pthread_kill, (threading.main_thread().ident, number))
            again.daemon = True
            again.start()


@contextmanager
def terminate_on_signal() -> Iterator[StopSignal]:
    """Raise an exception on SIGTERM, SIGHUP and SIGINT inside the block, and kill child processes on errors.

    Stopping is safe at any time: every file is written atomically. Without this, Lightning would finish the epoch's
    validation first, and Python would wait at its end for child processes that still train. A signal that the process
    ignores, as SIGHUP under nohup, stays ignored.
    """
    stop = StopSignal()
    before = _handle(stop)
    hook = sys.unraisablehook
    sys.unraisablehook = stop.stop_again
    try:
        yield stop
    except BaseException:
        _kill_children()
        raise
    finally:
        sys.unraisablehook = hook
        for number, handler in before.items():
            if signal.getsignal(number) == stop.stop:  # Lightning ignores Ctrl-C from the first one on
                signal.signal(number, handler)


def _handle(stop: StopSignal) -> dict[int, Any]:
    """Install the handlers and return those before. Python allows it in the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    before: dict[int, Any] = {number: signal.getsignal(number) for number in (*SIGNALS, signal.SIGINT)}
    # Another handler of Ctrl-C was set on purpose, for example to ignore it.
    replaced = (signal.default_int_handler, _exit)
    ours = {
        number: handler
        for number, handler in before.items()
        if (handler in replaced if number == signal.SIGINT else handler not in (signal.SIG_IGN, None))
    }
    for number in ours:
        signal.signal(number, stop.stop)
    return ours


def exit_at_once(number: int) -> None:
    """Make this signal end the process at once; for a process that writes nothing."""
    signal.signal(number, _exit)


def _kill_children() -> None:
    import multiprocessing

    for child in multiprocessing.active_children():
        child.kill()


def _exit(number: int, _: Any) -> NoReturn:
    """End the process at once: no traceback, no waiting for threads and child processes."""
    if "multiprocessing" in sys.modules:
        _kill_children()
    os._exit(exit_code(number))
