"""A search of settings in a given time: short trainings, most of them ended early, then the best against the default.

Asynchronous successive halving (Li et al., "A System for Massively Parallel Hyperparameter Tuning", 2020) over the
tree-structured Parzen estimator (Bergstra et al., 2011), both Optuna's. Its SQLite file is in the folder of the search,
so that a search which was killed goes on.
"""

from __future__ import annotations

import shlex
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import ceil, isfinite
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import yaml

from boxwright.config import CONFIG_FILE, TrainConfig, load_config
from boxwright.data import local_data, require_data_folder
from boxwright.host.dependencies import require_packages, require_train_extra
from boxwright.host.files import write_text
from boxwright.host.places import is_url
from boxwright.metrics.objective import Objective
from boxwright.models import require_family
from boxwright.runtime import BoxwrightError, ConfigError, ModelSpec
from boxwright.runtime.bundle import NAME_PATTERN, RUN_SPEC
from boxwright.tracking.needs import require_trackers
from boxwright.training import RunResult, resume, train

from .space import default_point, settings_of, suggested

if TYPE_CHECKING:
    import optuna
    from rich.console import Console

    from boxwright.evaluation.compare import Contender
    from boxwright.metrics.comparison import Comparison

__all__ = ["STUDY", "RunTrial", "Trial", "TuneResult", "train_trial", "tune"]

STUDY = "study.db"
"""Optuna's storage, in the folder of a search."""

DEFAULT, BEST, PAGE, SETTINGS = "default", "best", "comparison.html", "settings.yaml"

_SEARCH = 0.5  # of the time; a quarter each for the default and the best
_TRIALS = 6  # that would fit into it, were each trained to its end
_RUNGS = (20, 2)  # per cent of a trial after which the lower half ends; then twice as much, and so on
_FAILED = "failed"
_MOST_FAILS = 5  # trials in a row: then it is not their settings
_MOST_STARTS = 3  # of one trial, that each ended the process
_SHORTEST = 0.2  # minutes of a trial: under that it is all preparation


@dataclass(frozen=True)
class Trial:
    """One training of a search.

    Attributes:
        number: from 0, which is the default.
        settings: that it was trained with.
        value: the best ``monitor`` of its epochs; None if it failed.
        state: ``complete``, ``pruned`` or ``fail``.
    """

    number: int
    settings: Mapping[str, Any]
    value: float | None
    state: str


@dataclass(frozen=True)
class TuneResult:
    """A finished search.

    Attributes:
        folder: ``OUT/NAME``.
        trials: all of them.
        best: run folder of the best settings, trained as long as the default; None if the default was the best.
        default: run folder of the default.
        contenders: default and best, on the pictures that they are compared on; empty without a better one.
        comparison: the difference, with its interval; None without a better one.
    """

    folder: Path
    trials: Sequence[Trial]
    best: Path | None
    default: Path
    contenders: Sequence[Contender] = field(default=())
    comparison: Comparison | None = None


RunTrial = Callable[[Mapping[str, Any], Path, Callable[[int, int, float], bool]], float]
"""Trains with settings in a folder and returns the best figure. What it calls after each epoch, with its number, the
number of all and the figure, answers whether to end. A cluster may put its own in this place."""


def tune(
    data: str | Path,
    minutes: float,
    *,
    models: Sequence[str] = (),
    name: str = "tune",
    out: str | Path = "runs",
    run_trial: RunTrial | None = None,
    run_final: Callable[[Mapping[str, Any], Path], object] | None = None,
    at_once: int = 1,
    console: Console | None = None,
    **settings: Any,
) -> TuneResult:
    """Search settings, train the best as long as the default, and compare the two on the same pictures.

    Half of the time goes to the search, a quarter to each of the two. An interrupted search of this name goes on.

    Args:
        data: folder with ``train/``, ``valid/`` and optionally ``test/``, on which the two are then compared.
        minutes: in all.
        models: to search among; by default the one that is chosen for the data.
        name: of the search's folder.
        out: folder that holds it.
        run_trial: how trials are run; by default in this process.
        run_final: how the default and the best are trained, with settings in a folder; by default in this process.
        at_once: trials at the same time, each called on a thread of its own; for a ``run_trial`` that can.
        console: for progress; standard output by default.
        **settings: of ``TrainConfig``; they hold in every training, and are not searched.

    Raises:
        ConfigError: an unknown setting, one that the search decides itself, too little time, or a folder that another
            search writes to.
        DataError: the data cannot be trained on.
        MissingDependency: ``boxwright[tune]`` is not installed.
    """
    given = load_config(None, {**settings, "data": data})
    if is_url(out):
        raise ConfigError(f"--out {out}: a search keeps a database, which needs a folder.", "Give a folder.")
    _require_searchable(given, minutes)
    require_train_extra()
    require_packages(("optuna",), "boxwright[tune]")
    require_data_folder(local_data(given.data))
    for model in models:
        require_family(model)
    if run_trial is not None:
        from boxwright.training.settings import from_anywhere

        places = {key: value for key, value in from_anywhere(given).items() if value is not None}
        given = given.model_copy(update={key: places[key] for key in places.keys() & given.model_fields_set})
    from boxwright.host.console import make_console

    console = console or make_console(to_the_end=True)
    from boxwright.training.folders import claimed  # which asks for what boxwright[train] brings

    if not NAME_PATTERN.fullmatch(name):
        raise ConfigError(f"--name {name!r} does not fit.", "Use letters, digits, '_', '-' and '.'.")
    folder = Path(out) / name
    with claimed(folder):  # of two searches, each would finish the other's trials as interrupted ones
        return _Search(given, minutes, models, folder, console, run_trial, run_final, at_once).run()


def _differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Names of what two searches were given differently."""
    first, second = ({**about, **about["given"], "given": None} for about in (before, now))
    return sorted(key for key in {*first, *second} if first.get(key) != second.get(key))


def _require_searchable(given: TrainConfig, minutes: float) -> None:
    """Raise unless the settings leave to the search what is its own.

    Raises:
        ConfigError: they do not.
    """
    Objective.parse(given.objective)
    require_trackers(given)
    own = {"minutes", "epochs", "epoch_pictures", "name", "out", "devices", "fast_dev_run"} & given.model_fields_set
    if own:
        key = sorted(own)[0]
        raise ConfigError(
            f"{key} is decided by the search, and cannot be given.", "Leave it out; --minutes is for all."
        )
    if isinstance(given.gpus, int) and given.gpus > 1:
        raise ConfigError(f"gpus = {given.gpus}: a search trains on one device.", "Use gpus=1.")
    least = round(_SHORTEST * _TRIALS / _SEARCH, 3)
    if not isfinite(minutes):
        raise ConfigError(f"minutes = {minutes:g} does not fit.", f"Give a number from {least:g} on; hours are usual.")
    if minutes < least:
        raise ConfigError(
            f"minutes = {minutes:g} is too short for a search.", f"Give {least:g} or more; hours are usual."
        )


class _Search:
    """One search; see ``tune``."""

    def __init__(
        self,
        given: TrainConfig,
        minutes: float,
        models: Sequence[str],
        folder: Path,
        console: Console,
        run_trial: RunTrial | None,
        run_final: Callable[[Mapping[str, Any], Path], object] | None,
        at_once: int,
    ) -> None:
        self._given = given
        self._folder = folder
        self._console = console
        self._run_trial = run_trial or train_trial
        self._run_final = run_final or (lambda settings, folder: _result_of(settings, folder, console))
        self._at_once = at_once
        self._lock = threading.Lock()
        self._ended = False  # by an error
        self._minutes = minutes
        self._seconds = 60 * minutes
        self._base, self._splits = _resolved(given, models, console)
        self._models = tuple(models) or (self._base.model,)
        self._fails = 0
        self._study = self._open()

    def _open(self) -> optuna.Study:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._folder.mkdir(parents=True, exist_ok=True)
        study = _opened(self._folder / STUDY)
        # another seed for each start: the sampler draws its first points by the seed alone
        study.sampler = optuna.samplers.TPESampler(seed=self._base.seed + len(study.trials), n_startup_trials=_TRIALS)
        given = self._given.model_dump(mode="json", exclude_unset=True)
        about = {"models": list(self._models), "minutes": self._minutes, "given": given}
        before = study.user_attrs.get("about")
        if before is not None and before != about:
            others = ", ".join(_differing(before, about))
            raise ConfigError(
                f"{self._folder}: a search with other settings was begun there ({others}).",
                "Choose another --name, or give the same.",
            )
        study.set_user_attr("about", about)
        if not study.trials:
            study.enqueue_trial(default_point(self._base, self._models))
        return study

    @property
    def _spent(self) -> float:
        """Seconds of the search so far, those of interrupted ones too."""
        return float(self._study.user_attrs.get("spent", 0.0))

    def run(self) -> TuneResult:
        """Search, train the best and the default, compare them."""
        until = self._seconds * _SEARCH
        self._console.print(
            f"Search: {until / 60:g} of {self._seconds / 60:g} minutes, trials of {self._trial_minutes:.1f}; "
            f"in {self._folder}. It can be stopped with Ctrl-C; the same command goes on."
        )
        if self._study.trials[0].state.is_finished():
            done = sum(one.state.is_finished() for one in self._study.trials)
            trials = "1 trial" if done == 1 else f"{done} trials"
            self._console.print(f"Going on after {trials}, {self._spent / 60:.1f} minutes of the search.")
        waiting = deque(self._interrupted())
        _in_threads([lambda: self._search(waiting, until)] * self._at_once)
        return self._finish()

    def _search(self, interrupted: deque[Callable[[], None]], until: float) -> None:
        """Finish what was interrupted, then try more."""
        try:
            while (finish := _next(interrupted)) and not self._ended:
                finish()
            while self._spent < until and not self._ended:
                with self._lock:  # two threads would both get the default, which waits in the study
                    trial = self._study.ask()
                self._try(trial)
        except BaseException:  # the other threads end with their trial
            self._ended = True
            raise

    @property
    def _trial_minutes(self) -> float:
        return self._seconds * _SEARCH / _TRIALS / 60

    def _interrupted(self) -> Iterator[Callable[[], None]]:
        """What finishes the trials that an interrupted search was at."""
        import optuna

        for one in self._study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.RUNNING]):
            starts = one.user_attrs.get("starts", 1)
            trial = optuna.trial.Trial(self._study, one._trial_id)
            if starts >= _MOST_STARTS:
                self._console.print(
                    f"Trial {one.number}: ended the search {starts} times, for want of memory, say; left out."
                )
                self._fail(trial)
                continue
            yield partial(self._try, trial, starts + 1, one.intermediate_values)

    def _try(self, trial: optuna.Trial, starts: int = 1, before: Mapping[int, float] = MappingProxyType({})) -> None:
        """Train with what a trial suggests, and tell its best figure.

        Args:
            trial: of the study.
            starts: how often it was begun, this time included.
            before: its figures before an interruption.

        Raises:
            BoxwrightError: the default cannot be trained, or several trials in a row cannot.
        """
        import optuna

        point = suggested(trial, sorted(self._given.model_fields_set), self._models)
        settings = self._settings(point)
        trial.set_user_attr("settings", settings)
        trial.set_user_attr("starts", starts)
        folder = self._folder / f"trial-{trial.number:03d}"
        begun, values, pruned = time.monotonic(), list(before.values()), False

        def report(epoch: int, epochs: int, value: float) -> bool:
            nonlocal pruned
            values.append(value)
            share = round(100 * (epoch + 1) / epochs)
            trial.report(value, share)
            pruned = share < 100 and trial.should_prune()
            return pruned

        value = None
        try:
            told = self._run_trial({**self._fixed, **settings, "minutes": self._trial_minutes}, folder, report)
            value = max([told, *values])
            self._fails = 0
        except BoxwrightError as error:  # a canvas that does not fit into memory, say: the others go on
            if trial.number == 0 and (least := getattr(error, "least", 0.0)):
                raise self._too_short(trial, least) from error
            self._console.print(f"Trial {trial.number}: {error}")
            with self._lock:
                self._fails += 1
            if trial.number == 0 or self._fails >= _MOST_FAILS:
                self._fail(trial)
                raise
        except KeyboardInterrupt:  # somebody wants to go on with it later, as often as they like
            trial.set_user_attr("starts", starts - 1)
            raise
        finally:
            with self._lock:
                passed = (time.monotonic() - begun) / self._at_once
                self._study.set_user_attr("spent", self._spent + passed)
        if value is None:
            self._fail(trial)
        elif pruned:
            self._study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            self._study.tell(trial, value)
        state = "fail" if value is None else "pruned" if pruned else "complete"
        self._print(trial.number, settings, value, state)

    def _too_short(self, trial: optuna.Trial, least: float) -> ConfigError:
        """What to give instead, if a training has less than ``least`` minutes. The search begins anew with it."""
        trial.set_user_attr("starts", 0)
        self._study.set_user_attr("about", None)
        enough = ceil(least * _TRIALS / _SEARCH)
        return ConfigError(
            f"minutes = {self._minutes:g} is too short for this search: each training has {self._trial_minutes:.1f}, "
            f"and one step and a validation take {least:.1f} on this machine.",
            f"Give {enough} or more, or choose a smaller model or canvas.",
        )

    def _fail(self, trial: optuna.Trial) -> None:
        """Tell that a trial is worth nothing; of one that failed, Optuna would learn nothing, and propose it again."""
        import optuna

        trial.set_user_attr(_FAILED, True)
        trial.report(0.0, 0)
        self._study.tell(trial, state=optuna.trial.TrialState.PRUNED)

    def _print(self, number: int, settings: Mapping[str, Any], value: float | None, state: str) -> None:
        shown = "-" if value is None else f"{value:.4f}"
        words = ", ".join(f"{key} {value}" for key, value in settings.items())
        self._console.print(f"Trial {number}: {self._base.monitor} {shown}, {state}; {words}", highlight=False)

    def _settings(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """Of a point; what was given holds."""
        given = self._given.model_dump(mode="json", exclude_unset=True)
        found = settings_of(point, self._base)
        return {key: given.get(key, value) for key, value in found.items()}

    @property
    def _fixed(self) -> dict[str, Any]:
        """Settings of every training: what was given, and what was chosen and is not searched."""
        chosen = {"batch_size": self._base.batch_size, "total_batch": self._base.total_batch}
        return {**chosen, **self._given.model_dump(exclude_unset=True), "wandb_pictures": 0}

    def _finish(self) -> TuneResult:
        trials = self._trials()
        complete = [one for one in trials if one.state == "complete" and one.value is not None]
        if not complete:
            raise ConfigError(
                f"{self._folder}: no trial was trained to its end.",
                "Give more --minutes, or see why the trials failed.",
            )
        best = max(complete, key=lambda one: one.value or 0.0)
        default, tuned = self._folder / DEFAULT, self._folder / BEST
        finals = [partial(self._train, default, self._settings(default_point(self._base, self._models)))]
        if best.number:
            finals.append(partial(self._train, tuned, best.settings))
        if self._at_once > 1:
            _in_threads(finals)
        else:
            for final in finals:
                final()
        if not best.number:
            return TuneResult(self._folder, trials, None, default)
        self._write_settings(best.settings)
        contenders, comparison = self._compare(default, tuned)
        return TuneResult(self._folder, trials, tuned, default, contenders, comparison)

    def _trials(self) -> list[Trial]:
        found = self._study.get_trials(deepcopy=False)
        return [Trial(one.number, one.user_attrs.get("settings", {}), _value(one), _state(one)) for one in found]

    def _train(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """Train for a quarter of the time; what was begun goes on."""
        if _is_finished(folder):
            return
        minutes = self._seconds * (1 - _SEARCH) / 2 / 60
        self._console.print(f"Training with the {folder.name} settings: {minutes:.1f} minutes.")
        self._run_final({**self._fixed, **settings, "minutes": minutes}, folder)

    def _write_settings(self, best: Mapping[str, Any]) -> None:
        """A file for ``boxwright train``: the best settings, and those that were given."""
        own = {key: value for key, value in self._fixed.items() if key != "wandb_pictures" and value is not None}
        config = TrainConfig(**{**own, **best})
        document = config.model_dump(mode="json", exclude_unset=True)
        write_text(self._folder / SETTINGS, yaml.safe_dump(document, sort_keys=False, allow_unicode=True))

    def _compare(self, default: Path, tuned: Path) -> tuple[Sequence[Contender], Comparison]:
        """On the test split, which the search has not seen, if there is one."""
        from boxwright.evaluation.compare import compare
        from boxwright.reporting import report_comparison

        data, test = self._given.data, "test" in self._splits
        contenders, (comparison,) = compare([default, tuned], data if test else None, "test" if test else None)
        report_comparison(contenders, [comparison], self._folder / PAGE)
        return contenders, comparison


def _opened(path: Path) -> optuna.Study:
    """The study in a file, which is made if it is missing.

    Raises:
        ConfigError: it cannot be read, or is of an Optuna whose files this one does not read.
    """
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    try:
        return optuna.create_study(
            storage=f"sqlite:///{path.resolve()}",
            study_name="boxwright",
            direction="maximize",
            load_if_exists=True,
            pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=_RUNGS[0], reduction_factor=_RUNGS[1]),
        )
    except (SQLAlchemyError, RuntimeError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise ConfigError(f"{path}: not a search that can go on: {reason}.", "Choose another --name.") from error


def _next(calls: deque[Callable[[], None]]) -> Callable[[], None] | None:
    """Another one, unless other threads have taken them all."""
    try:
        return calls.popleft()
    except IndexError:
        return None


def _in_threads(calls: Sequence[Callable[[], None]]) -> None:
    """Make all calls at the same time; one alone on this thread. The first error is raised when all have ended."""
    if len(calls) == 1:
        calls[0]()
        return
    errors: list[BaseException] = []

    def make(call: Callable[[], None]) -> None:
        try:
            call()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=make, args=(call,), daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(0.5)  # not for ever at once, so that Ctrl-C is heard
    if errors:
        raise errors[0]


def _state(trial: optuna.trial.FrozenTrial) -> str:
    return "fail" if trial.user_attrs.get(_FAILED) else trial.state.name.lower()


def _value(trial: optuna.trial.FrozenTrial) -> float | None:
    if trial.user_attrs.get(_FAILED):
        return None
    if trial.value is not None:
        return float(trial.value)
    return max(trial.intermediate_values.values(), default=None)


def _is_finished(run: Path) -> bool:
    spec = run / RUN_SPEC
    return spec.is_file() and bool(ModelSpec.load(spec).provenance.get("finished"))


def _resolved(given: TrainConfig, models: Sequence[str], console: Console) -> tuple[TrainConfig, Collection[str]]:
    """The settings that would be trained with without a search, and the names of the data's splits."""
    from boxwright.data import local_data, read_folder
    from boxwright.training.choice import choose
    from boxwright.training.settings import resolve_settings, usable_gpus

    if models:
        given = given.model_copy(update={"model": models[0]})
    data = read_folder(local_data(given.data), pixels=False, max_pixels=given.max_pixels)
    device = "cuda" if usable_gpus(given.gpus, console) else "cpu"
    choices = {one.key: one.value for one in choose(given, data.splits["train"], device)}
    return resolve_settings(given.model_copy(update=choices), console), data.splits.keys()


def train_trial(settings: Mapping[str, Any], folder: Path, report: Callable[[int, int, float], bool]) -> float:
    """Train in this process, in silence; see ``RunTrial``."""
    import lightning as L
    from rich.console import Console

    best = 0.0

    class Report(L.Callback):
        def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            nonlocal best
            value = float(trainer.callback_metrics[settings.get("monitor", "val/f2")])
            best = max(best, value)
            if report(trainer.current_epoch, trainer.max_epochs or 1, value):
                trainer.should_stop = True

    def make_trainer(**options: Any) -> L.Trainer:
        return L.Trainer(**{**options, "callbacks": [*options["callbacks"], Report()]})

    _result_of({"wandb": "off", **settings}, folder, Console(quiet=True), make_trainer)
    return best


def _result_of(settings: Mapping[str, Any], folder: Path, console: Console, make_trainer: Any = None) -> RunResult:
    """Train in a folder, or go on there; a run that was finished is left as it is.

    Raises:
        KeyboardInterrupt: Ctrl-C ended it; the search ends, too.
    """
    if _is_finished(folder):
        return RunResult(folder, ModelSpec.load(folder / RUN_SPEC), interrupted=False)
    if (folder / CONFIG_FILE).is_file() and (folder / "checkpoints").is_dir():
        result = resume(folder, console=console, make_trainer=make_trainer)
    else:
        result = train(out=folder.parent, name=folder.name, console=console, make_trainer=make_trainer, **settings)
    if result.interrupted:
        raise KeyboardInterrupt(f"boxwright train --resume {shlex.quote(str(folder))}")
    return result
