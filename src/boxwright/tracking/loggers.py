"""The loggers of a run: the local file, and a guard that keeps a failing tracker from stopping training."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from boxwright.host.files import write_text

from .media import BestModel, Gallery
from .metrics_file import METRICS_FILE, read_metrics

__all__ = ["GuardedLogger", "LocalLogger", "Tracker"]

_LONGEST_REASON = 300  # characters; HTTP clients put whole call chains into one line


class _NamedLogger(Logger):
    """A logger without settings and versions of its own: settings are in config.yaml, and trackers get them at once."""

    def __init__(self, title: str) -> None:
        super().__init__()
        self._title = title

    @property
    def name(self) -> str:
        """Of the tracker."""
        return self._title

    @property
    def version(self) -> str:
        """A run has one."""
        return ""

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """See the class."""


class LocalLogger(_NamedLogger):
    """Appends one JSON line per call: ``{"epoch", "step", figure: value, ...}``; NaN is written as null.

    Args:
        folder: of the run.
        first_epoch: where this training begins; lines of later epochs, left by an interrupted run, are removed.
    """

    def __init__(self, folder: Path, first_epoch: int = 0) -> None:
        super().__init__("local")
        self._path = folder / METRICS_FILE
        self._begin(folder, first_epoch)

    @rank_zero_only
    def _begin(self, folder: Path, first_epoch: int) -> None:
        kept = [line for line in read_metrics(folder) if line["epoch"] < first_epoch]
        write_text(self._path, "".join(json.dumps(line) + "\n" for line in kept))

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Append a line; Lightning passes the epoch as one of the figures."""
        epoch = int(metrics.get("epoch", -1))
        figures = {key: _or_null(value) for key, value in metrics.items() if key != "epoch"}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"epoch": epoch, "step": step, **figures}) + "\n")


def _or_null(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


class Tracker(ABC):
    """One tracker of one run; its methods raise whatever its library raises.

    Attributes:
        logger: Lightning's, for the figures.
    """

    logger: Logger

    def log_figures(self, figures: Mapping[str, float], step: int | None) -> None:
        """Log figures by key at a training step, and write them out."""
        self.logger.log_metrics(dict(figures), step)
        self.logger.save()

    @abstractmethod
    def show_pictures(self, gallery: Gallery) -> None:
        """Show the fixed pictures with the detections of an epoch's model."""

    @abstractmethod
    def show_best(self, best: BestModel, step: int) -> None:
        """Show tables, curves and files of the best model."""

    @abstractmethod
    def finish(self, status: str) -> None:
        """Close the run.

        Args:
            status: ``success`` or ``failed``, Lightning's words.
        """

    @abstractmethod
    def abandon(self) -> None:
        """Give up after a failure; the tracker must print nothing later."""


class GuardedLogger(_NamedLogger):
    """A tracker as Lightning sees it. If it fails, one warning is printed, it is dropped, and training goes on.

    The run ends with ``finish``, not where Lightning finalises it: the best model is shown in between.
    Only the process of rank zero tracks.

    Args:
        title: the tracker's name for people.
        start: makes it.
        say: prints the warning.
        step: the last one that an interrupted run has logged.
    """

    def __init__(self, title: str, start: Callable[[], Tracker], say: Callable[[str], object], step: int = 0) -> None:
        super().__init__(title)
        self._say = say
        self._status = "success"
        self._step = step
        self._tracker: Tracker | None = None
        self._begin(start)

    @rank_zero_only
    def _begin(self, start: Callable[[], Tracker]) -> None:
        try:
            self._tracker = start()
        except Exception as error:  # trackers' errors share no base
            self._warn("does not track", error)

    @property
    def tracking(self) -> bool:
        """Whether the tracker is in use: it started, did not fail, and is not finished."""
        return self._tracker is not None

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log figures by key."""
        self._step = max(self._step, step or 0)
        self._attempt(lambda tracker: tracker.log_figures(metrics, step))

    def show_pictures(self, gallery: Gallery) -> None:
        """See ``Tracker``."""
        self._attempt(lambda tracker: tracker.show_pictures(gallery))

    def show_best(self, best: BestModel) -> None:
        """Log the best model's figures at the last step logged, and show its tables, curves and files."""
        self._attempt(lambda tracker: tracker.log_figures(best.figures, self._step))
        self._attempt(lambda tracker: tracker.show_best(best, self._step))

    def finalize(self, status: str) -> None:
        """Remember how the fit ended."""
        self._status = "failed" if status == "failed" else "success"

    def finish(self) -> None:
        """Close the run, once."""
        self._attempt(lambda tracker: tracker.finish(self._status))
        self._tracker = None

    def _attempt(self, action: Callable[[Tracker], object]) -> None:
        if self._tracker is None:
            return
        try:
            action(self._tracker)
        except Exception as error:  # trackers' errors share no base
            self._warn("no longer tracks", error)
            self._tracker.abandon()
            self._tracker = None

    def _warn(self, what: str, error: Exception) -> None:
        lines = str(error).strip().splitlines() or [""]
        reason = f"{type(error).__name__}: {lines[0]}"[:_LONGEST_REASON].rstrip(".: ")
        self._say(f"Warning: {self._title} {what} this run; training goes on. {reason}.")
