"""Pictures, tables, curves and models in W&B's own terms; each value here is a plain one that ``wandb`` wraps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from boxwright.runtime import ModelSpec

from .best import CLASS_COLUMNS, BestModel
from .pictures import TrackedPicture

__all__ = ["class_table", "curve_chart", "megabytes", "model_artifact", "pictures_with_boxes"]

_LEAST_SCORE = 0.05  # of a detection that is shown; the page's slider starts where a person puts it
_MOST_BOXES = 100  # detections a picture, the best: COCO's AP looks at no more
_MOST_ROWS = 10_000  # that W&B draws of one chart
_MOST_POINTS = 101  # a curve


def pictures_with_boxes(pictures: Sequence[TrackedPicture], class_names: Sequence[str]) -> list[Any]:
    """A ``wandb.Image`` each, with two groups of boxes that can be shown and hidden, filtered by class and score.

    All have the size that holds any of them, as W&B places the boxes of a list by the first one's size.
    """
    size = (max(one.image.width for one in pictures), max(one.image.height for one in pictures))
    return [_with_boxes(one, size, class_names) for one in pictures]


def _with_boxes(picture: TrackedPicture, size: tuple[int, int], class_names: Sequence[str]) -> Any:
    import wandb

    canvas = Image.new("RGB", size)
    canvas.paste(picture.image)
    labels = dict(enumerate(class_names))
    groups = {"ground_truth": _annotated(picture, class_names), "predictions": _found(picture, class_names)}
    boxes = {group: {"box_data": content, "class_labels": labels} for group, content in groups.items()}
    return wandb.Image(canvas, caption=picture.name, boxes=boxes, file_type="jpg")


def _annotated(picture: TrackedPicture, class_names: Sequence[str]) -> list[dict[str, Any]]:
    return [
        _box(box, int(label), class_names[int(label)]) for box, label in zip(picture.boxes, picture.labels, strict=True)
    ]


def _found(picture: TrackedPicture, class_names: Sequence[str]) -> list[dict[str, Any]]:
    found = picture.found.filter_by_score(_LEAST_SCORE)
    found = found.select(np.arange(min(len(found), _MOST_BOXES)))
    return [
        {**_box(box, int(label), f"{class_names[int(label)]} {score:.2f}"), "scores": {"score": float(score)}}
        for box, score, label in zip(found.boxes, found.scores, found.labels, strict=True)
    ]


def _box(box: NDArray[Any], label: int, caption: str) -> dict[str, Any]:
    edges = dict(zip(("minX", "minY", "maxX", "maxY"), map(float, box), strict=True))
    return {"position": edges, "domain": "pixel", "class_id": label, "box_caption": caption}


def class_table(best: BestModel) -> Any:
    """A ``wandb.Table`` of the figures by class."""
    import wandb

    return wandb.Table(columns=list(CLASS_COLUMNS), data=[row.cells for row in best.classes])


def curve_chart(best: BestModel) -> Any:
    """Precision against recall, a line a class, as a chart that W&B draws from its table."""
    import wandb

    most = max(2, min(_MOST_POINTS, _MOST_ROWS // max(1, len(best.curves))))
    rows = [
        [curve.name, float(recall), float(precision), float(threshold)]
        for curve in (one.thinned(most) for one in best.curves)
        for recall, precision, threshold in zip(curve.recall, curve.precision, curve.thresholds, strict=True)
    ]
    table = wandb.Table(columns=["class", "recall", "precision", "threshold"], data=rows)
    return wandb.plot.line(table, "recall", "precision", stroke="class", title="Precision and recall at IoU .5")


def model_artifact(spec: ModelSpec, files: Sequence[Path], offline: bool) -> Any:
    """A ``wandb.Artifact`` of a model's files.

    Args:
        spec: of the model; what it says about the model goes along.
        files: to keep.
        offline: whether the files may change before they are uploaded, so that a copy must be kept.
    """
    import wandb

    artifact = wandb.Artifact(spec.name, type="model", metadata=dict(_metadata(spec)))
    for path in files:
        artifact.add_file(str(path), policy="mutable" if offline else "immutable")
    return artifact


def _metadata(spec: ModelSpec) -> Mapping[str, Any]:
    return {
        "architecture": spec.architecture,
        "contract": spec.contract,
        "classes": list(spec.class_names),
        "operating_point": asdict(spec.operating_point),
        "data_fingerprint": spec.provenance.get("data_fingerprint"),
        "measured": spec.measured,
    }


def megabytes(files: Sequence[Path]) -> str:
    """Size of files together, for people: ``75.8 MB`` of a million bytes each."""
    return f"{sum(path.stat().st_size for path in files) / 1e6:.1f} MB"
