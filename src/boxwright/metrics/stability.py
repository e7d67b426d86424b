"""How much what a detector reports has changed: counts of classes and scores, and the population stability index."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxwright.runtime import Detections

__all__ = ["SCORE_BUCKETS", "ReportedCounts", "picture_counts", "score_buckets", "stability_index"]

SCORE_BUCKETS = 10
"""Buckets of equal width, from score 0 to 1."""

_ENDS = np.arange(1, SCORE_BUCKETS) / SCORE_BUCKETS
_ENDS_32 = _ENDS.astype(np.float32)
_SMOOTHING = 0.5  # added to each count, so that an empty bucket has a share above 0 (Jeffreys' prior)


def score_buckets(scores: NDArray[np.floating]) -> NDArray[np.int64]:
    """The bucket of each score, int64 [n]. A bucket includes its upper end, as Prometheus' do; the first one also 0."""
    return np.searchsorted(_ENDS_32 if scores.dtype == np.float32 else _ENDS, scores)


def picture_counts(labels: NDArray[np.int64], scores: NDArray[np.floating], num_classes: int) -> NDArray[np.int64]:
    """What is reported on one picture, counted: int64 [K + 1 + SCORE_BUCKETS].

    Args:
        labels: int64 [n], class indices.
        scores: float32 or float64 [n].
        num_classes: K.

    Returns:
        Detections by class; 1 if there are none, else 0; detections by score.
    """
    first = num_classes + 1
    places = np.concatenate([labels, score_buckets(scores) + first]) if len(labels) else np.array([num_classes])
    return np.bincount(places, minlength=first + SCORE_BUCKETS)


@dataclass(frozen=True, eq=False)
class ReportedCounts:
    """What a model reports on some pictures, counted.

    Attributes:
        classes: int64 [K + 1], detections by class index; last, the pictures without any, so that a camera that sees
            nothing more shows as a change.
        scores: int64 [SCORE_BUCKETS], detections by score.
        pictures: how many were looked at.
    """

    classes: NDArray[np.int64]
    scores: NDArray[np.int64]
    pictures: int

    @classmethod
    def of(cls, reported: Iterable[Detections], num_classes: int) -> ReportedCounts:
        """Counted from pictures' reported detections.

        Args:
            reported: one per picture, those from the operating point on.
            num_classes: K.
        """
        counts, pictures = np.zeros(num_classes + 1 + SCORE_BUCKETS, np.int64), 0
        for one in reported:
            pictures += 1
            counts += picture_counts(one.labels, one.scores, num_classes)
        return cls(counts[: num_classes + 1], counts[num_classes + 1 :], pictures)

    def to_document(self, names: Sequence[str]) -> dict[str, Any]:
        """For JSON: ``{"pictures", "empty", "classes": {name: count}, "scores": [count]}``.

        Args:
            names: class names by index.
        """
        *by_class, empty = self.classes.tolist()
        classes = dict(zip(names, by_class, strict=True))
        return {"pictures": self.pictures, "empty": empty, "classes": classes, "scores": self.scores.tolist()}

    @classmethod
    def from_document(cls, document: Any, names: Sequence[str]) -> ReportedCounts | None:
        """What ``to_document`` wrote, read back; None if it is missing, or of other classes or buckets."""
        if not isinstance(document, Mapping) or not isinstance(document.get("classes"), Mapping):
            return None
        scores = document.get("scores")
        if set(document["classes"]) != set(names) or not isinstance(scores, list) or len(scores) != SCORE_BUCKETS:
            return None
        classes = [*(document["classes"][name] for name in names), document.get("empty")]
        if not all(type(count) is int and count >= 0 for count in (*classes, *scores, document.get("pictures"))):
            return None
        return cls(np.array(classes, np.int64), np.array(scores, np.int64), document["pictures"])


def stability_index(expected: NDArray[np.int64], seen: NDArray[np.int64], pictures: tuple[int, int]) -> float:
    """The population stability index of two histograms of detections, less what chance alone gives.

    The index is the sum over the buckets of (q - p) ln(q / p), where p and q are the shares. If both were drawn from
    one distribution its mean is about (B - 1) (1 / n + 1 / m), with B buckets that are not empty and n, m independent
    counts. That is subtracted, so that few counts in many buckets do not look like a change. Detections of one picture
    depend on each other, so counts weigh as if there were no more of them than pictures.

    Args:
        expected: int64 [B], counts that are the standard.
        seen: int64 [B], counts that are held against them.
        pictures: on which each of them was counted.

    Returns:
        0 or more; 0 if one of them holds no count. By common use below .1 is no change, above .25 is a large one.
    """
    used = (expected + seen) > 0
    buckets = int(used.sum())
    n, m = (min(int(counts.sum()), number) for counts, number in zip((expected, seen), pictures, strict=True))
    if not n or not m:
        return 0.0
    p, q = _shares(expected[used], n), _shares(seen[used], m)
    index = float(((q - p) * np.log(q / p)).sum())
    return max(0.0, index - (buckets - 1) * (1 / n + 1 / m))


def _shares(counts: NDArray[np.int64], independent: int) -> NDArray[np.float64]:
    """Shares above 0, as if there were ``independent`` counts."""
    weighed = counts.astype(np.float64) * (independent / int(counts.sum()))
    return (weighed + _SMOOTHING) / (independent + _SMOOTHING * len(counts))
