"""Archives without weights: half as large, run by their graph, and whatever needs the weights says so."""

import io
import json
import os
from dataclasses import replace
from types import SimpleNamespace

import httpx
import numpy as np
import pytest
from PIL import Image

import boxwright
from boxwright.archiving import write_archive
from boxwright.models.weights_files import read_weights
from boxwright.release.releasing import _without_trained
from boxwright.runtime import ArchiveError, ConfigError, Execution, MissingDependency, open_bundle
from boxwright.runtime import torchserve as handler
from boxwright.runtime.bundle import GRAPH, MANIFEST, WEIGHTS
from boxwright.serving.engine import load_models
from boxwright.serving.server import background_server
from support.command_line import boxwright as command
from support.hostile_archives import listed, members_of, packed


@pytest.fixture(scope="module")
def slim(mar, tmp_path_factory):
    """What ``--without-weights`` writes; of the exports that ``mar`` has, so that nothing is proved again."""
    bundle = open_bundle(mar)
    exports = {name: bundle.read(name) for name in bundle.members if name.endswith(".onnx")}
    spec = replace(bundle.spec, exports={**bundle.spec.exports, "torch-bf16": {"map": 0.1}})
    return write_archive(_without_trained(spec), None, "1.0", tmp_path_factory.mktemp("slim"), exports)


@pytest.fixture(scope="module")
def picture(demo_data):
    return sorted((demo_data / "valid").glob("*.jpg"))[0]


def test_it_holds_the_graph_alone_and_is_smaller_by_the_weights(slim, mar):
    whole, left = members_of(mar), members_of(slim)
    assert set(whole) - set(left) == {WEIGHTS, "model.py"}
    assert json.loads(left[MANIFEST])["model"]["serializedFile"] == GRAPH
    assert mar.stat().st_size - slim.stat().st_size > 0.95 * len(whole[WEIGHTS])
    assert set(open_bundle(slim).spec.exports) == set(open_bundle(mar).spec.exports)


def test_it_finds_what_the_whole_archive_finds(slim, mar, picture):
    whole, left = (boxwright.Predictor(one, backend="onnxruntime")(picture) for one in (mar, slim))
    np.testing.assert_array_equal(left.boxes, whole.boxes)
    np.testing.assert_array_equal(left.scores, whole.scores)
    assert boxwright.Predictor(slim).execution.backend in ("onnxruntime", "openvino")


def test_it_is_served(slim, picture):
    with background_server(load_models([slim], Execution("onnxruntime"))) as base:
        answer = httpx.put(f"{base}/predictions/tiny", content=picture.read_bytes(), timeout=60)
    predictor = boxwright.Predictor(slim)
    assert answer.json() == predictor(picture).to_answer(predictor.spec.class_names)


def test_pytorch_says_what_is_missing(slim):
    with pytest.raises(ArchiveError, match="graph alone: it was archived with --without-weights"):
        boxwright.Predictor(slim, backend="torch")


def test_training_from_it_says_what_is_missing(slim):
    with pytest.raises(ArchiveError, match=r"--without-weights.*training need the weights"):
        read_weights(slim)


def test_the_command_says_it_in_one_line(slim, picture):
    done = command("predict", slim, picture, "--backend", "torch")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "--without-weights" in done.stderr


def unpacked(mar, folder):
    for name, content in members_of(mar).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return SimpleNamespace(system_properties={"model_dir": os.fspath(folder)})


def test_torchserves_handler_runs_the_graph(slim, mar, picture, tmp_path):
    answered = handler.Handler()([{"body": picture.read_bytes()}], unpacked(slim, tmp_path))
    predictor = boxwright.Predictor(mar, backend="onnxruntime")
    assert answered == [predictor(picture).to_answer(predictor.spec.class_names)]


def test_torchserves_handler_without_onnxruntime_says_what_to_do(slim, tmp_path, monkeypatch):
    monkeypatch.setattr("boxwright.runtime.backends._installed", lambda kind: kind.package != "onnxruntime")
    with pytest.raises(MissingDependency, match="graph alone, and onnxruntime cannot run it here"):
        handler.Handler()(None, unpacked(slim, tmp_path))


def test_weights_that_were_only_taken_out_are_missed(mar, tmp_path):
    """The manifest says what belongs there."""
    members = {name: content for name, content in members_of(mar).items() if name != WEIGHTS}
    cut = tmp_path / "cut.mar"
    cut.write_bytes(packed(listed(members)))
    with pytest.raises(ArchiveError, match=f"{WEIGHTS} is missing"):
        open_bundle(cut)


def test_a_manifest_that_names_a_graph_that_is_not_there_is_refused(mar, tmp_path):
    members = members_of(mar)
    manifest = json.loads(members[MANIFEST])
    manifest["model"]["serializedFile"] = GRAPH
    without = {name: content for name, content in members.items() if name != GRAPH}
    bad = tmp_path / "bad.mar"
    bad.write_bytes(packed(listed({**without, MANIFEST: json.dumps(manifest).encode()})))
    with pytest.raises(ArchiveError, match=f"{GRAPH} is missing"):
        open_bundle(bad)


def test_without_weights_and_graph_nothing_is_written(run, tmp_path):
    with pytest.raises(ConfigError, match="nothing could run"):
        boxwright.archive(run, weights=False, precisions=(), store=tmp_path)
    with pytest.raises(ArchiveError, match="neither weights nor a graph"):
        write_archive(open_bundle(run).spec, None, "1", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_picture_that_cannot_be_read_is_answered_as_ever(slim, tmp_path):
    context = unpacked(slim, tmp_path)
    context.set_response_status = lambda **status: None
    image = io.BytesIO()
    Image.new("RGB", (64, 64)).save(image, "PNG")
    broken, whole = handler.Handler()([{"body": b"no picture"}, {"body": image.getvalue()}], context)
    assert broken["code"] >= 400
    assert isinstance(whole, list)
