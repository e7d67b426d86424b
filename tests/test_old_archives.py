"""An archive that commit 0f491d1 wrote opens, and gives the boxes it gave."""

import json

import numpy as np

import boxwright


def test_an_archive_of_0f491d1_gives_the_same_boxes(real_data):
    folder = real_data / "archives_0f491d1"
    recorded = json.loads((folder / "boxes.json").read_text())
    predictor = boxwright.Predictor(folder / "demo.mar", backend="onnxruntime")
    ids = [entry.id for entry in predictor.spec.classes]
    for picture in sorted((folder / "pictures").iterdir()):
        expected = [one for one in recorded if one["file_name"].endswith(picture.name)]
        results = predictor(picture).to_coco(0, ids)
        assert [one["category_id"] for one in results] == [one["category_id"] for one in expected]
        boxes, scores = ([one[key] for one in results] for key in ("bbox", "score"))
        np.testing.assert_allclose(boxes, [one["bbox"] for one in expected], atol=1e-3)
        np.testing.assert_allclose(scores, [one["score"] for one in expected], atol=1e-3)
    assert {one["file_name"].rpartition("/")[2] for one in recorded} <= {
        one.name for one in (folder / "pictures").iterdir()
    }


def test_its_network_in_torch_gives_them_too(real_data):
    folder = real_data / "archives_0f491d1"
    trained, exported = (boxwright.Predictor(folder / "demo.mar", backend=name) for name in ("torch", "onnxruntime"))
    for picture in sorted((folder / "pictures").iterdir()):
        np.testing.assert_allclose(trained(picture).boxes, exported(picture).boxes, atol=1e-2)
