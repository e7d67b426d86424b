"""Which classes are confused, what is missed, and what is detected where there is nothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .columns import falling
from .matching import IOUS, Matches, Pairs

__all__ = ["confusion_matrix"]


def confusion_matrix(matches: Matches, thresholds: float | NDArray[np.float64], iou: float = 0.5) -> NDArray[np.int64]:
    """Boxes by their true class and the class they were detected as, at a score threshold.

    Matches of the same class come first, so the diagonal holds exactly the hits that F-beta and AP
    count. The remaining boxes and detections are paired across classes, greatest IoU first, then best
    score, each used once. Crowd regions, and detections matched to them, are left out.

    Args:
        matches: from ``match_detections``.
        thresholds: of the score, one for all or float64 [K], one per class.
        iou: one of ``IOUS``; the least IoU of a pair.

    Returns:
        int64 [K + 1, K + 1]: rows are the true class, columns the detected one; the last column
        holds missed boxes, the last row detections without a box.

    Raises:
        ValueError: ``iou`` is not one of ``IOUS``.
    """
    level, classes = matches.at(iou), matches.num_classes
    kept, hit = matches.kept_at(thresholds), matches.hit[level]
    hit = hit & kept
    unmatched = kept & ~hit & ~matches.ignored[level]
    missed = ~matches.truth_crowd
    missed[matches.truth[level][hit]] = False
    pairs = matches.pairs
    open_to = unmatched[pairs.detection] & missed[pairs.truth] & (pairs.iou >= IOUS[level])
    confused = _greatest_first(pairs.select(np.flatnonzero(open_to)), matches.scores)
    unmatched[confused.detection] = False
    missed[confused.truth] = False
    detected = [matches.labels[rows] for rows in (hit, confused.detection, unmatched)]
    true = [matches.labels[hit], matches.truth_labels[confused.truth], np.full(len(detected[2]), classes)]
    lost = matches.truth_labels[missed]
    cells = np.concatenate([*true, lost]) * (classes + 1) + np.concatenate([*detected, np.full(len(lost), classes)])
    return np.bincount(cells, minlength=(classes + 1) ** 2).reshape(classes + 1, classes + 1)


def _greatest_first(pairs: Pairs, scores: NDArray[np.float64]) -> Pairs:
    """One-to-one pairs, greatest IoU first: each round takes all pairs that come first on both their sides."""
    order = falling(scores[pairs.detection])
    pairs = pairs.select(order[falling(pairs.iou[order])])
    chosen = [np.zeros(0, dtype=np.int64)]
    left = np.arange(len(pairs.iou))
    while left.size:
        first = _is_first(pairs.detection[left]) & _is_first(pairs.truth[left])
        now = left[first]
        chosen.append(now)
        used = np.isin(pairs.detection[left], pairs.detection[now]) | np.isin(pairs.truth[left], pairs.truth[now])
        left = left[~used]
    return pairs.select(np.concatenate(chosen))


def _is_first(keys: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each key [n] occurs for the first time: bool [n]."""
    first = np.zeros(len(keys), dtype=bool)
    first[np.unique(keys, return_index=True)[1]] = True
    return first
