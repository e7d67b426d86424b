import numpy as np
import pytest

from boxwright.runtime import Detections


def test_shapes_are_checked_and_named():
    with pytest.raises(ValueError, match=r"got \[2, 4\], \[1\] and \[1\]"):
        Detections(np.zeros((2, 4)), np.zeros(1), np.zeros(1))


def test_above_keeps_the_score_the_threshold_was_taken_from():
    found = Detections(np.zeros((3, 4)), np.array([0.1, 0.7, 0.3], np.float32), [0, 1, 2])
    threshold = float(found.scores[2])
    assert found.above(threshold).labels.tolist() == [1, 2]


def test_answer_has_the_shape_clients_know():
    found = Detections([[1, 2, 3, 4]], [0.5], [1])
    assert found.to_answer(["cat", "dog"]) == [{"dog": [1.0, 2.0, 3.0, 4.0], "score": 0.5}]


def test_empty_is_empty():
    assert len(Detections.empty()) == 0
    assert Detections.empty().boxes.shape == (0, 4)
    assert Detections.empty().to_answer(["cat"]) == []


def test_above_takes_a_threshold_for_each_class():
    found = Detections(np.zeros((4, 4)), np.array([0.4, 0.7, 0.6, 0.5], np.float32), [0, 1, 1, 0])
    assert found.above([0.5, 0.65]).scores.tolist() == [np.float32(0.7), 0.5]
    assert len(Detections.empty().above([0.5, 0.65])) == 0
