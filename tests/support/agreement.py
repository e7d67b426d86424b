"""How far two sets of detections agree, whatever they are of."""

from boxwright.parity.agreement import LEAST_SCORE, Agreement, compare_pictures


def agreement(expected, detections):
    """Compare picture by picture, from ``LEAST_SCORE`` on; see ``compare_pictures``."""
    names = list(map(str, range(len(expected))))
    return Agreement(pictures=compare_pictures(names, expected, detections, LEAST_SCORE))
