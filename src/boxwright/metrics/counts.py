"""Counts at a score threshold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .matching import IOUS, Matches

__all__ = ["counts_at", "kept_at", "last_of_score"]


def kept_at(matches: Matches, thresholds: float | NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether a detection's score is at least its class's threshold: bool [D].

    Args:
        matches: from ``match_detections``.
        thresholds: one for all, or float64 [K], one a class.
    """
    per_class = np.broadcast_to(np.asarray(thresholds, dtype=np.float64), (matches.num_classes,))
    kept: NDArray[np.bool_] = matches.scores >= per_class[matches.labels]
    return kept


def counts_at(matches: Matches, thresholds: float | NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Hits, and detections that count (those on crowd regions do not), at each of ``IOUS``: int64 [14, K] each."""
    kept = np.flatnonzero(kept_at(matches, thresholds))
    labels = matches.labels[kept]
    hits = _by_level_and_class(matches.hit[:, kept], labels, matches.num_classes)
    ignored = _by_level_and_class(matches.ignored[:, kept], labels, matches.num_classes)
    return hits, np.bincount(labels, minlength=matches.num_classes) - ignored


def last_of_score(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Where a threshold can cut: the places in falling scores [n] whose next score is another, or that end them."""
    return np.flatnonzero(np.diff(scores, append=-np.inf))


def _by_level_and_class(marked: NDArray[np.bool_], labels: NDArray[np.int64], num_classes: int) -> NDArray[np.int64]:
    level, place = np.unravel_index(np.flatnonzero(marked), marked.shape)
    counts = np.bincount(level * num_classes + labels[place], minlength=len(IOUS) * num_classes)
    return counts.reshape(len(IOUS), num_classes)
