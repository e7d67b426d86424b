import io

import numpy as np
import pytest
from PIL import Image

from boxwright.runtime.drawing import draw_detections
from boxwright.tracking.tensorboard import TensorBoardTracker
from support.readers import tensorboard_events, tensorboard_figures, wait_for_the_next_second
from support.samples import best_model, gallery


def test_pictures_have_the_boxes_above_the_threshold_drawn(tmp_path):
    tracker = TensorBoardTracker(tmp_path, 0)
    shown = gallery(step=7)
    tracker.show_pictures(shown)
    events = tensorboard_events(tmp_path)
    assert sorted(events.Tags()["images"]) == ["val/pictures/4_large.jpg", "val/pictures/7_small.jpg"]
    one = events.Images("val/pictures/4_large.jpg")[0]
    assert (one.step, one.width, one.height) == (7, 640, 480)
    large = shown.pictures[0]
    confident = large.detections.select(np.array([0]))
    wanted = draw_detections(large.image, confident, shown.class_names)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(one.encoded_image_string))), np.asarray(wanted))


def test_the_best_models_curve_can_be_drawn(tmp_path):
    from tensorboard.util.tensor_util import make_ndarray

    tracker = TensorBoardTracker(tmp_path, 0)
    best = best_model(tmp_path)
    tracker.show_best(best, 9)
    event = tensorboard_events(tmp_path).Tensors("best/precision_recall/dog")[0]
    hits, false_alarms, _, missed, precision, recall = make_ndarray(event.tensor_proto)
    assert event.step == 9
    assert hits + missed == pytest.approx(np.full(101, 10))
    assert recall == pytest.approx(hits / 10)
    detected = hits > 0
    assert detected.sum() == 100
    alarms = hits[detected] + false_alarms[detected]
    assert precision[detected] == pytest.approx(hits[detected] / alarms, rel=1e-4)
    assert precision[50] == pytest.approx(best.curves[0].at(np.array([0.5]))[0][0])


def test_a_resumed_run_hides_what_the_interrupted_one_left(tmp_path):
    first = TensorBoardTracker(tmp_path, 0)
    for step in (3, 6, 9):
        first.log_figures({"val/map": step / 10}, step)
    first.finish("failed")
    wait_for_the_next_second()
    second = TensorBoardTracker(tmp_path, 7)
    for step in (9, 12):
        second.log_figures({"val/map": step}, step)
    second.finish("success")
    assert tensorboard_figures(tmp_path)["val/map"] == pytest.approx({3: 0.3, 6: 0.6, 9: 9, 12: 12})


def test_figures_can_be_read_while_training_goes_on(tmp_path):
    TensorBoardTracker(tmp_path, 0).log_figures({"val/map": 0.25, "epoch": 1}, 3)
    assert tensorboard_figures(tmp_path) == {"val/map": {3: 0.25}, "epoch": {3: 1}}
