import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from boxwright.evaluation.compare import read_run
from boxwright.export.exports import make_exports, variants_of
from boxwright.parity.proof import TOLERANCES, prove
from boxwright.runtime import ConfigError, DataError, Detections, OutOfTolerance, Variant, open_bundle
from boxwright.runtime.backends import open_backend


@pytest.fixture(scope="module")
def exports(run):
    return make_exports(run, variants_of(["fp32"]))


def test_fp32_is_the_trained_model_in_every_runtime(exports):
    assert {str(one.variant) for one in exports.proofs} == {"onnxruntime-fp32", "openvino-fp32"}
    for proof in exports.proofs:
        assert proof.agreement.pictures == 16
        assert proof.agreement.equal == proof.agreement.detections > 50
        assert proof.difference <= TOLERANCES["fp32"]


def test_the_proof_stands_in_the_specification(exports):
    document = exports.spec.exports["onnxruntime-fp32"]
    assert document["member"] == "model.onnx"
    assert document["map_before"] == exports.spec.measured["valid"]["map"]
    assert document["f2_before"] == exports.spec.measured["valid"]["f2"]
    assert document["worst_picture"].endswith(".jpg")
    assert document["tolerance"] == 0.0005


class Elsewhere:
    """A backend that is wrong: its boxes are where no object is."""

    def __init__(self, backend):
        self.backend = backend

    def detect(self, canvases):
        corner = np.array([190, 190, 191, 191], np.float32)
        return [Detections(0 * one.boxes + corner, one.scores, one.labels) for one in self.backend.detect(canvases)]


def test_another_model_is_refused_and_the_worst_picture_named(run, exports, demo_data):
    trained, spec = read_run(run)
    counts = [len(one.filter_by_score(0.05)) for one in trained.detections]
    variant = Variant("onnxruntime")
    backend = open_backend(exports.bundle, "onnxruntime", "fp32").backend
    proof = prove(Elsewhere(backend), variant, spec, trained, demo_data / "valid")
    assert proof.worst_picture == trained.file_names[int(np.argmax(counts))]
    with pytest.raises(OutOfTolerance, match=proof.worst_picture):
        proof.require()
    assert proof.agreement.matched == 0
    replace(proof, tolerance=1.0).require()


def test_lower_precisions_say_how_far_they_are_off(run):
    made = make_exports(run, variants_of(["bf16", "int8"]), tolerance=1.0)
    assert set(made.members) == {"model.onnx", "model.int8.onnx"}
    variants = {str(one.variant) for one in made.proofs}
    assert variants == {"openvino-bf16", "torch-bf16", "onnxruntime-int8", "openvino-int8"}
    for proof in made.proofs:
        assert proof.agreement.matched > 0.8 * proof.agreement.detections, proof
    int8 = next(one for one in made.proofs if str(one.variant) == "onnxruntime-int8")
    assert int8.agreement.largest_score_difference > 1e-4  # it is another computation indeed


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        ({"f2": 0.7}, 0.1),
        ({"map": 0.2}, 0.3),
        ({"map": float("nan"), "map_before": float("nan")}, 0.0),
        ({"map": float("nan")}, float("inf")),
        ({"f2_before": float("nan")}, float("inf")),
    ],
)
def test_either_figure_alone_makes_the_difference(exports, figures, expected):
    same = replace(exports.proofs[0], map=0.5, map_before=0.5, f2=0.6, f2_before=0.6, tolerance=0.01)
    assert same.difference == 0
    changed = replace(same, **figures)
    assert changed.difference == pytest.approx(expected)
    if expected:
        with pytest.raises(OutOfTolerance):
            changed.require()


def test_the_remedy_is_that_of_the_cause(exports):
    """Where all boxes are equal and the figures are not, choosing the threshold anew would choose the same one."""
    equal = replace(exports.proofs[0], f2=0.0, f2_before=0.6)
    fewer = replace(equal, agreement=replace(equal.agreement, equal=equal.agreement.equal - 1))
    faint = replace(equal, agreement=replace(equal.agreement, detections=0, matched=0, equal=0))
    lower = replace(equal, variant=Variant("openvino", "bf16"))
    remedies = {"Train longer": [equal], "boxwright threshold": [fewer, faint], "Leave this precision out": [lower]}
    for remedy, proofs in remedies.items():
        for proof in proofs:
            with pytest.raises(OutOfTolerance, match=remedy):
                proof.require()


def test_precisions_are_known():
    with pytest.raises(ConfigError, match="'fp8'"):
        variants_of(["fp8"])


def test_without_pictures_there_is_no_proof(run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    with pytest.raises(DataError, match="--data"):
        make_exports(folder, variants_of(["fp32"]), data=tmp_path / "nowhere")
    (tmp_path / "valid").mkdir()
    with pytest.raises(DataError, match="16 of the 16 pictures"):
        make_exports(folder, variants_of(["fp32"]), data=tmp_path)


def test_an_archive_without_exports_runs_in_torch_alone(run, tmp_path):
    import boxwright

    mar = boxwright.archive(run, store=tmp_path, precisions=())
    assert "model.onnx" not in open_bundle(mar).members
    assert str(boxwright.Predictor(mar).chosen.variant) == "torch-fp32"
    assert isinstance(mar, Path)
