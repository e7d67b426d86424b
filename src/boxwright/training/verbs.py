"""``train`` and ``resume``. Wrong settings and folders are found before PyTorch is loaded, which takes seconds."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boxwright.config import AUTO, CONFIG_FILE, TrainConfig, load_config
from boxwright.data import require_data_folder
from boxwright.host.dependencies import require_train_extra
from boxwright.host.listing import Listed, Listing, shown, shown_range
from boxwright.metrics.figures import HEADLINE
from boxwright.models import require_family
from boxwright.runtime import ArchiveError, ConfigError, DataError, ModelSpec
from boxwright.runtime.bundle import RUN_SPEC

if TYPE_CHECKING:
    import lightning as L
    from rich.console import Console

    from .launch import Task

__all__ = ["Launch", "MakeTrainer", "RunResult", "resume", "together", "train"]

MakeTrainer = Callable[..., "L.Trainer"]
"""Makes the Trainer from Lightning's keyword options."""


Launch = Callable[["Task", int], dict[str, Any]]
"""Has a task done by several processes, and returns the outcome of the first: see ``launch.run_together``."""


@dataclass(frozen=True, repr=False)
class RunResult(Listed):
    """A run; ``print`` and notebooks show its figures on validation.

    Attributes:
        folder: ``OUT/NAME``.
        spec: of the best epoch, with operating point and figures; None after a fast dev run, after an
            interruption before the end of the first epoch, and in all processes but the first.
        interrupted: whether Ctrl-C ended it.
    """

    folder: Path
    spec: ModelSpec | None
    interrupted: bool

    def listing(self) -> Listing:
        """The headline figures of the best epoch, with their intervals."""
        from boxwright.reporting.run_report import REPORT  # the pages' packages are not needed before

        ended = ", interrupted" if self.interrupted else ""
        if self.spec is None:
            return Listing(f"Run {self.folder}{ended}: without a model", (), ())
        figures: Mapping[str, Any] = self.spec.measured.get("valid", {})
        best = self.spec.provenance.get("best_epoch")
        epoch = f", best epoch {best + 1}" if isinstance(best, int) else ""
        rows = [
            (title, shown(figures[key]), shown_range(figures, key)) for key, title in HEADLINE.items() if key in figures
        ]
        return Listing(
            f"Run {self.folder}{ended}{epoch}",
            ("on valid", "value", "95 % interval"),
            rows,
            (f"Report: {self.folder / REPORT}",),
        )


def train(
    config: TrainConfig | str | Path | None = None,
    *,
    console: Console | None = None,
    make_trainer: MakeTrainer | None = None,
    launch: Launch | None = None,
    **settings: Any,
) -> RunResult:
    """Train a detector; all results are in the run folder ``OUT/NAME``.

    The data is checked and the weights are loaded before the run folder is made.

    Args:
        config: settings, or the YAML file that holds them.
        console: for progress; standard output by default, and if ``devices`` asks for several processes.
        make_trainer: makes the Trainer from our keyword options (``accelerator``, ``devices``, ``strategy``,
            ``callbacks``, ``plugins`` with the checkpoint storage, ``logger`` and others); it may change and add
            options. ``lightning.Trainer`` by default. If there are several processes, the first one writes the run.
        launch: starts ``devices`` processes elsewhere, on a cluster; by default they run on this machine.
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
    if launch is not None:
        return _in_processes("train", _portable(resolved), _processes_elsewhere(resolved, make_trainer), launch)
    if (processes := _processes_to_start(resolved, make_trainer)) > 1:
        return _in_processes("train", resolved.model_dump(mode="json", exclude_unset=True), processes)
    return _train_here(resolved, console, make_trainer)


def _train_here(
    config: TrainConfig,
    console: Console | None = None,
    make_trainer: MakeTrainer | None = None,
    on_folder: Callable[[Path], None] | None = None,
) -> RunResult:
    """Train in this process, and in those that were started beside it."""
    from .run import TrainingRun
    from .world import joined

    with joined(_on_gpus(config)) as world:
        return TrainingRun.new(config, console, make_trainer, world).train(on_folder)


def resume(
    run: str | Path,
    *,
    data: str | Path | None = None,
    devices: int | str | None = None,
    console: Console | None = None,
    make_trainer: MakeTrainer | None = None,
    launch: Launch | None = None,
) -> RunResult:
    """Continue an interrupted run after its last checkpoint, with its own settings.

    Args:
        run: the run folder.
        data: where its data lies now, if it has moved; it must be the same.
        devices: how many train together from now on; by default as many as before.
        console: see ``train``.
        make_trainer: see ``train``.
        launch: see ``train``.

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
    config = load_config(settings, {"data": data, "devices": devices})
    if not config.data.is_dir():
        remedy = f"If it has moved: boxwright train --resume {shlex.quote(str(run))} --data FOLDER"
        raise DataError(f"{config.data}: no such folder; the run's data was there.", remedy)
    if launch is not None:
        whole = {"run": str(Path(run).resolve()), "data": data and str(Path(data).resolve()), "devices": devices}
        return _in_processes("resume", whole, _processes_elsewhere(config, make_trainer), launch)
    if (processes := _processes_to_start(config, make_trainer)) > 1:
        given = {"run": str(run), "data": data and str(data), "devices": devices}
        return _in_processes("resume", given, processes)
    return _resume_here(Path(run), config, console, make_trainer)


def _resume_here(
    run: Path,
    config: TrainConfig,
    console: Console | None = None,
    make_trainer: MakeTrainer | None = None,
    on_folder: Callable[[Path], None] | None = None,
) -> RunResult:
    """Resume in this process, and in those that were started beside it."""
    from .run import TrainingRun
    from .world import joined

    with joined(_on_gpus(config)) as world:
        return TrainingRun.resumed(run, config, console, make_trainer, world).train(on_folder)


def together(verb: str, settings: Mapping[str, Any], on_folder: Callable[[Path], None]) -> RunResult:
    """What one of several processes does; see ``boxwright.training.launch``.

    Args:
        verb: ``train`` or ``resume``.
        settings: of ``TrainConfig``, or ``run``, ``data`` and ``devices``.
        on_folder: is told the run folder, in the first process, as soon as it is known.
    """
    if verb == "train":
        return _train_here(load_config(None, settings), on_folder=on_folder)
    run = Path(settings["run"])
    config = load_config(run / CONFIG_FILE, {"data": settings["data"], "devices": settings["devices"]})
    return _resume_here(run, config, on_folder=on_folder)


def _processes_to_start(config: TrainConfig, make_trainer: MakeTrainer | None) -> int:
    """How many processes to start; 1 if this one trains itself.

    Raises:
        ConfigError: several, with a Trainer that they cannot be given.
    """
    if config.devices in (None, 1) and config.gpus in ("auto", 0, 1):
        return 1
    from .settings import wanted_processes
    from .world import started_by_another

    if started_by_another():
        return 1
    wanted = wanted_processes(config)
    if wanted > 1 and make_trainer is not None:
        raise ConfigError(
            f"devices = {wanted}: the processes cannot be given make_trainer.", "Start your script with torchrun."
        )
    return wanted


def _processes_elsewhere(config: TrainConfig, make_trainer: MakeTrainer | None) -> int:
    """How many processes a cluster is asked for.

    Raises:
        ConfigError: that was not said, or they cannot be given a Trainer.
    """
    if make_trainer is not None:
        raise ConfigError("Processes of a cluster cannot be given make_trainer.", "Leave one of them out.")
    if config.devices == "auto":
        raise ConfigError("devices = auto: a cluster is asked for a number.", "Use --devices N.")
    return config.devices or 1


def _portable(config: TrainConfig) -> dict[str, Any]:
    """The settings that were given, as JSON, for a process in another folder."""
    from .settings import from_anywhere

    places = {**from_anywhere(config), "out": config.out.resolve()}
    return config.model_copy(update=places).model_dump(mode="json", exclude_unset=True)


def _in_processes(verb: str, settings: Mapping[str, Any], processes: int, launch: Launch | None = None) -> RunResult:
    from .launch import Task, run_together

    outcome = (launch or run_together)(Task(verb, settings), processes)
    folder = Path(outcome["folder"])
    spec = folder / RUN_SPEC
    return RunResult(folder, ModelSpec.load(spec) if spec.is_file() else None, outcome["interrupted"])


def _on_gpus(config: TrainConfig) -> bool:
    import torch

    return config.gpus != 0 and torch.cuda.is_available()
