from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import boxwright
from boxwright.exporting.exports import executions_of, make_exports
from boxwright.inputs import Predictor
from boxwright.parity.agreement import TOLERANCES
from boxwright.parity.proof import prove
from boxwright.parity.reference import Reference
from boxwright.runtime import (
    ConfigError,
    DataError,
    Detections,
    Execution,
    OutOfTolerance,
    PicturePredictor,
    open_backend,
    open_bundle,
)


@pytest.fixture(scope="module")
def exports(run):
    return make_exports(Reference.of(run), executions_of(["fp32"]))


def test_fp32_is_the_trained_model_in_every_runtime(exports):
    assert {one.execution.variant for one in exports.proofs} == {"onnxruntime-fp32", "openvino-fp32"}
    for proof in exports.proofs:
        assert len(proof.pictures) == 16
        assert proof.equal == proof.detections > 50
        assert proof.difference <= TOLERANCES["fp32"].figures


def test_the_proof_stands_in_the_specification(exports):
    document = exports.bundle.spec.exports["onnxruntime-fp32"]
    assert document["member"] == "model.onnx"
    assert document["map_before"] == exports.bundle.spec.measured["valid"]["map"]
    assert document["f2_before"] == exports.bundle.spec.measured["valid"]["f2"]
    assert document["worst_picture"].endswith(".jpg")
    assert document["tolerance"] == 0.0005


class Elsewhere:
    """A backend that is wrong: its boxes are where no object is."""

    def __init__(self, backend):
        self.backend = backend

    def detect(self, canvases):
        corner = np.array([190, 190, 191, 191], np.float32)
        return [Detections(0 * one.boxes + corner, one.scores, one.labels) for one in self.backend.detect(canvases)]


def test_another_model_is_refused_and_the_worst_picture_named(run, exports):
    reference, execution = Reference.of(run), Execution("onnxruntime", "fp32")
    trained = reference.results
    counts = [len(one.filter_by_score(0.05)) for one in trained.detections]
    backend = Elsewhere(open_backend(exports.bundle, execution))
    elsewhere = PicturePredictor(exports.bundle, execution, backend=backend)
    (proof,) = prove(reference, [lambda: elsewhere])
    assert proof.worst.name == trained.file_names[int(np.argmax(counts))]
    with pytest.raises(OutOfTolerance, match=proof.worst.name):
        proof.require()
    assert proof.matched == 0
    (wide,) = prove(reference, [lambda: elsewhere], tolerance=1.0)
    wide.require()


def test_lower_precisions_say_how_far_they_are_off(run):
    made = make_exports(Reference.of(run), executions_of(["bf16", "int8"]), tolerance=1.0)
    assert set(made.members) == {"model.onnx", "model.int8.onnx"}
    variants = {one.execution.variant for one in made.proofs}
    assert variants == {"openvino-bf16", "torch-bf16", "onnxruntime-int8", "openvino-int8"}
    for proof in made.proofs:
        assert proof.matched > 0.8 * proof.detections, proof
    int8 = next(one for one in made.proofs if one.execution.variant == "onnxruntime-int8")
    assert int8.largest_score_difference > 1e-4  # it is another computation indeed


def test_the_remedy_is_that_of_the_cause(exports):
    """Where all boxes are equal and the figures are not, choosing the threshold anew would choose the same one."""
    equal = replace(exports.proofs[0], figures={"map": 0.5, "f2": 0.0}, reference={"map": 0.5, "f2": 0.6})
    first, *others = equal.pictures
    fewer = replace(equal, pictures=(replace(first, equal=first.equal - 1), *others))
    faint = replace(equal, pictures=(replace(first, expected=0, matched=0, equal=0),))
    lower = replace(equal, execution=Execution("openvino", "bf16"))
    remedies = {"Train longer": [equal], "boxwright threshold": [fewer, faint], "Leave this precision out": [lower]}
    for remedy, proofs in remedies.items():
        for proof in proofs:
            with pytest.raises(OutOfTolerance, match=remedy):
                proof.require()


def test_precisions_are_known():
    with pytest.raises(ConfigError, match="'fp8'"):
        executions_of(["fp8"])


def test_a_precision_that_nothing_here_runs_is_refused(monkeypatch):
    monkeypatch.setattr("boxwright.exporting.exports.find_spec", lambda name: None)  # as where none is installed
    with pytest.raises(ConfigError, match=r"'int8': nothing that runs it is installed\. pip install onnxruntime or"):
        executions_of(["int8"])


def test_without_pictures_there_is_no_proof(run, tmp_path):
    with pytest.raises(DataError, match="--data"):
        Reference.of(run, tmp_path / "nowhere")
    (tmp_path / "valid").mkdir()
    with pytest.raises(DataError, match="16 of the 16 pictures"):
        Reference.of(run, tmp_path)


def test_an_archive_without_exports_runs_in_torch_alone(run, tmp_path):
    mar = boxwright.archive(run, store=tmp_path, precisions=())
    assert "model.onnx" not in open_bundle(mar).members
    assert Predictor(mar).execution.variant == "torch-fp32"
    assert isinstance(mar, Path)
