"""What ``boxwright archive --inspect`` says is what the archive holds."""

import hashlib
import json
import re
from dataclasses import replace

import pytest

import boxwright
from boxwright.archiving import write_archive
from boxwright.runtime import ArchiveError, OperatingPoint, open_bundle
from boxwright.runtime.bundle import CHECKSUMS
from support.command_line import boxwright as command
from support.hostile_archives import members_of

PROOF = {
    "member": "model.onnx",
    "pictures": 16,
    "map": 0.25,
    "map_before": 0.25,
    "largest_score_difference": 1.5e-6,
    "tolerance": {"map": 0.001},
    "worst_picture": "a.jpg",
}


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    """An archive with two exports and thresholds by class."""
    bundle = open_bundle(run)
    point = replace(bundle.spec.operating_point, per_class={"square": 0.4321}, by_class=True)
    exports = {"onnxruntime-fp32": PROOF, "openvino-fp32": {"member": "model.onnx", "map": 0.2468}}
    spec = replace(bundle.spec, operating_point=point, exports=exports)
    store = tmp_path_factory.mktemp("exported")
    return write_archive(spec, bundle.weights, "7", store, {"model.onnx": b"a graph"})


def test_the_contents_are_those_of_the_archive(exported):
    contents = boxwright.inspect(exported)
    inside = members_of(exported)
    assert {one.name: (one.size, one.sha256) for one in contents.members} == {
        name: (len(content), hashlib.sha256(content).hexdigest())
        for name, content in inside.items()
        if name != CHECKSUMS
    }
    assert (contents.version, contents.size) == ("7", exported.stat().st_size)
    assert contents.spec == open_bundle(exported).spec


def test_all_of_it_is_printed_and_written(exported, tmp_path):
    done = command("archive", exported, "--inspect", "--json", tmp_path / "c.json")
    assert done.returncode == 0, done.stderr
    contents = boxwright.inspect(exported)
    assert json.loads((tmp_path / "c.json").read_text()) == json.loads(json.dumps(contents.to_document()))
    lines = [line.split() for line in done.stdout.splitlines()]
    spec, figures = contents.spec, contents.spec.measured["valid"]
    thresholds = spec.operating_point.thresholds(spec.class_names)
    for index, (entry, score) in enumerate(zip(spec.classes, thresholds, strict=True)):
        assert [str(index), str(entry.id), entry.name, f"{score:.3f}"] in lines
    low, high = figures["intervals"]["f2"]
    assert ["F2", f"{figures['f2']:.4f}", f"{low:.4f}", "to", f"{high:.4f}"] in lines
    assert ["map", "0.2500", "0.2468"] in lines
    assert ["largest", "score", "difference", "1.50e-06", "\N{EN DASH}"] in lines
    for member in contents.members:
        assert [member.name, f"{member.size:,}", member.sha256[:12]] in lines
    recorded = (spec.contract, spec.provenance["data_fingerprint"], "trained from scratch", "192 x 192", "a.jpg")
    assert [text for text in recorded if text not in done.stdout] == []
    assert f"{sum(one.size for one in contents.members):,}" in done.stdout


def test_a_model_that_was_never_measured_is_shown(run, tmp_path):
    bundle = open_bundle(run)
    spec = replace(bundle.spec, operating_point=OperatingPoint(), measured={}, provenance={"weights": "\x1b[2Jx"})
    done = command("archive", "--inspect", write_archive(spec, bundle.weights, "1", tmp_path))
    assert done.returncode == 0, done.stderr
    assert "score 0.500, for f2: never measured" in done.stdout
    assert re.search(r"started from +\\x1b\[2Jx", done.stdout)
    assert "\x1b" not in done.stdout


def test_figures_of_any_shape_are_shown(run, tmp_path):
    """A later version may write other figures."""
    bundle = open_bundle(run)
    odd = {"map": [1, 2], "f2": None, "precision": "high", "recall": {"a": 1}, "intervals": 7, "images": {}}
    spec = replace(bundle.spec, measured={"odd": odd, "empty": {}}, exports={"torch-fp32": {}})
    done = command("archive", "--inspect", write_archive(spec, bundle.weights, "1", tmp_path))
    assert done.returncode == 0, done.stderr
    assert "Measured on odd" in done.stdout


def test_a_folder_is_not_inspected(run):
    with pytest.raises(ArchiveError, match="a folder"):
        boxwright.inspect(run)


def test_json_is_for_inspecting(run, tmp_path):
    done = command("archive", run, "--json", tmp_path / "c.json", "--store", tmp_path / "store")
    assert done.returncode == 2
    assert "--inspect" in done.stderr
    assert list(tmp_path.iterdir()) == []
