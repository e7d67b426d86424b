"""Triton's own client against our server; the server may have chosen another backend than the test."""

import numpy as np
import pytest
import tritonclient.http as triton

from boxwright.inputs import Predictor
from boxwright.serving.engine import load_models
from boxwright.serving.server import background_server


@pytest.fixture(scope="module")
def client(mar):
    served = background_server(load_models([mar]))
    with served as url, triton.InferenceServerClient(url.removeprefix("http://")) as client:
        yield client


@pytest.fixture(scope="module")
def found(mar, picture):
    return Predictor(mar)(picture)


@pytest.fixture(scope="module")
def picture(mar, demo_data):
    predictor = Predictor(mar)
    return max(demo_data.glob("test/*.jpg"), key=lambda path: len(predictor(path))).read_bytes()


def tensor(picture):
    one = triton.InferInput("image", [1], "BYTES")
    one.set_data_from_numpy(np.array([picture], dtype=np.object_))
    return one


def test_it_sees_a_server_that_lives_with_a_model(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("tiny")
    assert client.is_model_ready("tiny", "1.0")
    assert not client.is_model_ready("none")
    assert client.get_server_metadata()["name"] == "boxwright"
    assert client.get_model_metadata("tiny")["inputs"][0]["datatype"] == "BYTES"


@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_raw_tensors_as_it_sends_and_wants_them(client, picture, found, compression):
    answer = client.infer("tiny", [tensor(picture)], request_compression_algorithm=compression, request_id="1")
    assert len(found) > 1
    assert answer.as_numpy("boxes") == pytest.approx(found.boxes, abs=1e-3)
    assert answer.as_numpy("scores") == pytest.approx(found.scores, abs=1e-5)
    assert np.array_equal(answer.as_numpy("labels"), found.labels)
    names = [text.decode() for text in answer.as_numpy("label_names")]
    assert names == [("circle", "square", "triangle")[label] for label in found.labels]
    assert answer.get_response()["id"] == "1"


def test_json_outputs_where_it_asks_for_them(client, picture, found):
    wanted = [triton.InferRequestedOutput("boxes", binary_data=False), triton.InferRequestedOutput("scores")]
    answer = client.infer("tiny", [tensor(picture)], outputs=wanted)
    assert answer.as_numpy("boxes").reshape(-1, 4) == pytest.approx(found.boxes, abs=1e-3)
    assert answer.as_numpy("scores") == pytest.approx(found.scores, abs=1e-5)
    assert answer.as_numpy("labels") is None


def test_errors_reach_it_as_its_own(client, picture):
    with pytest.raises(triton.InferenceServerException, match="not a JPEG"):
        client.infer("tiny", [tensor(b"hello")])
    with pytest.raises(triton.InferenceServerException, match="Model not found: none"):
        client.infer("none", [tensor(picture)])
