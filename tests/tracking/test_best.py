import numpy as np

from boxwright.tracking.best import CLASS_COLUMNS, ClassRow, Curve

CURVE = Curve("dog", np.array([0.9, 0.6, 0.2]), np.array([1.0, 0.5, 0.4]), np.array([0.25, 0.25, 0.5]), 4)


def test_a_curve_is_read_at_any_threshold():
    precision, recall = CURVE.at(np.array([1.0, 0.9, 0.61, 0.6, 0.2, 0.0]))
    assert precision.tolist() == [1.0, 1.0, 1.0, 0.5, 0.4, 0.4]
    assert recall.tolist() == [0.0, 0.25, 0.25, 0.25, 0.5, 0.5]


def test_a_long_curve_keeps_its_ends():
    scores = np.linspace(1, 0, 1000)
    thin = Curve("dog", scores, 1 - scores, scores, 4).thinned(101)
    assert len(thin.thresholds) == len(thin.precision) == len(thin.recall) == 101
    assert (thin.thresholds[0], thin.thresholds[-1]) == (1, 0)
    assert np.allclose(thin.precision, 1 - thin.thresholds)
    assert CURVE.thinned(3) is CURVE


def test_a_row_fits_its_heads():
    row = ClassRow("dog", 4, 0.1, 0.2, 0.3, 0.4, 0.5)
    assert dict(zip(CLASS_COLUMNS, row.cells, strict=True)) == {
        "class": "dog", "boxes": 4, "AP": 0.1, "AP50": 0.2, "F2": 0.3, "precision": 0.4, "recall": 0.5
    }  # fmt: skip
