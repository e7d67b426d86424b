import hashlib
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch

from boxwright.parity.agreement import agreement
from boxwright.runtime import ArchiveError, ConfigError, MissingDependency, Predictor, Variant, open_bundle
from boxwright.runtime.backends import ONNX, open_backend, usable_variants


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


def test_auto_takes_what_is_proved_and_says_so(mar, run):
    bundle = open_bundle(mar)
    names = {str(one) for one in usable_variants(bundle)}
    assert names == {"onnxruntime-fp32", "openvino-fp32", "torch-fp32"}
    chosen = open_backend(bundle)
    assert str(chosen.variant) in names
    assert str(chosen.variant) in chosen.reason
    assert set(chosen.milliseconds) == names
    assert str(Predictor(run).chosen.variant) == "torch-fp32"


def test_what_is_not_proved_is_not_taken_but_may_be_asked_for(mar):
    bundle = open_bundle(mar)
    unproved = replace(bundle, spec=replace(bundle.spec, exports={}))
    assert {str(one) for one in usable_variants(unproved)} == {"torch-fp32"}
    assert str(open_backend(unproved, "onnxruntime").variant) == "onnxruntime-fp32"
    assert open_backend(unproved, "onnxruntime").reason.endswith("as asked for.")


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
    with pytest.raises(ArchiveError, match=r"no graph of boxwright's|cannot be read"):
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
    assert usable_variants(replace(bundle, spec=later)) == usable_variants(bundle)


def test_what_is_proved_and_cannot_run_here_is_said_so(mar):
    bundle = open_bundle(mar)
    proved = replace(bundle, spec=replace(bundle.spec, exports={"openvino-int8": {}}))
    with pytest.raises(MissingDependency, match="openvino-int8: proved, and cannot run here on 'cuda:0'"):
        open_backend(proved, precision="int8", device="cuda:0")
    with pytest.raises(ConfigError, match="'openvino' runs on the CPU, not on 'cuda:0'"):
        open_backend(bundle, "openvino", device="cuda:0")


def test_members_from_memory_have_hashes_and_leave_the_others(mar):
    bundle = open_bundle(mar)
    added = bundle.with_members({"note.txt": b"hello"})
    assert added.read("note.txt") == b"hello"
    assert added.members["note.txt"] == hashlib.sha256(b"hello").hexdigest()
    assert added.weights == bundle.weights
    assert "note.txt" not in bundle.members


def test_variants_are_read_back():
    for text in ("onnxruntime-fp32", "torch-compile-bf16"):
        assert str(Variant.parse(text)) == text
    with pytest.raises(ConfigError, match="'cuda-fp64'"):
        Variant.parse("cuda-fp64")


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
