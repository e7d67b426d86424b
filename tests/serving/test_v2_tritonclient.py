"""Every call of Triton's own HTTP client against our server."""

import base64
import shutil

import numpy as np
import pytest
import tritonclient.http as triton

from boxwright.inputs import Predictor
from boxwright.runtime import Execution
from boxwright.serving import torchserve, v2
from boxwright.serving.app import make_app
from boxwright.serving.calls import Service
from boxwright.serving.engine import Engine, load_models
from boxwright.serving.settings import ServerSettings
from support.folder import Folder
from support.listening import listening

NAMES = ("circle", "square", "triangle")


@pytest.fixture(scope="module")
def client(mar, tmp_path_factory):
    store = tmp_path_factory.mktemp("store")
    shutil.copy(mar, store / "tiny.mar")
    engine = Engine(load_models([mar], Execution("onnxruntime")))
    service = Service(engine, ServerSettings(), Folder(engine, store))
    with (
        listening(make_app(service, (v2.PROTOCOL, torchserve.PROTOCOL))) as address,
        triton.InferenceServerClient(address, concurrency=4) as client,
    ):
        yield client
    engine.close(10.0)


@pytest.fixture(scope="module")
def pictures(mar, demo_data):
    predictor = Predictor(mar)
    paths = sorted(demo_data.glob("test/*.jpg"), key=lambda path: len(predictor(path)))
    return [paths[-1].read_bytes(), paths[0].read_bytes()]


@pytest.fixture(scope="module")
def found(mar, pictures):
    predictor = Predictor(mar, backend="onnxruntime")
    return [predictor(picture) for picture in pictures]


def tensor(*pictures, binary=True):
    one = triton.InferInput("image", [len(pictures)], "BYTES")
    elements = pictures if binary else [base64.b64encode(picture) for picture in pictures]
    one.set_data_from_numpy(np.array(elements, dtype=np.object_), binary_data=binary)
    return one


def require(answer, *found):
    """All outputs are those of the predictor, to the last bit."""
    assert np.array_equal(answer.as_numpy("boxes").reshape(-1, 4), np.concatenate([one.boxes for one in found]))
    assert np.array_equal(answer.as_numpy("scores"), np.concatenate([one.scores for one in found]))
    assert np.array_equal(answer.as_numpy("labels"), np.concatenate([one.labels for one in found]))
    names = [text if isinstance(text, str) else text.decode() for text in answer.as_numpy("label_names")]
    assert names == [NAMES[label] for one in found for label in one.labels]


def test_it_sees_a_server_that_lives_with_a_model(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("tiny")
    assert client.is_model_ready("tiny", "1.0")
    assert not client.is_model_ready("none")
    assert not client.is_model_ready("tiny", "9")


def test_it_reads_what_is_said_of_server_and_model(client):
    server = client.get_server_metadata()
    assert server["name"] == "boxwright"
    assert set(server["extensions"]) >= {"binary_tensor_data", "model_repository", "statistics"}
    for version in ("", "1.0"):
        described = client.get_model_metadata("tiny", version)
        assert (described["inputs"][0]["datatype"], described["versions"]) == ("BYTES", ["1.0"])
        config = client.get_model_config("tiny", version)
        assert (config["name"], config["max_batch_size"]) == ("tiny", 0)
    with pytest.raises(triton.InferenceServerException, match="Model version: 9 does not exist"):
        client.get_model_metadata("tiny", "9")


def test_it_reads_the_statistics(client, pictures):
    def count(*asked):
        (one,) = client.get_inference_statistics(*asked)["model_stats"]
        return one["inference_count"], one["inference_stats"]["success"]["count"]

    before = count()
    client.infer("tiny", [tensor(*pictures)])
    after = count()
    assert after == (before[0] + 2, before[1] + 2)
    assert count("tiny") == count("tiny", "1.0") == after


@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("count", [1, 2])
def test_it_sends_and_receives_in_every_form(client, pictures, found, compression, binary, count):
    names = ["boxes", "scores", "labels", "label_names", "num_detections"]
    answer = client.infer(
        "tiny",
        [tensor(*pictures[:count], binary=binary)],
        model_version="1.0",
        outputs=[triton.InferRequestedOutput(name, binary_data=binary) for name in names],
        request_id="1",
        request_compression_algorithm=compression,
        response_compression_algorithm=compression,
    )
    require(answer, *found[:count])
    assert answer.as_numpy("num_detections").tolist() == [len(one) for one in found[:count]]
    assert answer.get_response()["id"] == "1"
    assert ("data" in answer.get_output("boxes")) is not binary


def test_without_named_outputs_it_gets_all_of_them_raw(client, pictures, found):
    answer = client.infer("tiny", [tensor(pictures[0])])
    require(answer, found[0])
    assert answer.as_numpy("num_detections") is None
    assert [one["name"] for one in answer.get_response()["outputs"]] == ["boxes", "scores", "labels", "label_names"]


def test_it_asks_several_at_a_time(client, pictures, found):
    asked = [client.async_infer("tiny", [tensor(pictures[number % 2])], request_id=str(number)) for number in range(12)]
    for number, one in enumerate(asked):
        answer = one.get_result()
        require(answer, found[number % 2])
        assert answer.get_response()["id"] == str(number)


def test_parameters_reach_the_model(client, pictures, found):
    answer = client.infer("tiny", [tensor(pictures[0])], parameters={"threshold": 1.0}, timeout=60_000_000)
    assert [len(answer.as_numpy(name)) for name in ("boxes", "scores", "labels", "label_names")] == [0, 0, 0, 0]
    more = client.infer("tiny", [tensor(pictures[0])], query_params={"threshold": 0.02})
    assert len(more.as_numpy("scores")) > len(found[0])
    with pytest.raises(triton.InferenceServerException, match="parameter 'iou' of the request is unknown"):
        client.infer("tiny", [tensor(pictures[0])], parameters={"iou": 0.5})
    with pytest.raises(triton.InferenceServerException, match="'priority' of the request cannot be honoured"):
        client.infer("tiny", [tensor(pictures[0])], priority=1)
    with pytest.raises(triton.InferenceServerException, match="'sequence_id' of the request cannot be honoured"):
        client.infer("tiny", [tensor(pictures[0])], sequence_id=3, sequence_start=True)
    with pytest.raises(triton.InferenceServerException, match="'classification' of output scores cannot be"):
        client.infer("tiny", [tensor(pictures[0])], outputs=[triton.InferRequestedOutput("scores", class_count=2)])


def test_a_body_that_it_only_makes_is_answered_and_read(client, pictures, found):
    content, length = triton.InferenceServerClient.generate_request_body([tensor(pictures[0])])
    headers = {"Inference-Header-Content-Length": str(length)}
    response = client._post("v2/models/tiny/infer", content, headers, None)
    size = int(response.get("Inference-Header-Content-Length"))
    answer = triton.InferenceServerClient.parse_response_body(response.read(), header_length=size)
    require(answer, found[0])


def test_errors_reach_it_as_its_own(client, pictures):
    with pytest.raises(triton.InferenceServerException, match="not a JPEG") as refused:
        client.infer("tiny", [tensor(b"hello")])
    assert refused.value.status() == "415"
    with pytest.raises(triton.InferenceServerException, match="Model not found: none"):
        client.infer("none", [tensor(pictures[0])])


def test_it_loads_and_unloads_models(client, pictures, found):
    assert client.get_model_repository_index() == [{"name": "tiny", "version": "1.0", "state": "READY", "reason": ""}]
    client.unload_model("tiny", unload_dependents=True)
    assert not client.is_model_ready("tiny")
    assert client.get_model_repository_index()[0]["state"] == "UNAVAILABLE"
    client.load_model("tiny")
    require(client.infer("tiny", [tensor(pictures[0])]), found[0])
    with pytest.raises(triton.InferenceServerException, match="'config' cannot be honoured"):
        client.load_model("tiny", config="{}")
    with pytest.raises(triton.InferenceServerException, match="no archive named 'none'"):
        client.load_model("none")
    with pytest.raises(triton.InferenceServerException, match="Model not found: none"):
        client.unload_model("none")


@pytest.mark.parametrize(
    ("call", "options", "said"),
    [
        ("get_system_shared_memory_status", {}, "No memory is shared"),
        ("get_system_shared_memory_status", {"region_name": "r"}, "No memory is shared"),
        ("register_system_shared_memory", {"name": "r", "key": "/r", "byte_size": 1}, "No memory is shared"),
        ("unregister_system_shared_memory", {}, "No memory is shared"),
        ("unregister_system_shared_memory", {"name": "r"}, "No memory is shared"),
        ("get_cuda_shared_memory_status", {}, "No memory is shared"),
        ("register_cuda_shared_memory", {"name": "r", "raw_handle": b"x", "device_id": 0, "byte_size": 1}, "No memory"),
        ("unregister_cuda_shared_memory", {}, "No memory is shared"),
        ("get_trace_settings", {}, "not traced"),
        ("get_trace_settings", {"model_name": "tiny"}, "not traced"),
        ("update_trace_settings", {"settings": {"trace_level": ["TIMESTAMPS"]}}, "not traced"),
        ("get_log_settings", {}, "log is configured"),
        ("update_log_settings", {"settings": {"log_info": True}}, "log is configured"),
    ],
)  # fmt: skip
def test_calls_without_a_meaning_here_say_why(client, call, options, said):
    with pytest.raises(triton.InferenceServerException, match=said) as refused:
        getattr(client, call)(**options)
    assert refused.value.status() == "501"
