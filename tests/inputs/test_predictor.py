import shutil

import numpy as np
import pytest

from boxwright.inputs import Predictor
from boxwright.inputs.video import read_video
from boxwright.runtime import ConfigError, ModelError, decode
from support.videos import write_video


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
    with pytest.raises(ModelError, match=r"cuda:7.* PyTorch sees cpu"):
        Predictor(run, device="cuda:7")


def test_boxes_lie_in_the_original_picture(run):
    noise = np.random.default_rng(0).integers(0, 256, (90, 333, 3)).astype(np.uint8)
    found = Predictor(run, threshold=0.0)(noise)
    assert found.boxes[:, [0, 2]].max(initial=0) <= 333
    assert found.boxes[:, [1, 3]].max(initial=0) <= 90


def test_a_stream_says_where_each_detection_is_from(run, demo_data, tmp_path):
    predictor = Predictor(run, threshold=0.05)
    (tmp_path / "pictures").mkdir()
    originals = sorted((demo_data / "test").glob("*.jpg"))[:3]
    paths = [shutil.copy(path, tmp_path / "pictures" / path.name) for path in originals]
    frames = [np.asarray(decode(path).resize((256, 192))) for path in paths]
    video = write_video(tmp_path / "a.mp4", frames)
    found = list(predictor.stream([tmp_path / "pictures", video, frames[0]], every=2))
    assert [one.source for one in found] == [*map(str, paths), str(video), str(video), f"#{len(paths) + 2}"]
    assert [(one.frame, one.seconds) for one in found[-3:]] == [(0, 0.0), (2, 0.2), (None, None)]
    pictures = [*paths, *(frame.image for frame in read_video(video, every=2)), frames[0]]
    assert sum(len(one.detections) for one in found) > 0
    for one, picture in zip(found, pictures, strict=True):
        assert np.array_equal(one.image, decode(picture))
        assert np.array_equal(one.detections.boxes, predictor(picture).boxes)


def test_awkward_pictures_stream_as_they_are_called(run, odd_pictures):
    predictor = Predictor(run, threshold=0.01)
    streamed = list(predictor.predict(odd_pictures[0].parent))
    assert sum(len(one) for one in streamed) > 0
    for path, found in zip(odd_pictures, streamed, strict=True):
        assert np.array_equal(found.boxes, predictor(path).boxes)


def test_one_source_needs_no_list(run, demo_data):
    predictor = Predictor(run, threshold=0.05)
    path = next((demo_data / "test").glob("*.jpg"))
    for source in (str(path), path.read_bytes(), decode(path), np.asarray(decode(path))):
        (found,) = predictor.predict(source)
        assert np.array_equal(found.boxes, predictor(path).boxes)


def test_every_must_be_positive(run):
    with pytest.raises(ConfigError, match="every = 0"):
        Predictor(run).predict("a.mp4", every=0)


def test_what_is_found_knows_names_and_picture(run, demo_data, tmp_path):
    predictor = Predictor(run, threshold=0.05)
    path = next((demo_data / "test").glob("*.jpg"))
    found = predictor(path)
    assert (found.names, found.picture) == (predictor.spec.class_names, path)
    assert found.names[int(found.labels[0])] in str(found)
    found.save(tmp_path / "drawn.png")
    with decode(path) as picture:
        assert [part.size <= picture.size for part in found.crop()] == [True] * len(found)


def test_detections_of_a_stream_keep_no_picture_in_memory(run, demo_data, tmp_path):
    predictor = Predictor(run, threshold=0.05)
    path = next((demo_data / "test").glob("*.jpg"))
    of_file, of_array = predictor.stream([path, np.asarray(decode(path))])
    assert (of_file.detections.picture, of_array.detections.picture) == (str(path), None)
    for one in (of_file, of_array):
        assert np.array_equal(one.draw(), of_file.detections.draw())
        assert len(one.crop()) == len(one.detections)
        assert one.save(tmp_path / "drawn.png").stat().st_size > 0
        assert "data:image/jpeg" in one._repr_html_()
    assert str(of_array).startswith(f"#2: {len(of_array.detections)} detection")
    assert repr(of_array).startswith("<Prediction '#2': <")
