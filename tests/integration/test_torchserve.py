"""TorchServe 0.12 itself serves our archive and gives the boxes that boxwright gives.

BOXWRIGHT_TEST_MAR names another archive to hold to the same test.
"""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import boxwright
from boxwright.inputs import Predictor
from boxwright.runtime import ModelSpec, OperatingPoint
from support.torchserve import ask, torchserve


@pytest.fixture(scope="module")
def served_mar(request, tmp_path_factory):
    """An archive that reports even faint detections, so that there is much to compare."""
    given = os.environ.get("BOXWRIGHT_TEST_MAR")
    if given:
        return Path(given).resolve()
    folder = tmp_path_factory.mktemp("eager") / "run"
    shutil.copytree(request.getfixturevalue("run"), folder)
    spec = ModelSpec.load(folder / "spec.json")
    (folder / "spec.json").write_text(replace(spec, operating_point=OperatingPoint(0.02)).to_json())
    return boxwright.archive(folder, store=tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def url(served_mar, tmp_path_factory):
    with torchserve(served_mar, tmp_path_factory.mktemp("torchserve"), batch_size=4) as prediction_url:
        yield prediction_url


def rows(answer):
    return [(name, *box, item["score"]) for item in answer for name, box in item.items() if name != "score"]


def test_the_boxes_are_those_of_predict(url, served_mar, odd_pictures):
    predictor = Predictor(served_mar)
    total, largest = 0, 0.0
    for path in odd_pictures:
        status, answer = ask(url, path.read_bytes())
        assert status == 200, (path.name, answer)
        theirs = rows(answer)
        ours = rows(predictor(path).to_answer(predictor.spec.class_names))
        assert [row[0] for row in theirs] == [row[0] for row in ours], path.name
        difference = np.abs(np.array([row[1:] for row in theirs]) - np.array([row[1:] for row in ours]))
        largest = max(largest, float(difference.max(initial=0)))
        assert difference.max(initial=0) <= 1e-3, path.name
        total += len(ours)
    print(f"{len(odd_pictures)} pictures, {total} boxes, largest difference {largest:.2e}")
    assert len(odd_pictures) == 10
    assert total >= 10


def test_a_bad_picture_in_a_batch_fails_alone(url, served_mar, odd_pictures):
    predictor = Predictor(served_mar)
    good = [path.read_bytes() for path in odd_pictures[:3]]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda picture: ask(url, picture), [*good, b"no picture"]))
    assert [status for status, _ in answers] == [200, 200, 200, 415]
    assert answers[3][1]["type"] == "UnsupportedPicture"
    for path, (_, answer) in zip(odd_pictures[:3], answers[:3], strict=True):
        assert len(answer) == len(predictor(path))


def test_a_truncated_picture_is_400(url, odd_pictures):
    picture = next(path for path in odd_pictures if path.name == "plain.jpg").read_bytes()
    status, answer = ask(url, picture[: len(picture) // 2])
    assert status == 400
    assert "truncated" in answer["message"]
