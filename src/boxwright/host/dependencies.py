"""What is installed beside us, and in which version."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from importlib import metadata
from importlib.util import find_spec

from boxwright.runtime import MissingDependency

__all__ = ["TRAINING_PACKAGES", "require_packages", "require_train_extra", "versions"]

TRAINING_PACKAGES = ("torch", "torchvision", "lightning")


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Version by package, of those that are installed."""
    installed = {}
    for name in packages:
        with suppress(metadata.PackageNotFoundError):
            installed[name] = metadata.version(name)
    return installed


def require_packages(packages: Iterable[str], extra: str) -> None:
    """Raise unless packages can be imported; none of them is.

    Args:
        packages: names to import.
        extra: what to install for them, as ``boxwright[train]``.

    Raises:
        MissingDependency: some are not installed.
    """
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise MissingDependency(f"This part of boxwright needs {', '.join(missing)}.", f"pip install '{extra}'")


def require_train_extra() -> None:
    """Raise unless ``boxwright[train]`` is installed; see ``require_packages``."""
    require_packages(TRAINING_PACKAGES, "boxwright[train]")
