"""What a run keeps of its best epoch: weights, detections, specification; and what trackers show of it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from boxwright.data import DataFolder
from boxwright.evaluation.operating import measured_spec, write_spec
from boxwright.evaluation.results import RESULTS, SplitResults, detections_of
from boxwright.host.files import replacing
from boxwright.metrics.figures import figures_of
from boxwright.metrics.objective import Objective
from boxwright.metrics.precision_recall import PrecisionRecall, precision_recall
from boxwright.models.weights_files import CHECKPOINT_KEY
from boxwright.runtime import ArchiveError, ConfigError, ModelSpec
from boxwright.runtime.bundle import RUN_SPEC, WEIGHTS
from boxwright.tracking.media import BestModel, ClassRow, Curve

from .checkpoints import BEST, SO_FAR, read_checkpoint, save

__all__ = ["best_model", "copy_best", "require_detections", "write_best"]

_NETWORK = "network."
_SHOWN = ("map", "map_50", "map_75", "f2", "f2_macro", "precision", "recall", "threshold")


def require_detections(checkpoint: Mapping[str, Any], path: Path) -> None:
    """Raise unless a checkpoint holds its epoch's detections in the validation split, or was saved within an epoch.

    Raises:
        ArchiveError: an older version wrote it.
    """
    if not {"found", SO_FAR} & checkpoint[CHECKPOINT_KEY].keys():
        raise ArchiveError(f"{path}: holds no detections; an older boxwright wrote it.", "Train again.")


def write_best(
    run: Path, data: DataFolder, objective: str, by_class: bool, finished: bool, console: Console
) -> tuple[ModelSpec, SplitResults]:
    """Write ``model_state_dict.pth``, ``detections.npz`` and ``spec.json`` from the best checkpoint.

    The old specification is removed first and the new one is written last: if it is there, the three belong together.

    Args:
        run: the run folder.
        data: what it was trained and validated on.
        objective: what the operating point maximises; if it cannot be attained, F2 is used, with a warning.
        by_class: whether each class with enough boxes gets a threshold of its own.
        finished: whether all epochs are done.
        console: for warnings.

    Returns:
        The specification, with operating point and measured figures, and the detections they were measured on.

    Raises:
        ArchiveError: the checkpoint is broken, or an older version wrote it.
    """
    checkpoint = read_checkpoint(run / BEST)
    require_detections(checkpoint, run / BEST)
    recorded = checkpoint[CHECKPOINT_KEY]
    spec = ModelSpec.from_json(recorded["spec"], str(run / BEST))
    outcome = {"best_epoch": recorded["epoch"], "finished": finished}
    spec = replace(spec, provenance={**spec.provenance, **outcome})
    results = _results(recorded["found"], spec, data)
    try:
        spec = measured_spec(spec, results, Objective.parse(objective), by_class)
    except ConfigError as error:  # it must not cost hours of training
        console.print(f"Warning: {error} The operating point is that of the best F2.")
        spec = measured_spec(spec, results, Objective.parse("f2"), by_class)
    if spec.operating_point.value == 0.0:
        boxes = data.splits["valid"].boxes
        console.print(f"Warning: {_found_nothing(recorded['epoch'] + 1, boxes)}")
    (run / RUN_SPEC).unlink(missing_ok=True)
    _write_weights(run / WEIGHTS, checkpoint["state_dict"])
    results.save(run / RESULTS)
    write_spec(run, spec)
    return spec, results


def _found_nothing(epoch: int, boxes: int) -> str:
    return (
        f"the best epoch, {epoch}, finds none of the {boxes} boxes in valid. Train longer, start from "
        "pretrained weights (--weights), or look at the data (boxwright check DATA --html page.html)."
    )


def _results(recorded: dict[str, torch.Tensor], spec: ModelSpec, data: DataFolder) -> SplitResults:
    columns = {name: column.numpy() for name, column in recorded.items()}
    return SplitResults.of(data.splits["valid"], data.root / "valid", spec.class_names, detections_of(columns))


def _write_weights(path: Path, state: dict[str, Any]) -> None:
    """Write the network's own part of a checkpoint."""
    weights = {
        key.removeprefix(_NETWORK): value.contiguous() for key, value in state.items() if key.startswith(_NETWORK)
    }
    save(weights, path)


def copy_best(run: Path, name: str, checkpoint_out: Path | None, state_dict_out: Path | None) -> None:
    """Copy checkpoint and weights to the folders that the settings name.

    Args:
        run: the run folder.
        name: of the run.
        checkpoint_out: folder for ``NAME.ckpt``, or None.
        state_dict_out: folder for ``NAME_model.pth``, or None.
    """
    for source, folder, file in (
        (run / BEST, checkpoint_out, f"{name}.ckpt"),
        (run / WEIGHTS, state_dict_out, f"{name}_model.pth"),
    ):
        if folder is not None:
            with replacing(folder / file) as part:
                shutil.copyfile(source, part)


def best_model(run: Path, spec: ModelSpec, results: SplitResults, files: Sequence[Path], weights: bool) -> BestModel:
    """What trackers show of the best model.

    Args:
        run: the run folder, with specification and weights.
        spec: of the best epoch.
        results: its detections in the validation split.
        files: small ones that MLflow keeps beside the specification: the report.
        weights: whether W&B gets the weights.
    """
    matches = results.matches()
    figures = figures_of(matches, spec.operating_point.thresholds(spec.class_names))
    numbers = {f"best/{name}": float(getattr(figures, name)) for name in _SHOWN}
    epoch: Any = spec.provenance.get("best_epoch")
    curves = [_curve(name, precision_recall(matches, label)) for label, name in enumerate(spec.class_names)]
    return BestModel(
        spec=spec,
        figures=numbers if epoch is None else {**numbers, "best/epoch": float(epoch)},
        classes=tuple(
            ClassRow(name, one.boxes, one.map, one.map_50, one.f2, one.precision, one.recall)
            for name, one in zip(spec.class_names, figures.per_class, strict=True)
        ),
        curves=tuple(curve for curve in curves if curve.boxes and len(curve.thresholds)),
        files=(run / RUN_SPEC, *files),
        weights=(run / WEIGHTS, run / RUN_SPEC) if weights else (),
    )


def _curve(name: str, curve: PrecisionRecall) -> Curve:
    drawn = ~np.isnan(curve.precision)
    return Curve(name, curve.thresholds[drawn], curve.precision[drawn], curve.recall[drawn], curve.boxes)
