"""``train`` and ``resume``. Wrong settings and folders are found before PyTorch is loaded, which takes seconds."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boxwright.config import AUTO, CONFIG_FILE, TrainConfig, load_config
from boxwright.data import local_data, require_data_folder
from boxwright.host.dependencies import require_train_extra
from boxwright.host.files import cache_folder, require_writable
from boxwright.host.listing import Listed, Listing, shown, shown_range
from boxwright.host.places import is_url, place_of, whole
from boxwright.inputs.stores import local_copy
from boxwright.inputs.zipped import is_zip, starts_packed
from boxwright.metrics.figures import HEADLINE
from boxwright.metrics.objective import Objective
from boxwright.models import require_family, require_weights_exist
from boxwright.runtime import ArchiveError, ConfigError, DataError, ModelSpec
from boxwright.runtime.bundle import RUN_SPEC, nothing_there
from boxwright.tracking.needs import require_trackers

from .choice import require_canvas

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
        store: URL of the run, if it is kept in remote storage; ``folder`` is then a copy in the cache.
    """

    folder: Path
    spec: ModelSpec | None
    interrupted: bool
    store: str | None = None

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
    """Train a detector; all results are in the run folder ``OUT/NAME``, also if ``OUT`` is a URL of remote storage.

    The data is checked and the weights are loaded before the run folder is made.

    Args:
        config: settings, the YAML file that holds them, or the data: its folder, ``.zip`` or URL.
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
        resolved = load_config(*_with_data(config, settings))
    require_train_extra()
    at_hand = isinstance(resolved.data, Path) and not is_zip(resolved.data)
    if at_hand:
        require_data_folder(Path(resolved.data))
    _require_possible(resolved)
    if not at_hand and (launch is None or isinstance(resolved.data, Path)):  # of a URL, each machine makes its own copy
        require_data_folder(local_data(resolved.data, console))
    if launch is not None:
        return _in_processes("train", _portable(resolved), _processes_elsewhere(resolved, make_trainer), launch)
    if (processes := _processes_to_start(resolved, make_trainer)) > 1:
        return _in_processes("train", resolved.model_dump(mode="json", exclude_unset=True), processes)
    return _train_here(resolved, console, make_trainer)


def _with_data(config: str | Path | None, settings: dict[str, Any]) -> tuple[Path | None, dict[str, Any]]:
    """The file of settings and single ones; a folder in the place of the file is the data's.

    Raises:
        ConfigError: the data is given twice.
    """
    place = None if config is None or is_url(config) else Path(config)
    if config is None or (place and not _is_data(place)):
        return Path(config) if config else None, settings
    if settings.get("data") is not None:
        raise ConfigError(f"{config} and data = {settings['data']}: two folders.", "Give one of them.")
    return None, {**settings, "data": config}


def _is_data(place: Path) -> bool:
    """Whether a path is that of data, and not of settings; a name that ends so is, whether it is there or not."""
    return (
        place.name.lower().endswith((".zip", ".coco.json"))
        or place.is_dir()
        or is_zip(place)
        or starts_packed(place) is not None
    )


def _require_possible(config: TrainConfig) -> None:
    """Raise for what can be known before PyTorch is loaded and any picture is opened.

    Raises:
        ConfigError: a run of that name exists, the folder of runs cannot be written to, or the canvas or the
            objective does not fit.
        MissingDependency: what a model or a tracker needs is not installed.
        ModelError: unknown model, or a file of weights that is not there.
    """
    from .folders import run_folder  # which asks for what boxwright[train] brings

    if config.name is not None:
        run_folder(config)
    if isinstance(config.out, Path):
        require_writable(config.out)
    _require_places(config)
    Objective.parse(config.objective)
    require_trackers(config)
    require_weights_exist(config.weights)
    if config.model != AUTO:
        require_family(config.model)
    require_canvas(config)


def _require_places(config: TrainConfig) -> None:
    """Raise unless the folders beside the run's can be written to; a missing home folder is the cache's to report.

    Raises:
        ConfigError: one cannot.
    """
    cache = (config.cache_dir or cache_folder()) if config.cache == "disk" else None
    for folder in filter(None, (cache, config.checkpoint_out, config.state_dict_out)):
        require_writable(folder)


def _train_here(
    config: TrainConfig,
    console: Console | None = None,
    make_trainer: MakeTrainer | None = None,
    on_folder: Callable[[Path | str], None] | None = None,
) -> RunResult:
    """Train in this process, and in those that were started beside it."""
    from boxwright.host.console import make_console, progress

    with progress(console or make_console(), "load PyTorch"):
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
        run: the run folder, or its URL.
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
    store = str(run) if is_url(run) else None
    if store is not None and launch is not None:
        run = local_copy(store)  # for its settings: the processes bring it to their machines themselves
    elif store is not None:
        from .folders import brought_run

        run = brought_run(store)
    settings = Path(run) / CONFIG_FILE
    if not settings.is_file():
        if Path(run).is_file():
            remedy = f"A new training can begin with its weights: --data DATA --weights {shlex.quote(str(run))}"
            raise ArchiveError(f"{run}: is a file; a run is a folder.", remedy)
        if not Path(run).exists():
            raise nothing_there(Path(run))
        raise ArchiveError(f"{run}: holds no {CONFIG_FILE}.", "Give a folder that boxwright train made.")
    config = load_config(settings)
    require_family(config.model)
    config = load_config(settings, {"data": data, "devices": devices})
    if isinstance(config.data, Path) and not config.data.exists():
        remedy = f"If it has moved: boxwright train --resume {shlex.quote(str(run))} --data FOLDER"
        raise DataError(f"{config.data}: no such folder; the run's data was there.", remedy)
    _require_places(config)
    if launch is not None:
        moved = data and str(whole(place_of(data)))
        given = {"run": store or str(Path(run).resolve()), "data": moved, "devices": devices}
        return _in_processes("resume", given, _processes_elsewhere(config, make_trainer), launch)
    if (processes := _processes_to_start(config, make_trainer)) > 1:
        given = {"run": str(run), "data": data and str(data), "devices": devices, "store": store}
        return _in_processes("resume", given, processes)
    return _resume_here(Path(run), config, console, make_trainer, store=store)


def _resume_here(
    run: Path,
    config: TrainConfig,
    console: Console | None = None,
    make_trainer: MakeTrainer | None = None,
    on_folder: Callable[[Path | str], None] | None = None,
    store: str | None = None,
) -> RunResult:
    """Resume in this process, and in those that were started beside it."""
    from .run import TrainingRun
    from .world import joined

    with joined(_on_gpus(config)) as world:
        return TrainingRun.resumed(run, config, console, make_trainer, world, store).train(on_folder)


def together(verb: str, settings: Mapping[str, Any], on_folder: Callable[[Path | str], None]) -> RunResult:
    """What one of several processes does; see ``boxwright.training.launch``.

    Args:
        verb: ``train`` or ``resume``.
        settings: of ``TrainConfig``, or ``run``, ``data``, ``devices`` and, if the run is kept in remote storage as
            well, ``store``; instead of that, ``run`` may be its URL.
        on_folder: is told the run folder, or its URL, in the first process, as soon as it is known.
    """
    if verb == "train":
        return _train_here(load_config(None, settings), on_folder=on_folder)
    run, store = settings["run"], settings.get("store")
    if is_url(run):
        from .folders import brought_run

        run, store = brought_run(run), run
    config = load_config(Path(run) / CONFIG_FILE, {"data": settings["data"], "devices": settings["devices"]})
    return _resume_here(Path(run), config, on_folder=on_folder, store=store)


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

    places = {**from_anywhere(config), "out": whole(config.out)}
    return config.model_copy(update=places).model_dump(mode="json", exclude_unset=True)


def _in_processes(verb: str, settings: Mapping[str, Any], processes: int, launch: Launch | None = None) -> RunResult:
    from boxwright.host.console import make_console

    from .launch import Task, run_together

    where = " on the cluster" if launch else ""  # each of them loads PyTorch, which takes a while
    make_console().print(f"Starting {processes} {'process' if processes == 1 else 'processes'}{where}.")
    outcome = (launch or run_together)(Task(verb, settings), processes)
    store = outcome.get("store")
    # on a cluster, the folder of the first process is on another machine
    folder = local_copy(store) if launch and store else Path(outcome["folder"])
    spec = folder / RUN_SPEC
    found = ModelSpec.load(spec) if spec.is_file() else None
    return RunResult(folder, found, outcome["interrupted"], store)


def _on_gpus(config: TrainConfig) -> bool:
    import torch

    return config.gpus != 0 and torch.cuda.is_available()
