"""What a person sees while training: a progress bar, and a table that stays."""

from __future__ import annotations

import math
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["EpochTable"]

_COLUMNS = (
    ("loss", "train/loss", 8, ".4f"),
    ("mAP", "val/map", 7, ".4f"),
    ("mAP50", "val/map_50", 7, ".4f"),
    ("F2", "val/f2", 7, ".4f"),
    ("at score", "val/threshold", 8, ".3f"),
    ("lr", "train/learning_rate", 8, ".1e"),
    ("img/s", "train/images_per_s", 7, ".2f"),
)


class EpochTable(Callback):
    """One line an epoch, a star behind the best so far; a bar below while it runs on a terminal.

    Args:
        monitor: the figure that makes an epoch the best.
        console: where to write.
    """

    def __init__(self, monitor: str, console: Console) -> None:
        self._monitor = monitor
        self._console = console
        self._best = -math.inf
        self._epoch_began = 0.0
        self._bar: Progress | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Print the head of the table."""
        names = "".join(f"{name:>{width + 2}}" for name, _, width, _ in _COLUMNS)
        self._console.print(f"{'epoch':>7}{names}{'time':>8}")

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show the bar."""
        self._epoch_began = time.perf_counter()
        self._show(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs} train", int(trainer.num_training_batches))

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        """Advance the bar."""
        self._advance()

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Change the bar over."""
        batches = trainer.num_val_batches
        self._show(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs} valid", int(sum(batches)))

    def on_validation_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        """Advance the bar."""
        self._advance()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Print the epoch's line."""
        self._hide()
        values = trainer.callback_metrics
        cells = "".join(f"{float(values.get(key, math.nan)):>{width + 2}{form}}" for _, key, width, form in _COLUMNS)
        monitored = float(values.get(self._monitor, math.nan))
        star = " *" if monitored > self._best else ""
        self._best = max(self._best, monitored)
        seconds = time.perf_counter() - self._epoch_began
        self._console.print(f"{trainer.current_epoch + 1:>7}{cells}{seconds:>7.0f}s{star}")

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Take the bar away."""
        self._hide()

    def state_dict(self) -> dict[str, Any]:
        """The best so far, so that a resumed run goes on comparing."""
        return {"best": self._best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """See ``state_dict``."""
        self._best = state_dict["best"]

    def _show(self, text: str, total: int) -> None:
        self._hide()
        if not self._console.is_terminal:
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=self._console, transient=True)
        self._bar.add_task(text, total=total)
        self._bar.start()

    def _advance(self) -> None:
        if self._bar is not None:
            self._bar.advance(self._bar.task_ids[0])

    def _hide(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
