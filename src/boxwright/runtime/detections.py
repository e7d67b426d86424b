"""The one result type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Dict, List, Sequence, Type, Union

import numpy as np

from .errors import MissingDependency

__all__ = ["Detections"]


@dataclass(frozen=True, eq=False)
class Detections:
    """What a detector found in one picture.

    Attributes:
        boxes: float32 [n, 4], xyxy (left, top, right, bottom), in pixels of the picture the
            detections belong to (see where they were made: canvas or original picture).
        scores: float32 [n], in [0, 1].
        labels: int64 [n], class indices 0..K-1 into ``ModelSpec.classes``.

    Raises:
        ValueError: when shapes disagree; the message gives expected and actual shapes.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    _floats: ClassVar[Type[np.floating]] = np.float32  # of boxes and scores; a subclass may keep more digits

    def __post_init__(self) -> None:
        boxes = np.asarray(self.boxes, dtype=self._floats)
        scores = np.asarray(self.scores, dtype=self._floats)
        labels = np.asarray(self.labels, dtype=np.int64)
        if boxes.size == 0:
            boxes = boxes.reshape(-1, 4)
        count = scores.shape[0] if scores.ndim == 1 else -1
        if boxes.shape != (count, 4) or labels.shape != (count,):
            raise ValueError(
                "Detections need boxes [n, 4], scores [n] and labels [n]; "
                f"got {list(boxes.shape)}, {list(scores.shape)} and {list(labels.shape)}."
            )
        object.__setattr__(self, "boxes", boxes)
        object.__setattr__(self, "scores", scores)
        object.__setattr__(self, "labels", labels)

    def __len__(self) -> int:
        return int(self.scores.shape[0])

    @classmethod
    def empty(cls) -> Detections:
        """No detections: boxes [0, 4], scores [0], labels [0]."""
        return cls(np.zeros((0, 4)), np.zeros(0), np.zeros(0))

    def select(self, which: np.ndarray) -> Detections:
        """The detections picked by a boolean mask [n] or by indices [m]."""
        return type(self)(self.boxes[which], self.scores[which], self.labels[which])

    def filter_by_score(self, threshold: Union[float, Sequence[float], np.ndarray]) -> Detections:
        """The detections with a score of at least the threshold, highest score first.

        The comparison is made in float64, so that a threshold taken from a float32 score
        keeps the detection it was taken from.

        Args:
            threshold: one for all, or one per class, by class index.
        """
        needed = np.asarray(threshold, dtype=np.float64)
        needed = needed[self.labels] if needed.ndim else needed
        kept = self.select(self.scores.astype(np.float64) >= needed)
        return kept.select(np.argsort(-kept.scores, kind="stable"))

    def to_answer(self, names: Sequence[str]) -> List[Dict[str, Any]]:
        """The JSON answer of the endpoint: ``[{name: [x1, y1, x2, y2], "score": s}]``.

        Args:
            names: class names by index.
        """
        return [
            {names[int(label)]: [float(edge) for edge in box], "score": float(score)}
            for box, score, label in zip(self.boxes, self.scores, self.labels)
        ]

    def to_coco(self, image_id: int, category_ids: Sequence[int]) -> List[Dict[str, Any]]:
        """COCO results: ``[{"image_id", "category_id", "bbox": [x, y, width, height], "score"}]``, in pixels.

        Args:
            image_id: of the picture, in the data set's JSON.
            category_ids: by class index: ``[entry.id for entry in spec.classes]``.
        """
        edges = self.boxes.astype(np.float64)
        corners_and_sizes = np.hstack([edges[:, :2], edges[:, 2:] - edges[:, :2]])
        return [
            {"image_id": image_id, "category_id": category_ids[int(label)], "bbox": box, "score": float(score)}
            for box, score, label in zip(corners_and_sizes.tolist(), self.scores, self.labels)
        ]

    def to_supervision(self, names: Sequence[str]) -> Any:
        """The same as ``supervision.Detections``, with ``data["class_name"]`` str [n].

        Args:
            names: class names by index.

        Raises:
            MissingDependency: supervision is not installed.
        """
        try:
            import supervision
        except ImportError as error:
            raise MissingDependency("'supervision' is not installed.", "pip install supervision") from error
        class_names = np.array([names[int(label)] for label in self.labels], dtype=str)
        return supervision.Detections(
            xyxy=self.boxes, confidence=self.scores, class_id=self.labels, data={"class_name": class_names}
        )
