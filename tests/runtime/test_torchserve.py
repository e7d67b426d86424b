import base64
import sys
from dataclasses import replace

import pytest

from boxwright.inputs import Predictor
from boxwright.runtime import MissingDependency, ModelSpec
from boxwright.runtime.torchserve import Handler
from support.exported import BOXES, graph
from support.networks import spec_of


class Context:
    """What the handler uses of TorchServe's context."""

    def __init__(self, folder):
        self.system_properties = {"model_dir": str(folder), "gpu_id": None}
        self.statuses = {}

    def set_response_status(self, code=200, phrase="", idx=0):
        self.statuses[idx] = code


@pytest.fixture
def handler(run):
    handler = Handler()
    assert handler(None, Context(run)) is None
    return handler


def test_a_bad_picture_does_not_hurt_its_batchmates(handler, run, demo_data):
    context = Context(run)
    good = [path.read_bytes() for path in sorted((demo_data / "test").glob("*.jpg"))[:2]]
    requests = [{"body": good[0]}, {"body": b"no picture"}, {"data": good[1]}, {"body": good[0][:300]}, {"body": {}}]
    answers = handler(requests, context)
    predictor = Predictor(run)
    expected = [predictor(picture).to_answer(predictor.spec.class_names) for picture in good]
    assert [answers[0], answers[2]] == expected
    assert context.statuses == {1: 415, 3: 400, 4: 415}
    assert answers[1]["type"] == "UnsupportedPicture"


def test_any_form_field_will_do(handler, run, demo_data):
    picture = next((demo_data / "test").glob("*.jpg")).read_bytes()
    assert handler([{"picture": picture}], Context(run)) == handler([{"body": bytearray(picture)}], Context(run))


def test_base64_is_read_and_other_text_is_refused(handler, run, demo_data):
    """As TorchServe's kserve envelope hands on what clients of KServe send."""
    picture = next((demo_data / "test").glob("*.jpg")).read_bytes()
    text = base64.b64encode(picture).decode()
    context = Context(run)
    answers = handler([{"b64": text}, {"data": text}, {"body": "hello, world"}, {"body": "ü"}], context)
    assert answers[0] == answers[1] == handler([{"body": picture}], context)[0]
    assert context.statuses == {2: 415, 3: 415}


def test_a_network_that_cannot_be_built_here_is_served_by_its_proved_graph(tmp_path, monkeypatch, demo_data):
    """As TorchServe's image has no transformers."""
    monkeypatch.setitem(sys.modules, "transformers", None)
    proved = {"onnxruntime-fp32": {"member": "model.onnx"}}
    spec = replace(spec_of("dfine_n", 96), exports=proved)
    (tmp_path / "spec.json").write_text(spec.to_json())
    (tmp_path / "model.onnx").write_bytes(graph())
    handler, context = Handler(), Context(tmp_path)
    assert handler(None, context) is None
    (answer,) = handler([{"body": next((demo_data / "test").glob("*.jpg")).read_bytes()}], context)
    assert [one["score"] for one in answer] == pytest.approx([0.9, 0.8])
    assert len(answer) == len(BOXES)
    (tmp_path / "spec.json").write_text(replace(ModelSpec.load(tmp_path / "spec.json"), exports={}).to_json())
    with pytest.raises(MissingDependency, match=r"needs transformers.*no proved graph"):
        Handler()(None, context)
