"""What the trackers need to be installed; found out without loading any of them."""

from __future__ import annotations

from boxwright.config import TrainConfig
from boxwright.host.dependencies import require_packages

__all__ = ["require_trackers"]


def require_trackers(config: TrainConfig) -> None:
    """Raise unless the trackers that the settings ask for are installed; called before anything starts.

    Raises:
        MissingDependency: a tracker is not installed.
    """
    wanted = {"tensorboard": config.tensorboard, "mlflow": config.mlflow is not None}
    for package in (name for name, asked in wanted.items() if asked):
        require_packages([package], f"boxwright[{package}]")
