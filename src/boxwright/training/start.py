"""``boxwright.train`` and ``boxwright.resume``: what is checked before PyTorch is loaded."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from boxwright.config import TrainConfig, load_config
from boxwright.data import require_data_folder
from boxwright.host.dependencies import require_train_extra

from .result import RunResult

__all__ = ["resume", "train"]


def train(config: TrainConfig | str | Path | None = None, **settings: Any) -> RunResult:
    """Train a detector.

    Args:
        config: settings, or the YAML file that holds them.
        **settings: single settings by name, which replace those of ``config``; see ``TrainConfig``.

    Returns:
        The run folder and the specification of its best epoch.

    Raises:
        ConfigError: an unknown setting or a value that does not fit.
        DataError: the data cannot be trained on; nothing was started.
        ModelError: unknown model, unusable weights, or a loss that is not finite.
        MissingDependency: ``boxwright[train]`` is not installed.
    """
    if isinstance(config, TrainConfig):
        resolved = load_config(None, {**config.model_dump(exclude_unset=True), **settings})
    else:
        resolved = load_config(Path(config) if config else None, settings)
    require_train_extra()
    require_data_folder(resolved.data)  # a wrong path is reported before PyTorch is loaded, which takes seconds
    from .train import train as run_training

    return run_training(resolved, write_report=import_module("boxwright.reporting").report_run)


def resume(run: str | Path) -> RunResult:
    """Continue an interrupted run; see ``boxwright train --resume``.

    Raises:
        ArchiveError: not a run folder.
        ConfigError: the run is complete.
        ContractError: the data's classes are no longer the run's.
    """
    require_train_extra()
    from .train import resume as resume_training

    return resume_training(Path(run), write_report=import_module("boxwright.reporting").report_run)
