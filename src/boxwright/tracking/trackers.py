"""The trackers that a run's settings ask for: each one's start is a line in ``_starts``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from boxwright.config import TrainConfig, settings_shown

from .loggers import GuardedLogger, LocalLogger, Tracker
from .metrics_file import next_step
from .mlflow import RUN_ID_FILE as MLFLOW_ID_FILE
from .mlflow import MlflowTracker
from .needs import require_trackers
from .tensorboard import TensorBoardTracker
from .wandb import RUN_ID_FILE as WANDB_ID_FILE
from .wandb import WandbTracker, wandb_sync_command

__all__ = ["tracking"]

Say = Callable[[str], object]


@contextmanager
def tracking(
    config: TrainConfig, run: Path, first_epoch: int, say: Say, is_new: bool = False
) -> Iterator[list[Logger]]:
    """Start the trackers of a run; close them at the end, and print how an offline W&B run is uploaded.

    Args:
        config: resolved settings.
        run: the run folder.
        first_epoch: where this training begins.
        say: prints a warning about a tracker that fails, which does not stop training, and the command at the end.
        is_new: whether the trackers begin anew, too, although a killed run of that name may have begun there.

    Yields:
        The loggers: the local file first, then the trackers that the settings ask for.

    Raises:
        MissingDependency: see ``require_trackers``.
    """
    require_trackers(config)
    loggers: list[Logger] = [LocalLogger(run, first_epoch)]
    if config.fast_dev_run:
        yield loggers
        return
    if is_new:
        _forget_ids(run)
    step = max(next_step(run) - 1, 0)
    guarded = [GuardedLogger(title, start, say, step) for title, start in _starts(config, run, say).items()]
    try:
        yield [*loggers, *guarded]
    finally:
        for logger in guarded:
            logger.finish()
        command = wandb_sync_command(run) if config.wandb == "offline" else None
        if command:
            say(f"W&B ran offline; to upload: {command}")


@rank_zero_only
def _forget_ids(run: Path) -> None:
    """Let no tracker go on with what it began for another run in this folder."""
    for name in (WANDB_ID_FILE, MLFLOW_ID_FILE):
        with suppress(OSError):  # the tracker says what is in its way
            (run / name).unlink(missing_ok=True)


def _starts(config: TrainConfig, run: Path, say: Say) -> dict[str, Callable[[], Tracker]]:
    assert config.name is not None, "resolved settings have a name"
    name, project, mode, uri, step = config.name, config.wandb_project, config.wandb, config.mlflow, next_step(run)
    settings = settings_shown(config)
    del settings["mlflow"]  # its address may hold a password
    starts: dict[str, Callable[[], Tracker]] = {}
    if mode == "online" or mode == "offline":
        starts["W&B"] = lambda: WandbTracker(run, name, project, mode, settings, say)
    if config.tensorboard:
        starts["TensorBoard"] = lambda: TensorBoardTracker(run, step)
    if uri is not None:
        starts["MLflow"] = lambda: MlflowTracker(run, name, project, uri, settings)
    return starts
