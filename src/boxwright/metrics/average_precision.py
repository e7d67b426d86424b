"""COCO average precision, the figure of record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxwright.runtime import Detections

from .ground_truth import GroundTruth

__all__ = ["AveragePrecision", "average_precision"]


@dataclass(frozen=True)
class AveragePrecision:
    """COCO's figures, each in [0, 1], or NaN where there is no ground truth to measure by.

    Attributes:
        map: mean over classes and IoU .50:.05:.95, at most 100 detections a picture and class.
        map_50: at IoU .50.
        map_75: at IoU .75.
        map_small: boxes up to 32 x 32 pixels.
        map_medium: up to 96 x 96.
        map_large: beyond.
        per_class: ``map`` of each class, by class index.
    """

    map: float
    map_50: float
    map_75: float
    map_small: float
    map_medium: float
    map_large: float
    per_class: tuple[float, ...]


def average_precision(
    ground_truth: Sequence[GroundTruth], detections: Sequence[Detections], num_classes: int
) -> AveragePrecision:
    """COCO AP as pycocotools defines it, computed by hotcoco.

    Ids are assigned here, from 1, so that annotation files that start at id 0 score right
    (pycocotools reads id 0 as unmatched: cocodataset/cocoapi #332).

    Args:
        ground_truth: one a picture.
        detections: one a picture, in the same order and the same pixels.
        num_classes: K; labels are 0..K-1.

    Raises:
        ValueError: a different number of pictures on the two sides.
    """
    if len(ground_truth) != len(detections):
        raise ValueError(f"{len(ground_truth)} pictures have ground truth, {len(detections)} detections.")
    precision = _precision(ground_truth, detections, num_classes)
    return AveragePrecision(
        map=_mean(precision[:, :, :, 0]),
        map_50=_mean(precision[0, :, :, 0]),
        map_75=_mean(precision[5, :, :, 0]),
        map_small=_mean(precision[:, :, :, 1]),
        map_medium=_mean(precision[:, :, :, 2]),
        map_large=_mean(precision[:, :, :, 3]),
        per_class=tuple(_mean(precision[:, :, index, 0]) for index in range(num_classes)),
    )


def _precision(
    ground_truth: Sequence[GroundTruth], detections: Sequence[Detections], num_classes: int
) -> NDArray[np.float64]:
    """COCO's precision table at maxDets 100: [10 IoUs, 101 recalls, K classes, 4 areas], -1 where undefined."""
    import hotcoco

    truth = hotcoco.COCO(_annotations(ground_truth, num_classes))
    evaluation = hotcoco.COCOeval(truth, truth.load_res(_results(detections)), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    table: NDArray[np.float64] = np.asarray((evaluation.eval or {})["precision"])[..., 2]
    return table


def _annotations(ground_truth: Sequence[GroundTruth], num_classes: int) -> dict[str, Any]:
    rows = [
        (picture, truth.labels[i], truth.boxes[i], truth.area[i], truth.crowd[i])
        for picture, truth in enumerate(ground_truth)
        for i in range(len(truth.labels))
    ]
    return {
        "images": [{"id": picture} for picture in range(len(ground_truth))],
        "categories": [{"id": index, "name": str(index)} for index in range(num_classes)],
        "annotations": [
            {
                "id": number,
                "image_id": picture,
                "category_id": int(label),
                "bbox": _xywh(box),
                "area": float(area),
                "iscrowd": int(crowd),
            }
            for number, (picture, label, box, area, crowd) in enumerate(rows, start=1)
        ],
    }


def _results(detections: Sequence[Detections]) -> NDArray[np.float64]:
    """Rows of [picture, x, y, w, h, score, class]: float64 [n, 7]."""
    blocks = [np.zeros((0, 7))]
    for picture, found in enumerate(detections):
        block = np.empty((len(found), 7))
        block[:, 0] = picture
        block[:, 1:5] = found.boxes
        block[:, 3:5] -= block[:, 1:3]
        block[:, 5] = found.scores
        block[:, 6] = found.labels
        blocks.append(block)
    return np.concatenate(blocks)


def _xywh(box: NDArray[np.float64]) -> list[float]:
    left, top, right, bottom = (float(edge) for edge in box)
    return [left, top, right - left, bottom - top]


def _mean(precision: NDArray[np.float64]) -> float:
    defined = precision[precision > -1]
    return float(defined.mean()) if defined.size else float("nan")
