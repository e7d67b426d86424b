"""Checkpoints that survive a kill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from boxwright.host.files import replacing
from boxwright.runtime import ArchiveError

from .module import CHECKPOINT_KEY

__all__ = ["BEST", "LAST", "AtomicCheckpointIO", "checkpoint_callbacks", "read_checkpoint"]

BEST = "checkpoints/best.ckpt"
LAST = "checkpoints/last.ckpt"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Replaces the file only when the new one is complete, so that after a crash the previous one is there."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """See Lightning."""
        with replacing(Path(path)) as part:
            super().save_checkpoint(checkpoint, part, storage_options)


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
