"""``train`` and ``resume``. Wrong settings and folders are found before PyTorch is loaded, which takes seconds."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boxwright.config import AUTO, CONFIG_FILE, TrainConfig, load_config
from boxwright.data import require_data_folder
from boxwright.host.dependencies import require_train_extra
from boxwright.models import require_family
from boxwright.runtime import ArchiveError, DataError, ModelSpec

if TYPE_CHECKING:
    import lightning as L
    from rich.console import Console

__all__ = ["MakeTrainer", "RunResult", "resume", "train"]

MakeTrainer = Callable[..., "L.Trainer"]
"""Makes the Trainer from Lightning's keyword options."""


@dataclass(frozen=True)
class RunResult:
    """A run.

    Attributes:
        folder: ``OUT/NAME``.
        spec: of the best epoch, with operating point and figures; None after a fast dev run, after an
            interruption before the end of the first epoch, and in all processes but the first.
        interrupted: whether Ctrl-C ended it.
    """

    folder: Path
    spec: ModelSpec | None
    interrupted: bool


def train(
    config: TrainConfig | str | Path | None = None,
    *,
    console: Console | None = None,
    make_trainer: MakeTrainer | None = None,
    **settings: Any,
) -> RunResult:
    """Train a detector; all results are in the run folder ``OUT/NAME``.

    The data is checked and the weights are loaded before the run folder is made.

    Args:
        config: settings, or the YAML file that holds them.
        console: for progress; standard output by default.
        make_trainer: makes the Trainer from our keyword options (``accelerator``, ``devices``, ``strategy``,
            ``callbacks``, ``plugins`` with the checkpoint storage, ``logger`` and others); it may change and add
            options. ``lightning.Trainer`` by default. If there are several processes, the first one writes the run.
        **settings: single settings by name, which replace those of ``config``; see ``TrainConfig``.

    Returns:
        The run folder and the specification of its best epoch.

    Raises:
        ConfigError: an unknown setting, a value that does not fit, or a run of that name exists.
        DataError: the data cannot be trained on; nothing was started.
        MissingDependency: ``boxwright[train]``, or what the model or a tracker that the settings ask for needs, is not
            installed.
        ModelError: unknown model, unusable weights, or a loss that is not finite.
    """
    if isinstance(config, TrainConfig):
        resolved = load_config(None, {**config.model_dump(exclude_unset=True), **settings})
    else:
        resolved = load_config(Path(config) if config else None, settings)
    require_train_extra()
    require_data_folder(resolved.data)
    if resolved.model != AUTO:
        require_family(resolved.model)
    from .run import TrainingRun

    return TrainingRun.new(resolved, console, make_trainer).train()


def resume(
    run: str | Path,
    *,
    data: str | Path | None = None,
    console: Console | None = None,
    make_trainer: MakeTrainer | None = None,
) -> RunResult:
    """Continue an interrupted run at the epoch after its last checkpoint, with its own settings.

    Args:
        run: the run folder.
        data: where its data lies now, if it has moved; it must be the same.
        console: see ``train``.
        make_trainer: see ``train``.

    Raises:
        ArchiveError: not a run folder.
        ConfigError: the run is complete.
        DataError: the data is no longer there, or cannot be trained on.
        ContractError: the classes or the validation split of the data have changed since the run was started.
    """
    require_train_extra()
    settings = Path(run) / CONFIG_FILE
    if not settings.is_file():
        raise ArchiveError(f"{run}: holds no {CONFIG_FILE}.", "Give a folder that boxwright train made.")
    config = load_config(settings)
    require_family(config.model)
    from .run import TrainingRun

    config = load_config(settings, {"data": data})
    if not config.data.is_dir():
        remedy = f"If it has moved: boxwright train --resume {shlex.quote(str(run))} --data FOLDER"
        raise DataError(f"{config.data}: no such folder; the run's data was there.", remedy)
    return TrainingRun.resumed(Path(run), config, console, make_trainer).train()
