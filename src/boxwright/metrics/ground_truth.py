"""What there was to find in one picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["GroundTruth"]


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """The annotated boxes of one picture.

    Attributes:
        boxes: float64 [n, 4], xyxy, in pixels of the original picture.
        labels: int64 [n], class indices 0..K-1.
        crowd: bool [n]; detections on a crowd region count neither for nor against.
        area: float64 [n], square pixels; decides between small, medium and large in COCO's AP.

    Raises:
        ValueError: when shapes disagree.
    """

    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    crowd: NDArray[np.bool_]
    area: NDArray[np.float64]

    def __post_init__(self) -> None:
        count = len(self.labels)
        shapes = (self.boxes.shape, self.labels.shape, self.crowd.shape, self.area.shape)
        if shapes != ((count, 4), (count,), (count,), (count,)):
            raise ValueError(
                "GroundTruth needs boxes [n, 4], labels, crowd and area [n]; got "
                + ", ".join(str(list(shape)) for shape in shapes)
                + "."
            )

    @classmethod
    def of(cls, boxes: ArrayLike, labels: ArrayLike, crowd: ArrayLike | None = None) -> GroundTruth:
        """From anything array-like; areas are the boxes' own, nothing is a crowd unless said."""
        corners = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
        is_crowd = np.zeros(len(corners), dtype=bool) if crowd is None else np.asarray(crowd, dtype=bool)
        sides = corners[:, 2:] - corners[:, :2]
        area = sides[:, 0] * sides[:, 1]
        return cls(corners, np.asarray(labels, dtype=np.int64).reshape(-1), is_crowd, area)
