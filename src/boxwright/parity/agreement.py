"""How far detections agree with those that were expected: one comparison, one report, one table of tolerances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from boxwright.metrics.overlaps import iou_matrix
from boxwright.runtime import Detections

__all__ = [
    "COMPARED",
    "EXACT",
    "LEAST_SCORE",
    "TOLERANCES",
    "Agreement",
    "PictureDifference",
    "Tolerance",
    "compare_picture",
    "compare_pictures",
]

LEAST_SCORE = 0.05
"""Lowest score of a detection that a proof looks for."""

COMPARED = {"map": "mAP", "f2": "F2"}
"""Figures that must be within the tolerance, and what people call them."""

_SAME_OBJECT = 0.5


@dataclass(frozen=True)
class Tolerance:
    """What still counts as equal.

    Attributes:
        figures: largest difference of mAP and of F2.
        iou: the boxes of one detection overlap by more than this.
        score: its scores differ by less; a detection this near to the least score may be there or not.
        share: of the expected detections that may differ all the same.
    """

    figures: float
    iou: float
    score: float
    share: float


TOLERANCES: Mapping[str, Tolerance] = {
    # rounding changes one in a thousand detections, where two boxes overlap by nearly what suppresses one of them
    "fp32": Tolerance(figures=0.0005, iou=0.99, score=1e-3, share=0.001),
    "bf16": Tolerance(figures=0.002, iou=_SAME_OBJECT, score=0.1, share=0.1),
    "int8": Tolerance(figures=0.01, iou=_SAME_OBJECT, score=0.1, share=0.1),
}
"""By precision of what is compared with the trained model."""

EXACT = TOLERANCES["fp32"]


@dataclass(frozen=True)
class PictureDifference:
    """How the detections of a picture differ from the expected ones.

    Attributes:
        name: of the picture.
        expected: detections that were expected.
        matched: of these, with a partner: same class, IoU above .5.
        equal: of these, within ``EXACT``, whatever the tolerance.
        missing: expected, without a partner.
        surplus: detected, without a partner.
        changed: with a partner, but beyond the tolerance.
        relabelled: of the missing, those detected as another class.
        faint: of the surplus, those with a score below the least.
        box: largest difference between the edges of partners, pixels.
        score: largest difference between the scores of partners.
    """

    name: str
    expected: int
    matched: int
    equal: int
    missing: int
    surplus: int
    changed: int
    relabelled: int
    faint: int
    box: float
    score: float

    @property
    def wrong(self) -> int:
        """Detections that differ by more than the tolerance."""
        return self.missing + self.surplus + self.changed

    @property
    def badness(self) -> tuple[int, int, float, float]:
        """Sorts pictures, the worst last."""
        return (self.wrong, self.expected - self.equal, self.score, self.box)

    def __str__(self) -> str:
        """One clause for a person."""
        counts = (
            (self.missing, f"of {self.expected} missing"),
            (self.relabelled, "of them under another class"),
            (self.surplus, "not expected"),
            (self.faint, "of them below the threshold"),
            (self.changed, f"changed, by up to {self.box:.3g} pixels and {self.score:.2g} of score"),
        )
        clauses = [f"{count} {what}" for count, what in counts if count]
        return f"picture {self.name!r}: {', '.join(clauses) or 'as expected'}"


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How the detections of many pictures agree with the expected ones; proofs and evaluations add whose they are.

    Attributes:
        pictures: how each of them differs; none where the expected detections are not known.
        figures: by the keys of ``COMPARED`` and others; None for a figure that is not defined.
        reference: what the figures should be.
        allowed: what counts as equal.
    """

    pictures: tuple[PictureDifference, ...] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)
    reference: Mapping[str, Any] = field(default_factory=dict)
    allowed: Tolerance = EXACT

    @property
    def tolerance(self) -> float:
        """Largest accepted difference of mAP and of F2."""
        return self.allowed.figures

    @property
    def detections(self) -> int:
        """How many were expected."""
        return sum(one.expected for one in self.pictures)

    @property
    def matched(self) -> int:
        """Of the expected, with a partner; see ``PictureDifference``."""
        return sum(one.matched for one in self.pictures)

    @property
    def equal(self) -> int:
        """Of the expected, with an equal; see ``PictureDifference``."""
        return sum(one.equal for one in self.pictures)

    @property
    def largest_box_difference(self) -> float:
        """Between partners, pixels."""
        return max((one.box for one in self.pictures), default=0.0)

    @property
    def largest_score_difference(self) -> float:
        """Between partners."""
        return max((one.score for one in self.pictures), default=0.0)

    @property
    def worst(self) -> PictureDifference | None:
        """The picture that differs most; None without pictures."""
        return max(self.pictures, key=lambda one: one.badness, default=None)

    @property
    def difference(self) -> float:
        """The largest of the figures' differences; infinite where only one side is defined."""
        return max(_apart(self.figures.get(key), self.reference.get(key)) for key in COMPARED)

    @property
    def figures_fault(self) -> str:
        """A sentence with the figures that are beyond the tolerance; empty if none is."""
        sides = {name: (self.figures.get(key), self.reference.get(key)) for key, name in COMPARED.items()}
        beyond = {name: pair for name, pair in sides.items() if _apart(*pair) > self.tolerance}
        if not beyond:
            return ""
        listed = ", ".join(
            f"{name} is {_shown(one)} instead of {_shown(other)}" for name, (one, other) in beyond.items()
        )
        return f"{listed}: beyond {self.tolerance:g}."

    @property
    def detections_fault(self) -> str:
        """A sentence that names the worst picture, if more detections are wrong than may be; else empty."""
        differing = [one for one in self.pictures if one.wrong]
        if sum(one.wrong for one in differing) <= self.allowed.share * self.detections:
            return ""
        return f"{len(differing)} of {len(self.pictures)} pictures differ, above all {self.worst}."

    def __str__(self) -> str:
        """The figures as they should be and as they are, for a person."""
        return ", ".join(
            f"{name} {_shown(self.reference.get(key))} -> {_shown(self.figures.get(key))}"
            for key, name in COMPARED.items()
        )


def _apart(one: float | None, other: float | None) -> float:
    if one is None or other is None:
        return 0.0 if one is other else float("inf")
    return abs(one - other)


def _shown(figure: float | None) -> str:
    return "none" if figure is None else f"{figure:.4f}"


def compare_pictures(
    names: Sequence[str],
    expected: Sequence[Detections],
    detections: Sequence[Detections],
    least: ArrayLike,
    tolerance: Tolerance = EXACT,
) -> tuple[PictureDifference, ...]:
    """One difference per picture, all in the same order; see ``compare_picture``."""
    return tuple(compare_picture(*one, least, tolerance) for one in zip(names, expected, detections, strict=True))


def compare_picture(
    name: str, expected: Detections, detections: Detections, least: ArrayLike, tolerance: Tolerance = EXACT
) -> PictureDifference:
    """Give every expected detection its partner, and count those that have none.

    Args:
        name: of the picture.
        expected: those with a lower score than the least are not looked for.
        detections: of the same picture, in its pixels.
        least: lowest score that counts; one for all classes, or float64 [K].
        tolerance: what counts as equal.
    """
    expected = expected.filter_by_score(np.asarray(least))
    pairs = _partners(expected, detections)
    boxes = [float(np.abs(expected.boxes[row] - detections.boxes[other]).max()) for row, other, _ in pairs]
    scores = [float(abs(expected.scores[row] - detections.scores[other])) for row, other, _ in pairs]
    missing = _alone(expected, [row for row, *_ in pairs], least, tolerance)
    surplus = _alone(detections, [other for _, other, _ in pairs], least, tolerance)
    overlaps = [iou for *_, iou in pairs]
    return PictureDifference(
        name=name,
        expected=len(expected),
        matched=len(pairs),
        equal=_count_within(EXACT, overlaps, scores),
        missing=len(missing),
        surplus=len(surplus),
        changed=len(pairs) - _count_within(tolerance, overlaps, scores),
        relabelled=len(_partners(_of_one_class(missing), _of_one_class(surplus))),
        faint=int((surplus.scores < _least_of(surplus, least)).sum()),
        box=max(boxes, default=0.0),
        score=max(scores, default=0.0),
    )


def _count_within(tolerance: Tolerance, overlaps: Sequence[float], scores: Sequence[float]) -> int:
    return sum(iou > tolerance.iou and score < tolerance.score for iou, score in zip(overlaps, scores, strict=True))


def _alone(one: Detections, paired: Sequence[int], least: ArrayLike, tolerance: Tolerance) -> Detections:
    """Those without a partner whose score is not so near to the least that rounding decides."""
    alone = np.ones(len(one), bool)
    alone[list(paired)] = False
    return one.select(alone & (np.abs(one.scores - _least_of(one, least)) > tolerance.score))


def _least_of(one: Detections, least: ArrayLike) -> NDArray[np.float64]:
    """Lowest score that counts, of each detection's class."""
    least = np.asarray(least, np.float64)
    return least[one.labels] if least.ndim else least


def _of_one_class(one: Detections) -> Detections:
    return Detections(one.boxes, one.scores, np.zeros(len(one), np.int64))


def _partners(expected: Detections, detections: Detections) -> list[tuple[int, int, float]]:
    """Pairs of one class with an IoU above .5: row of both sides, and the IoU.

    Each expected detection, best first, gets the free one that overlaps it most.
    """
    overlaps = _overlaps(expected, detections)
    pairs = []
    for row in range(len(expected) if len(detections) else 0):
        partner = int(overlaps[row].argmax())
        if overlaps[row, partner] > _SAME_OBJECT:
            pairs.append((row, partner, float(overlaps[row, partner])))
            overlaps[:, partner] = 0.0
    return pairs


def _overlaps(first: Detections, second: Detections) -> NDArray[np.float64]:
    """IoU float64 [n, m], 0 between classes."""
    overlaps = iou_matrix(first.boxes, second.boxes)
    overlaps[first.labels[:, None] != second.labels[None, :]] = 0.0
    return overlaps
