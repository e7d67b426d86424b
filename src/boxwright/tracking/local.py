"""Figures in a file beside the run, always on."""

from __future__ import annotations

import json
import math
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from .metrics_file import METRICS_FILE, read_metrics

__all__ = ["METRICS_FILE", "LocalLogger", "read_metrics"]


class LocalLogger(Logger):
    """Appends one JSON line a call: ``{"epoch", "step", figure: value, ...}``; NaN is written as null.

    Args:
        folder: of the run.
        first_epoch: where this training begins; lines of later epochs, left by an interrupted run, go.
    """

    def __init__(self, folder: Path, first_epoch: int = 0) -> None:
        super().__init__()
        self._path = folder / METRICS_FILE
        self._begin(folder, first_epoch)

    @rank_zero_only
    def _begin(self, folder: Path, first_epoch: int) -> None:
        kept = [line for line in read_metrics(folder) if line["epoch"] < first_epoch]
        self._path.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")

    @property
    def name(self) -> str:
        """Of the logger."""
        return "local"

    @property
    def version(self) -> str:
        """There is one."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Settings are in config.yaml."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Append a line; Lightning hands the epoch over as one of the figures."""
        epoch = int(metrics.get("epoch", -1))
        figures = {key: _or_null(value) for key, value in metrics.items() if key != "epoch"}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"epoch": epoch, "step": step, **figures}) + "\n")


def _or_null(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
