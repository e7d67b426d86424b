"""Which class is taken for which, what is missed, and what is seen where nothing is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .counts import kept_at
from .matching import IOUS, Matches, Pairs
from .ordering import falling

__all__ = ["confusion_matrix"]


def confusion_matrix(matches: Matches, thresholds: float | NDArray[np.float64], iou: float = 0.5) -> NDArray[np.int64]:
    """Boxes by their class and the class they were detected as, at a score threshold.

    Matches of the same class come first, so the diagonal holds exactly the hits that F-beta and AP
    count. What is left of both sides is paired across classes, greatest IoU first, then best score,
    each used once. Crowd regions, and detections matched to them, are left out.

    Args:
        matches: from ``match_detections``.
        thresholds: of the score, one for all or float64 [K], one a class.
        iou: one of ``IOUS``; what a pair needs at least.

    Returns:
        int64 [K + 1, K + 1]: rows are the true class, columns the detected one; the last column
        holds missed boxes, the last row detections of nothing.

    Raises:
        ValueError: another IoU.
    """
    level, classes = matches.at(iou), matches.num_classes
    kept, hit = kept_at(matches, thresholds), matches.hit[level]
    hit = hit & kept
    unmatched = kept & ~hit & ~matches.ignored[level]
    missed = ~matches.truth_crowd
    missed[matches.truth[level][hit]] = False
    pairs = matches.pairs
    open_to = unmatched[pairs.detection] & missed[pairs.truth] & (pairs.iou >= IOUS[level])
    confused = _greatest_first(pairs.select(np.flatnonzero(open_to)), matches.scores)
    unmatched[confused.detection] = False
    missed[confused.truth] = False
    found = [matches.labels[rows] for rows in (hit, confused.detection, unmatched)]
    true = [matches.labels[hit], matches.truth_labels[confused.truth], np.full(len(found[2]), classes)]
    lost = matches.truth_labels[missed]
    cells = np.concatenate([*true, lost]) * (classes + 1) + np.concatenate([*found, np.full(len(lost), classes)])
    return np.bincount(cells, minlength=(classes + 1) ** 2).reshape(classes + 1, classes + 1)


def _greatest_first(pairs: Pairs, scores: NDArray[np.float64]) -> Pairs:
    """One-to-one pairs, greatest IoU first: in rounds, each takes all that are the first of both their sides."""
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
    """Whether a key [n] has not come before: bool [n]."""
    first = np.zeros(len(keys), dtype=bool)
    first[np.unique(keys, return_index=True)[1]] = True
    return first
