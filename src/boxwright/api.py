"""The verbs for Python: the same calls the command line makes."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .config import TrainConfig, load_config
from .runtime import MissingDependency

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .evaluation import Evaluation
    from .training import RunResult

__all__ = ["archive", "evaluate", "require_train_extra", "resume", "serve", "train"]


def train(config: TrainConfig | str | Path | None = None, **settings: Any) -> RunResult:
    """Train a detector.

    Args:
        config: settings, or the YAML file that holds them.
        **settings: single settings by name, on top; see ``TrainConfig``.

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
    from .training.train import train as run_training

    return run_training(resolved)


def resume(run: str | Path) -> RunResult:
    """Continue an interrupted run; see ``boxwright train --resume``.

    Raises:
        ArchiveError: not a run folder.
        ConfigError: the run is complete.
        ContractError: the data's classes are no longer the run's.
    """
    require_train_extra()
    from .training.train import resume as resume_training

    return resume_training(Path(run))


def evaluate(
    source: str | Path, data: str | Path, split: str = "valid", *, threshold: float | None = None, device: str = "cpu"
) -> Evaluation:
    """Measure a run or an archive on a split; see ``boxwright.evaluation.evaluate``."""
    require_train_extra()
    from .evaluation import evaluate as run_evaluation

    return run_evaluation(source, data, split, threshold=threshold, device=device)


def archive(
    run: str | Path, *, name: str | None = None, version: str = "1.0", store: str | Path = "model-store"
) -> Path:
    """Pack a run into ``STORE/NAME.mar``; see ``boxwright.archiving.archive``."""
    from .archiving import archive as write_archive

    return write_archive(run, name=name, version=version, store=store)


def serve(archives: Iterable[str | Path], host: str = "127.0.0.1", port: int = 8080, device: str = "cpu") -> None:
    """Serve archives over HTTP until interrupted; see ``boxwright.serving.server.serve``."""
    from .serving.server import serve as run_server

    run_server([Path(path) for path in archives], host, port, device)


def require_train_extra() -> None:
    """Say what to install before anything starts.

    Raises:
        MissingDependency: ``boxwright[train]`` is not installed.
    """
    missing = [name for name in ("torch", "torchvision", "lightning", "hotcoco") if find_spec(name) is None]
    if missing:
        raise MissingDependency(f"Training and measuring need {', '.join(missing)}.", "pip install 'boxwright[train]'")
