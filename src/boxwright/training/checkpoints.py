"""Checkpoints that survive a kill."""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Iterator, Mapping, ValuesView
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from boxwright.host.files import replacing
from boxwright.models.weights_files import CHECKPOINT_KEY
from boxwright.runtime import ArchiveError, ConfigError

from .folders import CHECKPOINTS

__all__ = [
    "BEST",
    "LAST",
    "SO_FAR",
    "AtomicCheckpointIO",
    "TimedCheckpoint",
    "checkpoint_callbacks",
    "read_checkpoint",
    "save",
]

BEST = f"{CHECKPOINTS}/best.ckpt"
LAST = f"{CHECKPOINTS}/last.ckpt"

SO_FAR = "so_far"
"""Among our entries of a checkpoint, if it was saved within an epoch: what of it is done."""

_TO_GO_ON = ("optimizer_states", "lr_schedulers", "current_model_state")
"""What only a training that goes on needs: it goes on from the last checkpoint, never from the best one. The third is
what a moving average is the average of; the average is the ``state_dict``."""

_TOGETHER = 20  # steps between two looks at the clock, if several processes must decide the same


class AtomicCheckpointIO(TorchCheckpointIO):
    """Replaces the file only when the new one is complete, so that after a crash the previous one is there.

    The best checkpoint is written without what only a training that goes on needs: with Adam that is two thirds of it.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """See Lightning.

        Raises:
            ConfigError: it cannot be written, because the disk is full, or for another reason.
        """
        if Path(path).name == Path(BEST).name:
            checkpoint = {key: value for key, value in checkpoint.items() if key not in _TO_GO_ON}
        try:
            save(checkpoint, Path(path))
        except OSError as error:
            raise ConfigError(*_not_written(Path(path), checkpoint, error)) from error


def save(document: Any, path: Path) -> None:
    """Write a document with ``torch.save``, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    with replacing(path) as part, part.open("wb") as file:
        try:
            torch.save(document, file)
        except RuntimeError as error:  # what PyTorch's writer makes of the file's own error, and of Ctrl-C
            if isinstance(error.__context__, OSError | KeyboardInterrupt):
                raise error.__context__ from None
            raise


def _not_written(path: Path, checkpoint: Mapping[str, Any], error: OSError) -> tuple[str, str]:
    """What to say of a checkpoint that cannot be written, and what can be done."""
    needed = sum(one.nbytes for one in _tensors(checkpoint))
    try:
        free = f", {shutil.disk_usage(path.parent).free >> 20} MiB are free"
    except OSError:  # the folder is gone
        free = ""
    run = shlex.quote(str(path.parent.parent))
    return (
        f"{path}: cannot be written: {error.strerror}. It takes {(needed >> 20) + 1} MiB{free}.",
        f"What was saved before is still there. When there is room: boxwright train --resume {run}",
    )


def _tensors(document: Any) -> Iterator[torch.Tensor]:
    if isinstance(document, torch.Tensor):
        yield document
    children = document.values() if isinstance(document, Mapping) else document
    if isinstance(children, list | tuple | ValuesView):
        for child in children:
            yield from _tensors(child)


class _MovableCheckpoint(ModelCheckpoint):
    """Keeps its best score when the run folder was moved; Lightning's forgets it."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """See Lightning."""
        path = str(Path(str(self.dirpath)) / f"{self.filename}.ckpt")
        here = {"dirpath": self.dirpath, "best_model_path": path, "kth_best_model_path": path, "last_model_path": ""}
        scores = dict.fromkeys([path][: len(state_dict["best_k_models"])], state_dict["kth_value"])
        super().load_state_dict({**state_dict, **here, "best_k_models": scores})


def checkpoint_callbacks(folder: Path, monitor: str) -> list[ModelCheckpoint]:
    """The best by ``monitor`` and the last, both saved after every epoch's validation."""
    best, last = folder / BEST, folder / LAST
    return [
        _MovableCheckpoint(
            dirpath=best.parent,
            filename=best.stem,
            monitor=monitor,
            mode="max",
            save_top_k=1,
            enable_version_counter=False,
        ),
        _MovableCheckpoint(
            dirpath=last.parent,
            filename=last.stem,
            save_on_train_epoch_end=True,
            save_top_k=1,
            enable_version_counter=False,
        ),
    ]


class TimedCheckpoint(Callback):
    """Saves the last checkpoint within long epochs, too, so that a killed run loses some minutes at most.

    Saved only right after a step of the optimizer: gradients that are still being added up are in no checkpoint. The
    end of an epoch is left to the checkpoint that follows its validation.

    Args:
        path: of the checkpoint.
        minutes: between two.
    """

    def __init__(self, path: Path, minutes: float) -> None:
        self._path = path
        self._seconds = 60 * minutes
        self._saved = time.monotonic()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The last epoch's was saved just now."""
        self._saved = time.monotonic()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        """Save if it is time."""
        done = int(args[-1]) + 1
        stepped = done % trainer.accumulate_grad_batches == 0 and done < trainer.num_training_batches
        if stepped and self._is_time(trainer):
            trainer.save_checkpoint(self._path)
            self._saved = time.monotonic()

    def _is_time(self, trainer: L.Trainer) -> bool:
        if trainer.world_size > 1 and trainer.global_step % _TOGETHER:
            return False
        return bool(trainer.strategy.broadcast(time.monotonic() - self._saved >= self._seconds))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of ours, without running code from it.

    Raises:
        ArchiveError: missing, broken, or not ours.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the restricted unpickler raises any type of error
        raise ArchiveError(f"{path}: not a readable checkpoint: {error}.", "Train again.") from error
    if not isinstance(checkpoint, dict) or CHECKPOINT_KEY not in checkpoint:
        raise ArchiveError(f"{path}: not a checkpoint of boxwright.", "Give a run folder of boxwright train.")
    return checkpoint
