"""The progress of a training run on the terminal: epoch, loss, images per second and time left."""

from __future__ import annotations

import time
from collections import deque
from datetime import timedelta
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

BAR_EVERY_S = 0.5  # seconds between two losses of the bar; reading a loss waits for the device
FIRST_ESTIMATE = 10  # batches before the first estimate of the time left
WINDOW_S = 30.0  # seconds of the last batches that the rate is measured over, as that of rich's bar


class ProgressLine(Callback):
    """Shows a bar on a terminal, and a line now and then elsewhere (in a file or in SLURM's log).

    The time left is first shown after ten batches. It follows from the rate of the last batches. Steps are those of the
    optimizer, each of one batch or of several.

    Args:
        images_per_batch: images of a global batch.
        every_s: seconds between two lines without a terminal.
    """

    def __init__(self, images_per_batch: int, every_s: float = 30.0) -> None:
        self.images_per_batch, self.every_s = images_per_batch, every_s
        self._seen = 0
        self._batches = 0
        self._batches_seen: deque[tuple[float, int]] = deque()  # (time, batches) of the last batches
        self._printed_at = 0.0
        self._bar: Progress | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._batches = int(trainer.num_training_batches) * int(trainer.max_epochs or 1)
        self._printed_at = time.monotonic()
        self._batches_seen = deque([(self._printed_at, 0)])

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not trainer.is_global_zero:
            return
        self._seen += 1
        if self._seen == 1:  # not earlier: the loggers print until the first batch is done
            self._start_bar(trainer)
        now = time.monotonic()
        rate = self._rate(now)
        done = self._done(trainer, batch_idx + 1)
        speed = f"{rate * self.images_per_batch:.0f} images/s"
        if self._seen == FIRST_ESTIMATE and done < self._batches:
            left = timedelta(seconds=round((self._batches - done) / rate))
            steps = self._batches // trainer.accumulate_grad_batches
            remaining = steps - done // trainer.accumulate_grad_batches
            self._print(f"{speed}; about {left} left for {remaining} of {steps} steps")
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=done // trainer.accumulate_grad_batches)
        if now - self._printed_at < (self.every_s if self._bar is None else BAR_EVERY_S):
            return
        text = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  loss {float(outputs['loss']):.3f}  {speed}"
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], description=text)
            self._printed_at = now
        else:
            left = timedelta(seconds=round((self._batches - done) / rate))
            self._print(f"{text}  {left} left")

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.teardown(trainer, pl_module, "fit")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _start_bar(self, trainer: Trainer) -> None:
        """Show the progress bar if the output is a terminal."""
        console = Console()
        if console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=console,
                redirect_stdout=False,  # otherwise rich wraps the long paths of other messages
                redirect_stderr=False,
            )
            self._bar.start()
            per_step = trainer.accumulate_grad_batches
            done = self._done(trainer, 0) // per_step
            self._bar.add_task("training", total=self._batches // per_step, completed=done)

    def _rate(self, now: float) -> float:
        """Return the batches per second of the last `WINDOW_S` seconds, without the first batch, which is slow."""
        marks = self._batches_seen
        marks.append((now, self._seen))
        while len(marks) > 2 and (marks[0][1] == 0 or marks[1][0] < now - WINDOW_S):
            marks.popleft()
        (start, first), (end, last) = marks[0], marks[-1]
        return (last - first) / max(end - start, 1e-9)

    def _done(self, trainer: Trainer, batches: int) -> int:
        """Return the batches of all epochs so far, with these of the current one."""
        return trainer.current_epoch * int(trainer.num_training_batches) + batches

    def _print(self, text: str) -> None:
        self._printed_at = time.monotonic()
        if self._bar is not None:
            self._bar.console.print(text)
        else:
            print(text, flush=True)
