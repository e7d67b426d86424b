"""What a person sees while training: a progress bar, a table of epochs, and pictures in the trackers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast

import lightning as L
from lightning.pytorch.callbacks import Callback, EarlyStopping
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from boxwright.data import Split
from boxwright.host.console import spoken
from boxwright.metrics import Figures
from boxwright.runtime import Detections, PictureError, decode
from boxwright.runtime.picture import LARGEST_PIXELS
from boxwright.tracking.loggers import GuardedLogger
from boxwright.tracking.media import Gallery, TrackedPicture, choose_pictures, shown_after

__all__ = ["EpochTable", "Patience", "TrackPictures"]

_COLUMNS = (
    ("loss", "train/loss", 8, ".4f"),
    ("mAP", "val/map", 7, ".4f"),
    ("mAP50", "val/map_50", 7, ".4f"),
    ("F2", "val/f2", 7, ".4f"),
    ("at score", "val/threshold", 8, ".3f"),
    ("lr", "train/learning_rate", 8, ".1e"),
    ("img/s", "train/images_per_s", 7, ".2f"),
)


_SECONDS = 60.0  # between two lines within an epoch, in a log file
_BLINK = 0.2  # between two states of the bar: each reads the loss, for which a GPU must be waited for


class _Clock:
    """How long steps and validation batches take, and so how much time is left."""

    def __init__(self) -> None:
        self._seconds = {"train": 0.0, "valid": 0.0}
        self._batches = {"train": 0, "valid": 0}
        self._last = time.monotonic()

    def start(self) -> None:
        """A batch begins, or waiting for it."""
        self._last = time.monotonic()

    def stop(self, part: str) -> None:
        """A batch of ``train`` or ``valid`` is done; the next begins."""
        now = time.monotonic()
        self._seconds[part] += now - self._last
        self._batches[part] += 1
        self._last = now

    def left(self, trainer: L.Trainer, part: str, done: int) -> float:
        """Seconds to the end of the training, when ``done`` batches of this epoch's ``train`` or ``valid`` are."""
        epochs = max((trainer.max_epochs or 0) - trainer.current_epoch, 1)
        train, valid = int(trainer.num_training_batches), int(sum(trainer.num_val_batches))
        steps = train * epochs - (done if part == "train" else train)
        validations = valid * epochs - (done if part == "valid" else 0)
        step = self._mean("train", 0.0)
        return steps * step + validations * self._mean("valid", step / 4)  # a picture, forward only

    def _mean(self, part: str, unknown: float) -> float:
        return self._seconds[part] / self._batches[part] if self._batches[part] else unknown


class EpochTable(Callback):
    """Prints one line per epoch, with a star behind the best so far.

    Within an epoch: on a terminal a progress bar, in a file or a pipe one line per minute, both with the time left.

    Args:
        monitor: the figure that makes an epoch the best.
        console: where to write.
    """

    def __init__(self, monitor: str, console: Console) -> None:
        self._monitor = monitor
        self._console = console
        self._best = -math.inf
        self._epoch_began = self._printed = 0.0
        self._bar: Progress | None = None
        self._clock = _Clock()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Print the head of the table."""
        names = "".join(f"{name:>{width + 2}}" for name, _, width, _ in _COLUMNS)
        self._console.print(f"{'epoch':>7}{names}{'time':>8}   (* the best so far)")
        self._begin(trainer)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show the bar; an epoch that is resumed in its middle does not begin, as far as Lightning is concerned."""
        self._begin(trainer)

    def _begin(self, trainer: L.Trainer) -> None:
        self._epoch_began = self._printed = time.monotonic()
        self._clock.start()
        self._show(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs} train", int(trainer.num_training_batches))

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        """Advance the bar, or print a line."""
        step = int(args[-1]) + 1
        self._clock.stop("train")
        loss = cast(_Measured, pl_module).loss
        self._advance(trainer, "train", step, f"loss {float(loss):.4f}, " if loss is not None and self._is_due else "")

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show the bar of the validation."""
        batches = trainer.num_val_batches
        self._clock.start()
        self._show(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs} valid", int(sum(batches)))

    def on_validation_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        """Advance the bar, or print a line."""
        self._clock.stop("valid")
        self._advance(trainer, "valid", int(args[2]) + 1, "")

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Print the epoch's line."""
        self._hide()
        values = trainer.callback_metrics
        cells = "".join(f"{float(values.get(key, math.nan)):>{width + 2}{form}}" for _, key, width, form in _COLUMNS)
        monitored = float(values.get(self._monitor, math.nan))
        star = " *" if monitored > self._best else ""
        self._best = max(self._best, monitored)
        seconds = time.monotonic() - self._epoch_began
        self._console.print(f"{trainer.current_epoch + 1:>7}{cells}{seconds:>7.0f}s{star}")

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Remove the bar; after Ctrl-C say that the end takes a moment."""
        self._hide()
        if isinstance(exception, KeyboardInterrupt):
            self._console.print("Stopping; what was reached is being written.")

    def state_dict(self) -> dict[str, Any]:
        """The best so far, so that a resumed run compares with it."""
        return {"best": self._best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """See ``state_dict``."""
        self._best = state_dict["best"]

    def _show(self, text: str, total: int) -> None:
        self._hide()
        if not self._console.is_terminal:
            return
        whole = TextColumn("{task.fields[whole]}")
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), whole)
        self._bar = Progress(*columns, console=self._console, transient=True)
        self._bar.add_task(text, total=total, whole="")
        self._bar.start()

    @property
    def _is_due(self) -> bool:
        return time.monotonic() - self._printed > (_SECONDS if self._bar is None else _BLINK)

    def _advance(self, trainer: L.Trainer, part: str, done: int, loss: str) -> None:
        if not self._is_due:
            return
        self._printed = time.monotonic()
        left = spoken(self._clock.left(trainer, part, done))
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=done, whole=f"{loss}whole run: {left} left")
            return
        total = int(trainer.num_training_batches if part == "train" else sum(trainer.num_val_batches))
        what = "step" if part == "train" else "validation"
        self._console.print(
            f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}, {what} {done}/{total}, {loss}{left} left"
        )

    def _hide(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


class Patience(EarlyStopping):
    """Ends training when the monitored figure no longer gets better, and says so.

    Args:
        monitor: the figure.
        epochs: so many without a better one end it.
        console: where to write.
    """

    def __init__(self, monitor: str, epochs: int, console: Console) -> None:
        super().__init__(monitor, mode="max", patience=epochs, min_delta=0.0)
        self._console = console

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting; the patience is that of the settings, and a training that goes on was not stopped."""
        super().load_state_dict({**state_dict, "patience": self.patience, "stopped_epoch": 0})

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Say why it ended."""
        if self.stopped_epoch:
            epochs = f"{self.patience} epoch{'s' * (self.patience > 1)}"
            self._console.print(f"{epochs} without a better {self.monitor}: training ends.")


class _Measured(Protocol):
    """What a ``DetectionModule`` knows after steps and validation."""

    loss: Tensor | None
    figures: Figures | None
    detections: Mapping[int, Detections]


class TrackPictures(Callback):
    """Shows the same validation pictures in the trackers after epochs 1, 2, 4, 8, 16 … and the last.

    What trackers store of them grows with the logarithm of the epochs.

    Args:
        split: the validation split.
        class_names: by class index.
        most: how many pictures; 0 shows none.
        say: prints a warning if a picture can no longer be read.
    """

    def __init__(self, split: Split, class_names: Sequence[str], most: int, say: Callable[[str], object]) -> None:
        self._records = split.pictures
        self._class_names = tuple(class_names)
        self._chosen = choose_pictures([len(record.labels) for record in split.pictures], most)
        self._say = say
        self._last_shown = -1

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show them after the chosen epochs; the module has measured by now."""
        if not trainer.sanity_checking and shown_after(trainer.current_epoch):
            self._show(trainer, cast(_Measured, pl_module), trainer.current_epoch)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show them with the detections of the last epoch."""
        self._show(trainer, cast(_Measured, pl_module), trainer.current_epoch - 1)

    def _show(self, trainer: L.Trainer, measured: _Measured, epoch: int) -> None:
        loggers = [one for one in trainer.loggers if isinstance(one, GuardedLogger) and one.tracking]
        if not loggers or not trainer.is_global_zero or measured.figures is None or epoch == self._last_shown:
            return
        pictures = self._pictures(measured.detections)
        if not pictures:
            return
        threshold = measured.figures.threshold
        gallery = Gallery(pictures, self._class_names, threshold, epoch, trainer.global_step)
        for logger in loggers:
            logger.show_pictures(gallery)
        self._last_shown = epoch

    def _pictures(self, detections: Mapping[int, Detections]) -> tuple[TrackedPicture, ...]:
        try:
            return tuple(self._tracked(index, detections[index]) for index in self._chosen if index in detections)
        except PictureError as error:  # with a cache, training goes on although the folder is gone
            self._say(f"Warning: no pictures are tracked any more. {error}")
            self._chosen = ()
            return ()

    def _tracked(self, index: int, detections: Detections) -> TrackedPicture:
        record = self._records[index]
        image = decode(record.path, LARGEST_PIXELS)
        return TrackedPicture(index, record.path.name, image, record.boxes, record.labels, detections).shrunk()
