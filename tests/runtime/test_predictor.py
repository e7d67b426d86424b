import numpy as np
import pytest

from boxwright.runtime import ConfigError, ModelError, Predictor, decode


def test_path_bytes_picture_and_array_give_the_same(run, demo_data):
    predictor = Predictor(run, threshold=0.05)
    path = next((demo_data / "test").glob("*.jpg"))
    sources = [path, str(path), path.read_bytes(), decode(path), np.asarray(decode(path))]
    boxes = [predictor(source).boxes for source in sources]
    assert len(boxes[0]) > 0
    assert all(np.array_equal(boxes[0], other) for other in boxes[1:])


def test_predict_is_lazy_and_in_order(run, demo_data):
    predictor = Predictor(run, threshold=0.0)
    paths = sorted((demo_data / "test").glob("*.jpg"))[:3]
    found = list(predictor.predict(iter(paths)))
    assert [len(one) for one in found] == [len(predictor(path)) for path in paths]


def test_the_operating_point_is_the_default(run):
    predictor = Predictor(run)
    assert set(predictor.thresholds) == {predictor.spec.operating_point.threshold}
    assert predictor.spec.operating_point.value is not None


def test_a_threshold_outside_the_scores_is_refused(run):
    with pytest.raises(ConfigError, match=r"1\.5"):
        Predictor(run, threshold=1.5)


def test_a_device_that_is_not_there_is_named(run):
    with pytest.raises(ModelError, match="cuda:7"):
        Predictor(run, device="cuda:7")


def test_boxes_lie_in_the_original_picture(run):
    noise = np.random.default_rng(0).integers(0, 256, (90, 333, 3)).astype(np.uint8)
    found = Predictor(run, threshold=0.0)(noise)
    assert found.boxes[:, [0, 2]].max(initial=0) <= 333
    assert found.boxes[:, [1, 3]].max(initial=0) <= 90
