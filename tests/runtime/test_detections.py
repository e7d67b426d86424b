import subprocess
import sys

import numpy as np
import pytest
import supervision
from PIL import Image
from pycocotools.coco import COCO

from boxwright.runtime import Detections

FOUND = Detections([[10, 20, 50, 80], [0.5, 1.25, 7.5, 9]], [0.75, 0.5], [1, 0])


def test_shapes_are_checked_and_named():
    with pytest.raises(ValueError, match=r"got \[2, 4\], \[1\] and \[1\]"):
        Detections(np.zeros((2, 4)), np.zeros(1), np.zeros(1))


def test_above_keeps_the_score_the_threshold_was_taken_from():
    found = Detections(np.zeros((3, 4)), np.array([0.1, 0.7, 0.3], np.float32), [0, 1, 2])
    threshold = float(found.scores[2])
    assert found.filter_by_score(threshold).labels.tolist() == [1, 2]


def test_answer_has_the_shape_clients_know():
    found = Detections([[1, 2, 3, 4]], [0.5], [1])
    assert found.to_answer(["cat", "dog"]) == [{"dog": [1.0, 2.0, 3.0, 4.0], "score": 0.5}]


def test_empty_is_empty():
    assert len(Detections.empty()) == 0
    assert Detections.empty().boxes.shape == (0, 4)
    assert Detections.empty().to_answer(["cat"]) == []


def test_above_takes_a_threshold_for_each_class():
    found = Detections(np.zeros((4, 4)), np.array([0.4, 0.7, 0.6, 0.5], np.float32), [0, 1, 1, 0])
    assert found.filter_by_score([0.5, 0.65]).scores.tolist() == [np.float32(0.7), 0.5]
    assert len(Detections.empty().filter_by_score([0.5, 0.65])) == 0


def test_coco_results_are_what_pycocotools_loads():
    results = FOUND.to_coco(7, [3, 12])
    assert results[0] == {"image_id": 7, "category_id": 12, "bbox": [10.0, 20.0, 40.0, 60.0], "score": 0.75}
    assert results[1] == {"image_id": 7, "category_id": 3, "bbox": [0.5, 1.25, 7.0, 7.75], "score": 0.5}
    truth = COCO()
    truth.dataset = {"images": [{"id": 7}], "annotations": [], "categories": [{"id": 3}, {"id": 12}], "info": {}}
    truth.createIndex()
    loaded = truth.loadRes(results)
    assert [one["area"] for one in loaded.loadAnns(loaded.getAnnIds(catIds=[12]))] == [2400.0]


def test_supervision_counts_filters_and_draws_what_was_found():
    found = FOUND.to_supervision(["fish", "ray"])
    assert isinstance(found, supervision.Detections)
    assert found.xyxy.tolist() == FOUND.boxes.tolist()
    assert found.confidence.tolist() == [0.75, 0.5]
    assert found.class_id.tolist() == [1, 0]
    assert found["class_name"].tolist() == ["ray", "fish"]
    assert found[found["class_name"] == "fish"].xyxy.tolist() == [FOUND.boxes[1].tolist()]
    canvas = Image.new("RGB", (100, 100))
    drawn = supervision.LabelAnnotator().annotate(canvas.copy(), found)
    assert np.asarray(drawn).any()


def test_supervision_merges_nothing_with_something():
    merged = supervision.Detections.merge([Detections.empty().to_supervision([]), FOUND.to_supervision("ab")])
    assert merged["class_name"].tolist() == ["b", "a"]
    assert len(Detections.empty().to_supervision([])) == 0
    assert Detections.empty().to_coco(1, []) == []


def test_without_supervision_the_remedy_is_given():
    code = (
        "import sys; sys.modules['supervision'] = None\n"
        "from boxwright.runtime import Detections, MissingDependency\n"
        "try: Detections.empty().to_supervision([])\n"
        "except MissingDependency as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install supervision" in done.stdout, done.stderr
