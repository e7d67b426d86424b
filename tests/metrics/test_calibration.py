import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxwright.metrics import GroundTruth, calibration, match_detections
from boxwright.runtime import Detections
from support.scenes import CLASSES, scenes


@given(scenes(), st.integers(1, 12))
def test_each_bin_is_counted_one_detection_after_the_other(scene, bins):
    matches = match_detections(*scene, CLASSES)
    ours, level = calibration(matches, bins=bins), matches.at(0.5)
    rows = [row for row in range(len(matches.scores)) if not matches.ignored[level, row]]
    error = 0.0
    for number in range(bins):
        low, high = ours.edges[number], ours.edges[number + 1]
        mine = [row for row in rows if low <= matches.scores[row] < high or (number == bins - 1 and high == 1 <= low)]
        assert ours.counts[number] == len(mine)
        expected = np.mean([matches.scores[mine], matches.hit[level, mine]], axis=1) if mine else [np.nan, np.nan]
        assert [ours.confidence[number], ours.precision[number]] == pytest.approx(expected, nan_ok=True)
        error += len(mine) / len(rows) * abs(expected[0] - expected[1]) if mine else 0.0
    assert ours.error == pytest.approx(error if rows else np.nan, nan_ok=True)


def test_a_score_on_an_edge_is_in_the_bin_above():
    detections = [Detections([[0, 0, 9, 9]], [0.5], [0])]
    assert calibration(match_detections([GroundTruth.of([], [])], detections, 1), bins=2).counts.tolist() == [0, 1]


def test_a_score_of_one_is_in_the_last_bin_and_a_sure_hit_is_calibrated():
    truth = [GroundTruth.of([[0, 0, 10, 10]], [0])]
    ours = calibration(match_detections(truth, [Detections([[0, 0, 10, 10]], [1.0], [0])], 1))
    assert ours.counts.tolist() == [0] * 9 + [1]
    assert ours.error == 0.0


def test_a_sure_false_alarm_is_as_wrong_as_can_be():
    ours = calibration(match_detections([GroundTruth.of([], [])], [Detections([[0, 0, 9, 9]], [1.0], [0])], 1))
    assert (ours.error, ours.precision[-1]) == (1.0, 0.0)
