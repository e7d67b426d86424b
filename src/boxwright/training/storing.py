"""A run that is kept in remote storage, too, while it is trained."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from boxwright.inputs.stores import Sender
from boxwright.runtime import BoxwrightError, ConfigError

from .checkpoints import LAST

__all__ = ["InStep"]


class InStep(Callback):
    """Sends a run to remote storage: at the start, when there is a new checkpoint, and at the end.

    A checkpoint is sent with the first batch after it: only then are the figures of its epoch in their file. It is sent
    after all other files, so that what is there is at any time what a killed run leaves on a disk.

    Args:
        folder: of the run.
        url: of the run.
        resumed: whether the folder has just come from there.
        say: prints a line.
    """

    def __init__(self, folder: Path, url: str, resumed: bool, say: Callable[[str], object]) -> None:
        self._folder = folder
        self._url = url
        self._say = say
        self._sender = Sender(folder, url, (LAST,), sent=resumed)
        self._checkpoint = self._stamp()

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The name is taken from now on, or nothing begins."""
        if trainer.is_global_zero:
            self._sender.send()

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        """Send what belongs to a new checkpoint."""
        if trainer.is_global_zero and self._stamp() != self._checkpoint:
            self._checkpoint = self._stamp()
            self._try()

    def finish(self) -> None:
        """Send the rest.

        Raises:
            ConfigError: the remote storage cannot be reached or written.
        """
        try:
            self._sender.send()
        except BoxwrightError as error:
            remedy = f"The run is whole in {shlex.quote(str(self._folder))}: copy it to {self._url}."
            raise ConfigError(error.message, remedy) from error

    def _try(self) -> None:
        try:
            self._sender.send()
        except BoxwrightError as error:  # training need not end for that
            self._say(f"Warning: {error.message} The run will be sent with its next checkpoint.")

    def _stamp(self) -> int | None:
        path = self._folder / LAST
        return path.stat().st_mtime_ns if path.is_file() else None
