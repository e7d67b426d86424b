"""What became of every detection and every box at the thresholds in use, picture by picture.

The rule is the confusion matrix's: hits of the same class at IoU .5 first, then the rest to free boxes of
other classes, greatest IoU first. page.js follows it when the reader moves the threshold.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boxwright.metrics import Matches

__all__ = ["IOU", "Verdicts", "judge", "mistakable"]

IOU = 0.5


@dataclass(frozen=True, eq=False)
class Verdicts:
    """D detections and G boxes, in the order of ``Matches``.

    Attributes:
        found: bool [D], shown and on a box of its class.
        wrong: bool [D], shown and on a box of another class.
        false_alarm: bool [D], shown and on no box.
        missed: bool [G], a box that nothing shown lies on.
    """

    found: NDArray[np.bool_]
    wrong: NDArray[np.bool_]
    false_alarm: NDArray[np.bool_]
    missed: NDArray[np.bool_]


def mistakable(matches: Matches) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of detections that hit nothing and of boxes of other classes below them: int64 [n] each.

    The greatest IoU comes first, of equals the best score.
    """
    pairs, row = matches.pairs, matches.at(IOU)
    stray = ~(matches.hit[row] | matches.ignored[row])[pairs.detection]
    other = matches.labels[pairs.detection] != matches.truth_labels[pairs.truth]
    chosen = np.flatnonzero(stray & other & ~matches.truth_crowd[pairs.truth] & (pairs.iou >= IOU))
    chosen = chosen[np.lexsort((-matches.scores[pairs.detection[chosen]], -pairs.iou[chosen]))]
    return pairs.detection[chosen], pairs.truth[chosen]


def judge(matches: Matches, thresholds: NDArray[np.float64]) -> Verdicts:
    """The verdicts at score thresholds by class.

    Args:
        matches: of a split.
        thresholds: float64 [K], by class index.
    """
    row = matches.at(IOU)
    shown = matches.scores >= thresholds[matches.labels]
    found = shown & matches.hit[row]
    free = ~matches.truth_crowd
    free[matches.truth[row][found]] = False
    wrong = np.zeros(len(matches.scores), dtype=bool)
    detections, truths = mistakable(matches)
    of_shown = shown[detections]
    for detection, truth in zip(detections[of_shown], truths[of_shown], strict=True):
        if free[truth] and not wrong[detection]:
            wrong[detection], free[truth] = True, False
    return Verdicts(found, wrong, shown & ~found & ~wrong & ~matches.ignored[row], free)
