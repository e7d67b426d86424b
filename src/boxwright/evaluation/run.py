"""The folder of a run: what it holds after training, and how that is read.

config.yaml            settings (``config.CONFIG_FILE``), the folder of the data among them
spec.json              specification with the operating point and the measured figures (``runtime.bundle.RUN_SPEC``)
detections.npz         detections of the best epoch on validation (``RESULTS``)
model_state_dict.pth   weights of the best epoch (``runtime.bundle.WEIGHTS``)
metrics.jsonl, report.html, checkpoints/
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from boxwright.config import CONFIG_FILE, data_of_run, load_config
from boxwright.data import local_data
from boxwright.data.file_names import is_picture_name
from boxwright.runtime import ArchiveError, ConfigError, DataError, ModelSpec, open_bundle
from boxwright.runtime.bundle import RUN_SPEC, nothing_there

from .results import RESULTS, SplitResults

__all__ = ["RESULTS", "data_for", "find_data", "read_run", "seen_in_training"]


def data_for(source: Path, data: str | Path | None) -> Path:
    """The data to measure on: what was given, else what a run was trained on.

    Args:
        source: run folder, ``.mar``, or results file.
        data: the folder or file that was given.

    Raises:
        ArchiveError: none was given, and the source does not exist.
        DataError: none was given, and the source does not say where it is, or it has moved.
    """
    if data is not None:
        return local_data(data)
    if not source.exists():
        raise nothing_there(source)
    remedy = "Give the folder with train/ and valid/: --data FOLDER"
    if not (source / CONFIG_FILE).is_file():
        if source.is_dir():
            open_bundle(source)  # raises unless it is one
        kind = "an archive" if source.suffix == ".mar" else "this"
        raise DataError(f"{source}: {kind} does not say where its data lies.", remedy)
    try:
        folder = load_config(source / CONFIG_FILE).data
    except ConfigError as error:
        reason = f"its settings do not say where its data lies: {error.message}"
        raise DataError(f"{source}: {reason}", remedy) from error
    if isinstance(folder, Path) and not folder.exists():
        raise DataError(f"{source}: its data was at {folder}, which is gone.", remedy)
    return local_data(folder)


def seen_in_training(source: Path, folder: Path, split: str) -> int:
    """How many pictures of a split have the name and the size of one that a run was trained on.

    Args:
        source: run folder, or what else was measured.
        folder: the data that it was measured on.
        split: of that.

    Returns:
        The number; 0 if it is not known what it was trained on, or that is not on this machine.
    """
    trained = data_of_run(source) if (source / CONFIG_FILE).is_file() else None
    if not isinstance(trained, Path) or not trained.exists() or not (folder / split).is_dir():
        return 0
    return len(_names_and_sizes(local_data(trained) / "train") & _names_and_sizes(folder / split))


def _names_and_sizes(folder: Path) -> set[tuple[str, int]]:
    """Of all pictures in a folder and below it."""
    found: set[tuple[str, int]] = set()
    if not folder.is_dir():
        return found
    with os.scandir(folder) as entries:
        for one in entries:
            if one.is_dir(follow_symlinks=False):
                found |= _names_and_sizes(Path(one))
            elif is_picture_name(one.name) and one.is_file():
                found.add((one.name, one.stat().st_size))
    return found


def read_run(run: Path) -> tuple[SplitResults, ModelSpec]:
    """The detections of a run's best epoch on validation, and its specification.

    Raises:
        ArchiveError: not the folder of a run with a trained model, or its files do not belong together.
    """
    if run.suffix == ".mar" and run.is_file():
        raise ArchiveError(f"{run}: an archive keeps no detections.", "Give the run that it was made of.")
    if not run.is_dir():
        raise nothing_there(run)
    if not (run / RUN_SPEC).is_file():
        begun = (run / CONFIG_FILE).is_file()
        remedy = f"Finish it: boxwright train --resume {shlex.quote(str(run))}" if begun else "Give a run folder."
        raise ArchiveError(f"{run}: holds no finished model.", remedy)
    spec, results = ModelSpec.load(run / RUN_SPEC), SplitResults.load(run / RESULTS)
    measured = spec.measured.get(results.split, {})
    if results.class_names != spec.class_names or measured.get("images") != len(results.file_names):
        raise ArchiveError(f"{run / RESULTS} and {run / RUN_SPEC} are not of one run.", "Put the right one back.")
    return results, spec


def find_data(run: Path, measured: SplitResults, data: str | Path | None = None) -> Path:
    """The folder of the splits, which holds every picture that a run was measured on.

    Args:
        run: its folder.
        measured: its detections on a split.
        data: the folder or its URL; by default the one in the run's settings.

    Raises:
        DataError: the run does not say where the folder is, or a picture is missing.
    """
    remedy = "Give the folder it was trained on: --data FOLDER"
    place = data_of_run(run) if data is None else data
    if place is None:
        raise DataError(f"{run} does not say where its pictures are.", remedy)
    folder = local_data(place)
    split = folder / measured.split
    missing = [name for name in measured.file_names if not (split / name).is_file()]
    if missing:
        raise DataError(
            f"{split}: {len(missing)} of the {len(measured.file_names)} pictures that {run} was measured on are "
            f"missing, {missing[0]!r} among them.",
            remedy,
        )
    return folder
