"""The answer to one picture, beside the detections that were expected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boxwright.runtime import Detections

from .agreement import partners

__all__ = ["LOOSE", "STRICT", "PictureDifference", "Slack", "compare_answer"]


@dataclass(frozen=True)
class Slack:
    """What still counts as the same detection.

    Attributes:
        iou: the boxes overlap by more than this.
        score: the scores differ by less; a detection this near its threshold may be there or not.
        share: of the expected detections that may differ all the same.
    """

    iou: float
    score: float
    share: float


STRICT = Slack(iou=0.99, score=1e-3, share=0.001)
"""For fp32: rounding turns one in a thousand detections where two boxes overlap by nearly what suppresses one."""

LOOSE = Slack(iou=0.5, score=0.1, share=0.1)
"""For bf16 and int8."""


@dataclass(frozen=True)
class PictureDifference:
    """How the answer to a picture differs from what was expected.

    Attributes:
        name: of the picture.
        expected: detections.
        answered: detections.
        missing: expected, and not answered.
        surplus: answered, and not expected.
        changed: in both, with another box or another score.
        relabelled: of the missing, those answered as another class.
        faint: of the surplus, those with a score below the threshold.
        box: largest difference between the edges of two that belong together, pixels.
        score: likewise of their scores.
    """

    name: str
    expected: int
    answered: int
    missing: int
    surplus: int
    changed: int
    relabelled: int
    faint: int
    box: float
    score: float

    @property
    def wrong(self) -> int:
        """Detections that differ."""
        return self.missing + self.surplus + self.changed

    @property
    def badness(self) -> tuple[int, float, float]:
        """Sorts pictures, the worst last."""
        return (self.wrong, self.score, self.box)

    def __str__(self) -> str:
        """One clause for a person."""
        counts = (
            (self.missing, f"of {self.expected} missing"),
            (self.relabelled, "of them under another class"),
            (self.surplus, "not expected"),
            (self.faint, "of them below the threshold"),
            (self.changed, f"changed, by up to {self.box:.3g} pixels and {self.score:.2g} of score"),
        )
        told = [f"{count} {what}" for count, what in counts if count]
        return f"picture {self.name!r}: {', '.join(told) or 'as expected'}"


def compare_answer(
    name: str, expected: Detections, answered: Detections, thresholds: NDArray[np.float64], slack: Slack = STRICT
) -> PictureDifference:
    """Give every expected detection its partner in the answer, and count what has none.

    Args:
        name: of the picture.
        expected: from the thresholds on.
        answered: of the same picture, in its pixels.
        thresholds: float64 [K], lowest reported score of each class.
        slack: what still counts as the same.
    """
    pairs = partners(expected, answered)
    boxes = [float(np.abs(expected.boxes[row] - answered.boxes[other]).max()) for row, other, _ in pairs]
    scores = [float(abs(expected.scores[row] - answered.scores[other])) for row, other, _ in pairs]
    changed = sum(iou <= slack.iou or score >= slack.score for (*_, iou), score in zip(pairs, scores, strict=True))
    missing = _clear(expected, [row for row, *_ in pairs], thresholds, slack)
    surplus = _clear(answered, [other for _, other, _ in pairs], thresholds, slack)
    return PictureDifference(
        name=name,
        expected=len(expected),
        answered=len(answered),
        missing=len(missing),
        surplus=len(surplus),
        changed=changed,
        relabelled=len(partners(_of_one_class(missing), _of_one_class(surplus))),
        faint=int((surplus.scores < thresholds[surplus.labels]).sum()),
        box=max(boxes, default=0.0),
        score=max(scores, default=0.0),
    )


def _clear(found: Detections, paired: Sequence[int], thresholds: NDArray[np.float64], slack: Slack) -> Detections:
    """Those without a partner whose score is not so near the threshold that rounding decides."""
    alone = np.ones(len(found), bool)
    alone[list(paired)] = False
    return found.select(alone & (np.abs(found.scores - thresholds[found.labels]) > slack.score))


def _of_one_class(found: Detections) -> Detections:
    return Detections(found.boxes, found.scores, np.zeros(len(found), np.int64))
