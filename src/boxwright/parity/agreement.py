"""How far two sets of detections of the same pictures agree; neither is the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boxwright.runtime import Detections

__all__ = ["LEAST_SCORE", "Agreement", "PictureAgreement", "agreement", "compare_picture", "partners"]

LEAST_SCORE = 0.05
"""Fainter detections of the reference are not looked for."""

_SAME_OBJECT = 0.5
_SAME_BOX, _SAME_SCORE = 0.99, 1e-3


@dataclass(frozen=True)
class PictureAgreement:
    """Of one picture.

    Attributes:
        detections: of the reference, from ``LEAST_SCORE`` on.
        matched: those with a partner: same class, IoU above .5.
        equal: those whose partner has IoU above .99 and a score within .001.
        box_difference: largest between the edges of partners, pixels.
        score_difference: largest between the scores of partners.
    """

    detections: int
    matched: int
    equal: int
    box_difference: float
    score_difference: float

    @property
    def badness(self) -> tuple[int, int, float, float]:
        """Sorts pictures, the worst last."""
        return (
            self.detections - self.matched,
            self.detections - self.equal,
            self.score_difference,
            self.box_difference,
        )


@dataclass(frozen=True)
class Agreement:
    """Of many pictures: sums, and the largest differences; see ``PictureAgreement``.

    Attributes:
        pictures: compared.
        detections: see there.
        matched: see there.
        equal: see there.
        largest_box_difference: pixels.
        largest_score_difference: of a score.
        worst: index of the picture that agrees least; None without pictures.
    """

    pictures: int
    detections: int
    matched: int
    equal: int
    largest_box_difference: float
    largest_score_difference: float
    worst: int | None


def agreement(reference: Sequence[Detections], found: Sequence[Detections]) -> Agreement:
    """Compare picture by picture.

    Args:
        reference: one a picture.
        found: likewise, the same pictures in the same order.
    """
    pictures = [compare_picture(*pair) for pair in zip(reference, found, strict=True)]
    return Agreement(
        pictures=len(pictures),
        detections=sum(one.detections for one in pictures),
        matched=sum(one.matched for one in pictures),
        equal=sum(one.equal for one in pictures),
        largest_box_difference=max((one.box_difference for one in pictures), default=0.0),
        largest_score_difference=max((one.score_difference for one in pictures), default=0.0),
        worst=max(range(len(pictures)), key=lambda index: pictures[index].badness, default=None),
    )


def compare_picture(reference: Detections, found: Detections) -> PictureAgreement:
    """Give every detection of the reference, best first, the free one of its class that overlaps it most."""
    reference = reference.filter_by_score(LEAST_SCORE)
    pairs = partners(reference, found)
    edges = [float(np.abs(reference.boxes[row] - found.boxes[partner]).max()) for row, partner, _ in pairs]
    scores = [float(abs(reference.scores[row] - found.scores[partner])) for row, partner, _ in pairs]
    overlap = [one for _, _, one in pairs]
    equal = sum(iou > _SAME_BOX and score < _SAME_SCORE for iou, score in zip(overlap, scores, strict=True))
    return PictureAgreement(len(reference), len(pairs), equal, max(edges, default=0.0), max(scores, default=0.0))


def partners(reference: Detections, found: Detections) -> list[tuple[int, int, float]]:
    """Pairs of one class with an IoU above .5, each detection in one at most: rows of both sides, and the IoU."""
    overlaps = _overlaps(reference, found)
    pairs = []
    for row in range(len(reference)):
        partner = int(overlaps[row].argmax()) if len(found) else -1
        if partner < 0 or overlaps[row, partner] <= _SAME_OBJECT:
            continue
        pairs.append((row, partner, float(overlaps[row, partner])))
        overlaps[:, partner] = 0.0
    return pairs


def _overlaps(first: Detections, second: Detections) -> NDArray[np.float64]:
    """IoU float64 [n, m], 0 between classes."""
    one, other = (detections.boxes.astype(np.float64) for detections in (first, second))
    corner = np.maximum(one[:, None, :2], other[None, :, :2])
    end = np.minimum(one[:, None, 2:], other[None, :, 2:])
    common = np.prod(np.clip(end - corner, 0.0, None), axis=2)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (one, other)]
    union = areas[0][:, None] + areas[1][None, :] - common
    overlaps: NDArray[np.float64] = np.where(union > 0, common / np.where(union > 0, union, 1.0), 0.0)
    overlaps[first.labels[:, None] != second.labels[None, :]] = 0.0
    return overlaps
