"""Start the loggers in a thread during the first step of a run, since Weights & Biases takes a second or more."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger


class LateLoggers(Callback):
    """Starts loggers in a thread, and gives them to the trainer after its first step, before anything is logged.

    It must precede the callbacks that print, so that the loggers' own lines come first.

    Args:
        start: returns the loggers.
    """

    def __init__(self, start: Callable[[], list[Logger]]) -> None:
        self._loggers: Future[list[Logger]] = Future()
        # A daemon: the process can end while a server does not respond.
        threading.Thread(target=self._work, args=(start,), daemon=True).start()

    def join(self, timeout: float | None = None) -> list[Logger]:
        """Wait for the loggers and return them, or raise the error of their start.

        Args:
            timeout: seconds to wait; None waits as long as the start takes.

        Raises:
            TimeoutError: the loggers have not started in this time.
        """
        return self._loggers.result(timeout)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *batch: Any) -> None:
        if not trainer.loggers:
            trainer.loggers = self.join()

    def _work(self, start: Callable[[], list[Logger]]) -> None:
        try:
            self._loggers.set_result(start())
        except BaseException as error:  # raised again by join
            self._loggers.set_exception(error)
