"""Score thresholds that would have been chosen on resampled pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from boxwright.runtime.spec import DEFAULT_THRESHOLD

from .fbeta import ROUNDING
from .matching import Matches
from .resampling import Counts, in_blocks, sums_until

__all__ = ["Rate", "bootstrap_threshold"]

Rate: TypeAlias = Callable[[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]], NDArray[np.float64]]
"""Worth of a threshold, from hits and detections that count [B, C], and boxes [B, 1]: float64 [B, C].

Linear in the hits where it is used at several IoUs, and never higher for a detection more without a hit."""


def bootstrap_threshold(matches: Matches, counts: Counts, ious: Sequence[float], rate: Rate) -> NDArray[np.float64]:
    """The score that occurs in each resample with the highest mean ``rate`` over IoUs; of equals the highest.

    Detections without a hit only lower the rate, so only scores with a hit are tried. Without any hit
    it is the highest score that occurs, without any detection the default threshold.

    Args:
        matches: of the P pictures.
        counts: unsigned integers [R, P], how often each picture is drawn, R at least 1.
        ious: of ``IOUS``.
        rate: of the counts at one IoU.

    Returns:
        Float64 [R].
    """
    candidates = _Candidates.of(matches, ious, rate)
    return in_blocks(candidates.best, counts, len(candidates.pictures) + len(candidates.until))


@dataclass(frozen=True, eq=False)
class _Level:
    """IoUs at which the same detections are ignored; H detections hit at one of them or more, I are ignored."""

    hit_pictures: NDArray[np.intp]  # [H]
    hit_values: NDArray[np.int32]  # [H], at how many of the IoUs
    hits_until: NDArray[np.intp]  # [C]
    ignored_pictures: NDArray[np.intp]  # [I]
    ignored_until: NDArray[np.intp]  # [C]

    @classmethod
    def of(
        cls, hits: NDArray[np.int32], ignored: NDArray[np.bool_], pictures: NDArray[np.intp], until: NDArray[np.intp]
    ) -> _Level:
        hit_rows, ignored_rows = np.flatnonzero(hits), np.flatnonzero(ignored)
        return cls(
            hit_pictures=pictures[hit_rows],
            hit_values=hits[hit_rows],
            hits_until=np.searchsorted(hit_rows, until),
            ignored_pictures=pictures[ignored_rows],
            ignored_until=np.searchsorted(ignored_rows, until),
        )


@dataclass(frozen=True, eq=False)
class _Candidates:
    """C scores with a hit, falling, and what is needed to rate them; D detections by score."""

    pictures: NDArray[np.intp]  # [D]
    detection_scores: NDArray[np.float64]  # [D]
    scores: NDArray[np.float64]  # [C]
    until: NDArray[np.intp]  # [C], detections with a score of at least each
    levels: tuple[_Level, ...]
    num_ious: int
    box_pictures: NDArray[np.intp]
    rate: Rate

    @classmethod
    def of(cls, matches: Matches, ious: Sequence[float], rate: Rate) -> _Candidates:
        rows, order = np.array([matches.at(iou) for iou in ious]), matches.by_score
        scores, pictures = matches.scores[order], matches.pictures[order].astype(np.intp)
        hit, ignored = matches.hit[rows][:, order], matches.ignored[rows][:, order]
        hit_scores = -np.unique(-scores[hit.any(axis=0)])
        until = np.searchsorted(-scores, -hit_scores, side="right")
        alike: dict[bytes, list[int]] = {}
        for level, row in enumerate(ignored):
            alike.setdefault(row.tobytes(), []).append(level)
        return cls(
            pictures=pictures,
            detection_scores=scores,
            scores=hit_scores,
            until=until,
            levels=tuple(
                _Level.of(hit[same].sum(axis=0, dtype=np.int32), ignored[same[0]], pictures, until)
                for same in alike.values()
            ),
            num_ious=len(ious),
            box_pictures=matches.truth_pictures[~matches.truth_crowd].astype(np.intp),
            rate=rate,
        )

    def best(self, counts: Counts) -> NDArray[np.float64]:
        """The threshold of each resample, float64 [B]."""
        if not self.scores.size:
            return self._highest(counts)
        values = self._values(counts)
        top = values.max(axis=1, keepdims=True)
        chosen = self.scores[np.argmax(values >= top - ROUNDING, axis=1)]
        return np.where(top[:, 0] > 0, chosen, self._highest(counts))

    def _values(self, counts: Counts) -> NDArray[np.float64]:
        found = sums_until(counts, self.pictures, self.until)
        boxes = counts.take(self.box_pictures, axis=1).sum(axis=1, keepdims=True, dtype=np.int32)
        values = np.zeros(found.shape)
        for level in self.levels:
            hits = sums_until(counts, level.hit_pictures, level.hits_until, level.hit_values)
            counted = found - sums_until(counts, level.ignored_pictures, level.ignored_until)
            values += self.rate(hits, counted, boxes)
        return values / self.num_ious

    def _highest(self, counts: Counts) -> NDArray[np.float64]:
        """The highest score that occurs, or the default."""
        if not self.pictures.size:
            return np.full(len(counts), DEFAULT_THRESHOLD)
        drawn = counts.take(self.pictures, axis=1) > 0
        return np.where(drawn.any(axis=1), self.detection_scores[np.argmax(drawn, axis=1)], DEFAULT_THRESHOLD)
