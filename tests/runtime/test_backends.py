import hashlib
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch

from boxwright.inputs import Predictor
from boxwright.runtime import ArchiveError, ConfigError, Execution, MissingDependency, open_backend, open_bundle
from boxwright.runtime.backends import BACKENDS, settle, usable_executions
from boxwright.runtime.backends.graph import ONNX
from boxwright.runtime.backends.onnxruntime import OnnxRuntimeBackend
from support.agreement import agreement


@pytest.fixture(scope="module")
def pictures(demo_data):
    return sorted((demo_data / "test").glob("*.jpg"))[:4]


def everything(predictor, pictures):
    return [predictor.detect([predictor.prepare(path)])[0] for path in pictures]


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "torch", "torch-compile"])
def test_every_backend_gives_the_trained_models_detections(run, mar, pictures, backend):
    trained = everything(Predictor(run), pictures)
    found = agreement(trained, everything(Predictor(mar, backend=backend, precision="fp32"), pictures))
    assert found.equal == found.detections > 20


@pytest.mark.parametrize("backend", ["openvino", "torch"])
def test_bf16_is_near_and_is_another_computation(run, mar, pictures, backend):
    trained = everything(Predictor(run), pictures)
    found = agreement(trained, everything(Predictor(mar, backend=backend, precision="bf16"), pictures))
    assert found.matched > 0.9 * found.detections
    if torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported():
        assert found.largest_score_difference > 1e-5


def variants(bundle):
    return [one.variant for one in usable_executions(bundle)]


def with_exports(bundle, *exports):
    return replace(bundle, spec=replace(bundle.spec, exports={variant: {} for variant in exports}))


def test_auto_takes_the_first_that_is_proved_without_running_any(mar, run, monkeypatch):
    bundle = open_bundle(mar)
    assert variants(bundle) == ["onnxruntime-fp32", "openvino-fp32", "torch-fp32"]
    monkeypatch.setattr(OnnxRuntimeBackend, "detect", None)  # nothing is measured
    assert settle(bundle, Execution()) == Predictor(mar).execution == Execution("onnxruntime", "fp32")
    assert settle(bundle, Execution("torch", threads=2)) == Execution("torch", "fp32", threads=2)
    assert settle(bundle, Execution(precision="fp32")).variant == "onnxruntime-fp32"
    assert Predictor(run).execution.variant == "torch-fp32"


def test_fp32_goes_before_lower_precisions_and_these_in_the_registrys_order(mar):
    bundle = with_exports(open_bundle(mar), "torch-bf16", "openvino-bf16")
    assert variants(bundle) == ["torch-fp32", "openvino-bf16", "torch-bf16"]
    assert settle(bundle, Execution(precision="bf16")).variant == "openvino-bf16"
    assert settle(bundle, Execution("openvino")).variant == "openvino-bf16"
    assert settle(bundle, Execution("torch")).variant == "torch-fp32"


def test_a_backend_of_ones_own_joins_with_one_class(mar, pictures, monkeypatch):
    """Everything that is asked of a backend is asked of the registry."""

    class Rounded(OnnxRuntimeBackend):
        name = "rounded"

        def detect(self, canvases):
            return [replace(one, boxes=one.boxes.round()) for one in super().detect(canvases)]

    monkeypatch.setitem(BACKENDS, "rounded", Rounded)
    bundle = with_exports(open_bundle(mar), "rounded-fp32")
    assert variants(bundle) == ["torch-fp32", "rounded-fp32"]
    (found,) = open_backend(bundle, Execution("rounded")).detect(Predictor(mar).prepare(pictures[0]).canvases)
    assert len(found) > 0
    assert np.array_equal(found.boxes, found.boxes.round())
    with pytest.raises(ConfigError, match="'rounded' does not run bf16"):
        settle(bundle, Execution("rounded", "bf16"))
    with pytest.raises(ConfigError, match=r"Use auto, .*, rounded\."):
        settle(bundle, Execution("caffe"))


def test_what_is_not_proved_is_not_taken_but_may_be_asked_for(mar):
    bundle = open_bundle(mar)
    unproved = with_exports(bundle)
    assert variants(unproved) == ["torch-fp32"]
    assert settle(unproved, Execution("onnxruntime")).variant == "onnxruntime-fp32"
    assert isinstance(open_backend(unproved, Execution("onnxruntime")), OnnxRuntimeBackend)


@pytest.mark.parametrize(
    ("backend", "precision", "culprit"),
    [
        ("tensorrt", "auto", "'tensorrt'"),
        ("auto", "fp8", "'fp8'"),
        ("auto", "int8", "int8"),
        ("onnxruntime", "bf16", "bf16"),
        ("torch", "int8", "int8"),
    ],
)
def test_what_there_is_not_is_one_clear_error(mar, backend, precision, culprit):
    with pytest.raises(ConfigError, match=culprit):
        Predictor(mar, backend=backend, precision=precision)


def test_an_archive_without_the_graph_says_so(run):
    with pytest.raises(ArchiveError, match=r"model\.onnx"):
        Predictor(run, backend="onnxruntime")


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_graph_that_is_none_is_an_error_of_ours(mar, backend):
    broken = open_bundle(mar).with_members({ONNX: b"no graph"})
    with pytest.raises(ArchiveError, match=r"model\.onnx"):
        Predictor(broken, backend=backend)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_graph_that_is_not_the_archives_is_an_error_of_ours(mar, backend):
    bundle = open_bundle(mar)
    model = onnx.load_from_string(bundle.read(ONNX))
    model.graph.output[0].name, model.graph.node[-1].output[0] = "other", "other"
    changed = [value for node in model.graph.node for value in node.output]
    if "boxes" in changed:  # the last node may make another output
        next(node for node in model.graph.node if "boxes" in node.output).output[0] = "other"
    with pytest.raises(ArchiveError, match=r"not a graph of boxwright|cannot be read"):
        Predictor(bundle.with_members({ONNX: model.SerializeToString()}), backend=backend)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_graph_that_reads_other_files_is_refused(mar, backend, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bundle = open_bundle(mar)
    model = onnx.load_from_string(bundle.read(ONNX))
    tensor = next(one for one in model.graph.initializer if len(one.raw_data) > 1000)
    (tmp_path / "secret").write_bytes(tensor.raw_data)
    onnx.external_data_helper.set_external_data(tensor, "secret")
    tensor.ClearField("raw_data")
    hostile = bundle.with_members({ONNX: model.SerializeToString()})
    with pytest.raises(ArchiveError, match=r"model\.onnx: reads files outside the archive"):
        Predictor(hostile, backend=backend)


def test_classes_that_the_model_does_not_have_are_no_answer(mar, pictures):
    bundle = open_bundle(mar)
    fewer = replace(bundle, spec=replace(bundle.spec, classes=bundle.spec.classes[:1]))
    predictor = Predictor(fewer, backend="onnxruntime")
    with pytest.raises(ArchiveError, match="answers classes that it does not have"):
        everything(predictor, pictures)


def test_a_later_versions_export_is_passed_over(mar):
    bundle = open_bundle(mar)
    later = replace(bundle.spec, exports={**bundle.spec.exports, "tensorrt-fp16": {}})
    assert usable_executions(replace(bundle, spec=later)) == usable_executions(bundle)


def test_what_is_proved_and_cannot_run_here_is_said_so(mar):
    bundle = open_bundle(mar)
    proved = with_exports(bundle, "openvino-int8")
    with pytest.raises(MissingDependency, match="openvino-int8: proved, but cannot run here on 'cuda:0'"):
        open_backend(proved, Execution(precision="int8", device="cuda:0"))
    with pytest.raises(ConfigError, match="'openvino' runs on the CPU, not on 'cuda:0'"):
        open_backend(bundle, Execution("openvino", device="cuda:0"))


def test_members_from_memory_have_hashes_and_leave_the_others(mar):
    bundle = open_bundle(mar)
    added = bundle.with_members({"note.txt": b"hello"})
    assert added.read("note.txt") == b"hello"
    assert added.members["note.txt"] == hashlib.sha256(b"hello").hexdigest()
    assert added.weights == bundle.weights
    assert "note.txt" not in bundle.members


@pytest.fixture
def torchs_threads():
    """PyTorch's number of threads is the process's: other tests count on theirs."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("torchs_threads")
def test_torch_takes_the_threads_it_is_given(run):
    Predictor(run, backend="torch", threads=1)
    assert torch.get_num_threads() == 1
    Predictor(run, backend="torch", threads=3)
    Predictor(run, backend="torch")
    assert torch.get_num_threads() == 3  # not asked, not touched


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "torch"])
def test_memory_does_not_grow_with_pictures(mar, pictures, backend):
    """Every page the network needs has been touched after a few pictures."""
    import resource

    predictor = Predictor(mar, backend=backend, precision="fp32")
    prepared = predictor.prepare(pictures[0])
    for _ in range(30):
        predictor.detect([prepared])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(150):
        predictor.detect([prepared])
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 8 * 1024, f"{grown} KiB more"
    assert np.isfinite(predictor.detect([prepared])[0].boxes).all()
