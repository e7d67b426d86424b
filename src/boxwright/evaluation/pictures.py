"""Where the pictures that a run was measured on are."""

from __future__ import annotations

from pathlib import Path

from boxwright.config import load_config
from boxwright.runtime import ConfigError, DataError

from .results import SplitResults

__all__ = ["find_data"]


def find_data(run: Path, measured: SplitResults, data: Path | None = None) -> Path:
    """The folder of the splits, which holds every picture that a run was measured on.

    Args:
        run: its folder.
        measured: what it found.
        data: the folder; where the run's settings say by default.

    Raises:
        DataError: nothing says where it is, or a picture is not there.
    """
    remedy = "Give the folder it was trained on: --data FOLDER"
    folder = _settings_say(run) if data is None else data
    if folder is None:
        raise DataError(f"{run} does not say where its pictures are.", remedy)
    split = folder / measured.split
    missing = [name for name in measured.file_names if not (split / name).is_file()]
    if missing:
        raise DataError(
            f"{split}: {len(missing)} of the {len(measured.file_names)} pictures that {run} was measured on are not "
            f"there, {missing[0]!r} among them.",
            remedy,
        )
    return folder


def _settings_say(run: Path) -> Path | None:
    try:
        return load_config(run / "config.yaml").data
    except ConfigError:
        return None
