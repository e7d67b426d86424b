from boxwright.reporting.epochs import Line, curves_by_epoch, epoch_chart, loss_chart, median_of

LINES = [
    {"epoch": -1, "step": 0, "val/map": 0.9},
    {"epoch": 0, "step": 3, "val/map": 0.1, "val/f2": None},
    {"epoch": 0, "step": 2, "train/loss": 2.0, "train/loss_box_reg": 1.0, "train/images_per_s": 10.0},
    {"epoch": 1, "step": 6, "val/map": 0.2},
    {"epoch": 1, "step": 7, "val/map": 0.3, "train/images_per_s": 30.0, "note": "text", "train/loss": float("nan")},
    {"step": 9, "val/map": 0.9},
]


def test_lines_of_an_epoch_come_together():
    curves = curves_by_epoch(LINES)
    assert curves["val/map"] == {0: 0.1, 1: 0.3}
    assert curves["train/loss"] == {0: 2.0}
    assert not {"val/f2", "note", "step", "epoch"} & set(curves)
    assert median_of(curves, "train/images_per_s") == 20.0
    assert median_of(curves, "val/images_per_s") is None


def test_the_best_epoch_is_counted_from_one():
    chart = epoch_chart("c", "mAP", "mAP", [Line("mAP", {0: 0.1, 1: 0.3, 2: 0.2})], best=1)
    assert ">best: epoch 2<" in chart.drawing
    assert "epoch  2\nmAP  0.300" in chart.drawing


def test_runs_of_different_length_share_a_chart():
    chart = epoch_chart("c", "mAP", "mAP", [Line("a", {0: 0.1}), Line("b", {0: 0.2, 1: 0.3}), Line("c", {})])
    assert "epoch  2\nb  0.300" in chart.drawing


def test_nothing_logged_is_no_chart():
    assert epoch_chart("c", "mAP", "mAP", [Line("a", {})]) is None
    assert loss_chart(curves_by_epoch([]), None) is None


def test_parts_of_the_loss_are_named():
    assert [key.name for key in loss_chart(curves_by_epoch(LINES), None).keys] == ["sum", "box reg"]
