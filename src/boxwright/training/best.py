"""What a run leaves of its best epoch: weights, detections, specification."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from boxwright.data import DataFolder
from boxwright.evaluation.operating import measured_spec, write_spec
from boxwright.evaluation.results import RESULTS, SplitResults, detections_of
from boxwright.metrics.objective import Objective
from boxwright.runtime import ArchiveError, ConfigError, ModelSpec
from boxwright.runtime.bundle import RUN_SPEC, WEIGHTS

from .checkpoints import BEST, read_checkpoint
from .module import CHECKPOINT_KEY

__all__ = ["copy_best", "require_detections", "write_best"]

_NETWORK = "network."


def require_detections(checkpoint: Mapping[str, Any], path: Path) -> None:
    """Make sure that a checkpoint holds what its epoch found in the validation split.

    Raises:
        ArchiveError: an older version wrote it.
    """
    if "found" not in checkpoint[CHECKPOINT_KEY]:
        raise ArchiveError(f"{path}: holds no detections; an older boxwright wrote it.", "Train again.")


def write_best(
    run: Path, data: DataFolder, objective: str, by_class: bool, finished: bool, console: Console
) -> tuple[ModelSpec, SplitResults]:
    """Write ``model_state_dict.pth``, ``detections.npz`` and ``spec.json`` from the best checkpoint.

    The old specification goes first and the new one comes last: with it the three belong together.

    Args:
        run: its folder.
        data: what it was trained and validated on.
        objective: what the operating point maximises; where it cannot be attained, F2, said aloud.
        by_class: whether each class that has boxes enough is reported from its own threshold.
        finished: whether all epochs are done.
        console: for warnings.

    Returns:
        The specification, with operating point and measured figures, and what these were measured on.

    Raises:
        ArchiveError: the checkpoint is broken, or an older version's.
    """
    checkpoint = read_checkpoint(run / BEST)
    require_detections(checkpoint, run / BEST)
    recorded = checkpoint[CHECKPOINT_KEY]
    spec = ModelSpec.from_json(recorded["spec"], str(run / BEST))
    outcome = {"best_epoch": recorded["epoch"], "finished": finished}
    spec = replace(spec, provenance={**spec.provenance, **outcome})
    results = _results(recorded["found"], spec, data)
    spec = _measured(spec, results, objective, by_class, console)
    (run / RUN_SPEC).unlink(missing_ok=True)
    _write_weights(run / WEIGHTS, checkpoint["state_dict"])
    results.save(run / RESULTS)
    write_spec(run, spec)
    return spec, results


def _results(found: dict[str, torch.Tensor], spec: ModelSpec, data: DataFolder) -> SplitResults:
    columns = {name: column.numpy() for name, column in found.items()}
    return SplitResults.of(data.splits["valid"], data.root / "valid", spec.class_names, detections_of(columns))


def _measured(spec: ModelSpec, results: SplitResults, objective: str, by_class: bool, console: Console) -> ModelSpec:
    try:
        return measured_spec(spec, results, Objective.parse(objective), by_class)
    except ConfigError as error:  # hours of training are not lost over it
        console.print(f"Warning: {error} The operating point is that of the best F2.")
        return measured_spec(spec, results, Objective.parse("f2"), by_class)


def _write_weights(path: Path, state: dict[str, Any]) -> None:
    """The network's own part of a checkpoint, whole or not at all."""
    weights = {
        key.removeprefix(_NETWORK): value.contiguous() for key, value in state.items() if key.startswith(_NETWORK)
    }
    part = path.with_name(path.name + ".part")
    torch.save(weights, part)
    part.replace(path)


def copy_best(run: Path, name: str, checkpoint_out: Path | None, state_dict_out: Path | None) -> None:
    """The copies asked for.

    Args:
        run: its folder.
        name: of the run.
        checkpoint_out: folder for ``NAME.ckpt``, or None.
        state_dict_out: folder for ``NAME_model.pth``, or None.
    """
    for source, folder, file in (
        (run / BEST, checkpoint_out, f"{name}.ckpt"),
        (run / WEIGHTS, state_dict_out, f"{name}_model.pth"),
    ):
        if folder is not None:
            shutil.copyfile(source, folder / file)
