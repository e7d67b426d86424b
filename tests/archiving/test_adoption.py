"""Archives of the real torch-model-archiver become ours, and none of their code runs."""

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn, ssdlite320_mobilenet_v3_large

import boxwright
from boxwright.archiving import adoption
from boxwright.archiving.adoption import classes_of_map
from boxwright.inputs import Predictor
from boxwright.runtime import (
    ArchiveError,
    BoxwrightError,
    ConfigError,
    ModelError,
    ModelSpec,
    open_bundle,
    preprocess,
)
from boxwright.runtime.bundle import MANIFEST
from boxwright.runtime.networks import build_network
from boxwright.runtime.networks.torchvision import detections_from_output
from support.command_line import boxwright as command
from support.hostile_archives import members_of, packed, pickled_code

SHAPES = {"0": "__background__", "1": "circle", "2": "square", "3": "triangle"}
TINY = "fasterrcnn_tiny_fpn"


def make_old(folder, weights, label_map, **options):
    """A .mar by torch-model-archiver, whose handler and model file leave a mark if they are ever imported."""
    folder.mkdir(exist_ok=True)
    code = f"open({str(folder / 'canary')!r}, 'w')\n\ndef handle(data, context):\n    return data\n"
    (folder / "my_handler.py").write_text(code)
    (folder / "my_model.py").write_text(code)
    (folder / "state.pth").write_bytes(weights)
    extra = []
    if label_map is not None:
        (folder / "index_to_name.json").write_text(json.dumps(label_map))
        extra = ["--extra-files", folder / "index_to_name.json"]
    given = {"--model-name": "old", "--version": "3.1", "--serialized-file": folder / "state.pth", **options}
    arguments = [Path(sys.executable).with_name("torch-model-archiver"), "--handler", folder / "my_handler.py"]
    arguments += ["--model-file", folder / "my_model.py", "--export-path", folder, *extra]
    arguments += [word for pair in given.items() if pair[1] is not None for word in pair]
    done = subprocess.run(
        list(map(str, arguments)), capture_output=True, text=True, env={"PATH": "", "TMPDIR": str(folder)}
    )
    assert done.returncode == 0, done.stderr
    (mar,) = [path for path in folder.iterdir() if path.suffix in (".mar", ".gz")]
    return mar


def reweighted(old, weights, target):
    """An old archive with another state dict."""
    target.write_bytes(packed({**members_of(old), "state.pth": weights}, deflated=["state.pth"]))
    return target


def saved(document):
    buffer = io.BytesIO()
    torch.save(document, buffer)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def state(run):
    return torch.load(run / "model_state_dict.pth", weights_only=True)


@pytest.fixture(scope="module")
def picture(demo_data):
    return next((demo_data / "test").glob("*.jpg"))


@pytest.fixture(scope="module")
def old(state, tmp_path_factory):
    return make_old(tmp_path_factory.mktemp("made") / "old", saved(state), SHAPES)


def assert_same(found, expected):
    assert len(found) == len(expected) > 0
    assert np.array_equal(found.boxes, expected.boxes)
    assert np.array_equal(found.scores, expected.scores)
    assert np.array_equal(found.labels, expected.labels)


def test_an_adopted_archive_detects_what_the_old_network_detects(old, run, state, picture, tmp_path):
    done = command("adopt", old, "--model", TINY, "--threshold", 0.02, "--store", tmp_path)
    assert done.returncode == 0, done.stderr
    mar = tmp_path / "old.mar"
    assert f"Archive: {mar}" in done.stdout
    assert "1 circle, 2 square, 3 triangle" in done.stdout
    assert all(
        word in done.stdout
        for word in ("antialiasing", "boxwright evaluate", "epsilon as torchvision", "score of 0.02")
    )
    assert not (old.parent / "canary").exists()

    predictor = Predictor(mar, backend="torch")
    assert predictor.spec.class_names == ("circle", "square", "triangle")
    network = build_network(ModelSpec.load(run / "spec.json"))  # the network as it was before it was packed
    network.load_state_dict(state)
    canvas, _ = preprocess(picture, predictor.spec.input)
    with torch.inference_mode():
        (output,) = network.eval()(torch.from_numpy(canvas)[None])
    (found,) = predictor._backend.detect(canvas[None])
    assert_same(found, detections_from_output(output))
    assert len(predictor(picture)) > 0


def test_a_network_of_torchvision_detects_the_same_on_the_same_canvas(picture, tmp_path):
    torch.manual_seed(0)
    options = {"weights": None, "weights_backbone": None, "num_classes": 3, "box_score_thresh": 0.01}
    network = fasterrcnn_mobilenet_v3_large_320_fpn(min_size=192, max_size=192, **options).eval()
    old = make_old(tmp_path / "old", saved({"state_dict": network.state_dict()}), ["cat", "dog"])
    made = boxwright.adopt(
        old, "fasterrcnn_mobilenet_v3_large_320_fpn", name="pets", version="4", image_size=(192, 192), store=tmp_path
    )
    assert made.archive == tmp_path / "pets.mar"
    assert open_bundle(made.archive).version == "4"
    canvas, _ = preprocess(picture, made.spec.input)
    with torch.inference_mode():  # torchvision's own path: its scaling, its normalisation
        (output,) = network([torch.from_numpy(canvas) / 255])
    (found,) = Predictor(made.archive, backend="torch")._backend.detect(canvas[None])
    expected = detections_from_output(output)
    assert len(found) == len(expected) > 0
    assert np.allclose(found.boxes, expected.boxes, atol=1e-2)
    assert np.allclose(found.scores, expected.scores, atol=1e-5)


def test_a_single_stage_network_is_adopted_too(old, picture, tmp_path):
    torch.manual_seed(0)
    options = {"weights": None, "weights_backbone": None, "num_classes": 4, "score_thresh": 0.01}
    network = ssdlite320_mobilenet_v3_large(detections_per_img=100, **options).eval()
    other = reweighted(old, saved(network.state_dict()), tmp_path / "other.mar")
    made = boxwright.adopt(other, "ssdlite320_mobilenet_v3_large", store=tmp_path)
    canvas, _ = preprocess(picture, made.spec.input)
    with torch.inference_mode():
        (output,) = network([torch.from_numpy(canvas) / 255])
    (found,) = Predictor(made.archive, backend="torch")._backend.detect(canvas[None])
    expected = detections_from_output(output)
    assert len(found) == len(expected) > 0
    assert np.allclose(found.boxes, expected.boxes, atol=1e-2)
    assert np.allclose(found.scores, expected.scores, atol=1e-5)


def test_what_is_recorded(old, tmp_path):
    made = boxwright.adopt(old, TINY, store=tmp_path)
    spec = boxwright.inspect(made.archive).spec
    assert (spec.name, open_bundle(made.archive).version) == ("old", "3.1")
    assert [entry.id for entry in spec.classes] == [1, 2, 3]
    assert (spec.operating_point.threshold, spec.operating_point.value) == (0.5, None)
    assert (spec.input.height, spec.input.width) == (192, 192)
    adopted = spec.provenance["adopted_from"]
    assert adopted["manifest"]["handler"] == "my_handler.py"
    assert len(adopted["sha256"]) == 64
    again = boxwright.adopt(old, TINY, store=tmp_path / "again")
    assert again.archive.read_bytes() == made.archive.read_bytes()


def frozen(state):
    return {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}


def before_0_13(state):
    """As torchvision named the layers of the pyramid and of the RPN then."""
    return {
        name.replace("rpn.head.conv.0.0.", "rpn.head.conv.")
        if name.startswith("rpn")
        else name.replace("_blocks.0.0.", "_blocks.0.").replace("_blocks.1.0.", "_blocks.1."): tensor
        for name, tensor in state.items()
    }


@pytest.mark.parametrize(
    "change",
    [
        frozen,
        before_0_13,
        lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
        lambda state: {"epoch": 3, "model": {f"model.{name}": tensor for name, tensor in state.items()}},
    ],
    ids=["frozen", "old names", "module", "wrapped"],
)
def test_state_dicts_come_in_many_shapes(state, old, tmp_path, change):
    changed = change(state)
    assert set(changed) != set(state)
    made = boxwright.adopt(reweighted(old, saved(changed), tmp_path / "in.mar"), TINY, store=tmp_path)
    own = torch.load(io.BytesIO(open_bundle(made.archive).weights), weights_only=True)
    assert set(own) == set(state)
    assert all(torch.equal(own[name], state[name]) for name in frozen(state))


def scripted():
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.trace(torch.nn.Linear(1, 1), torch.zeros(1)), buffer)
    return buffer.getvalue()


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
@pytest.mark.parametrize(
    ("weights", "culprit"),
    [
        (lambda state: scripted(), "TorchScript"),
        (lambda state: saved(torch.nn.Linear(1, 1)), "pickled network"),
        (lambda state: b"nonsense", "not a torch file"),
        (lambda state: saved([1, 2]), "no tensors by name"),
        (lambda state: saved({"weight": torch.zeros(1)}), r"class head roi_heads.box_predictor.cls_score"),
        (lambda state: saved({k: v for k, v in state.items() if "rpn.head.bbox" not in k}), "2 tensors are missing"),
        (lambda state: saved({**state, "more": torch.zeros(1)}), "1 tensors are not the network's: more"),
        (
            lambda state: saved({**state, "rpn.head.bbox_pred.bias": torch.zeros(7)}),
            r"rpn.head.bbox_pred.bias \[7\], not \[12\]",
        ),
    ],
    ids=["script", "network", "nonsense", "list", "other", "missing", "more", "shape"],
)
def test_weights_that_are_not_the_networks_are_refused(old, state, tmp_path, weights, culprit):
    other = reweighted(old, weights(state), tmp_path / "other.mar")
    with pytest.raises(ModelError, match=culprit):
        boxwright.adopt(other, TINY, store=tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_code_in_old_weights_is_not_run(old, tmp_path):
    other = reweighted(old, pickled_code(tmp_path / "canary"), tmp_path / "other.mar")
    with pytest.raises(ModelError, match="needs its code"):
        boxwright.adopt(other, TINY, store=tmp_path / "store")
    assert [path.name for path in tmp_path.iterdir()] == ["other.mar"]


def test_old_archives_are_read_as_strictly_as_ours(old, tmp_path):
    hostile = tmp_path / "hostile.mar"
    hostile.write_bytes(packed({**members_of(old), "../evil.py": b""}))
    with pytest.raises(ArchiveError, match="unsafe"):
        boxwright.adopt(hostile, TINY, store=tmp_path / "store")


@pytest.mark.parametrize(
    ("manifest", "culprit"),
    [
        ({}, "malformed"),
        ({"model": {"serializedFile": "gone.pth"}}, r"cannot be told: gone\.pth"),
        ({"model": {"serializedFile": ["state.pth"]}}, "cannot be told"),
        ({"model": {"modelName": "../old"}}, r"'\.\./old'"),
    ],
)
def test_a_manifest_that_does_not_say_is_refused(old, tmp_path, manifest, culprit):
    target = tmp_path / "other.mar"
    target.write_bytes(packed({**members_of(old), MANIFEST: json.dumps(manifest).encode()}))
    with pytest.raises(BoxwrightError, match=culprit):
        boxwright.adopt(target, TINY, store=tmp_path / "store")


def test_a_bare_manifest_is_enough(old, tmp_path):
    target = tmp_path / "bare.mar"
    target.write_bytes(packed({**members_of(old), MANIFEST: b'{"model": {}, "createdOn": "yesterday"}'}))
    bundle = open_bundle(boxwright.adopt(target, TINY, store=tmp_path / "store").archive)
    assert (bundle.spec.name, bundle.version) == ("bare", "1.0")


def test_an_archive_is_not_replaced_by_its_own_adoption(old, tmp_path):
    place = shutil.copy(old, tmp_path / "old.mar")
    before = place.read_bytes()
    with pytest.raises(
        ConfigError, match=r"old\.mar: the new archive would replace it\. Give another --store or --name"
    ):
        adoption.adopt(place, TINY, store=tmp_path, name="old")
    assert place.read_bytes() == before


def test_files_that_are_no_old_archive_are_refused(old, mar, state, tmp_path):
    tar = make_old(tmp_path / "tar", saved(state), SHAPES, **{"--archive-format": "tgz"})
    text = tmp_path / "text.mar"
    text.write_text("hello")
    for place, culprit in ((tar, "a tar.gz"), (text, "not a zip"), (mar, "already"), (tmp_path, "no such file")):
        with pytest.raises(ArchiveError, match=culprit):
            boxwright.adopt(place, TINY, store=tmp_path / "store")
    without = make_old(tmp_path / "without", saved(state), None)
    with pytest.raises(ArchiveError, match=r"no index_to_name\.json.*--classes"):
        boxwright.adopt(without, TINY, store=tmp_path / "store")
    with pytest.raises(ModelError, match="Did you mean 'fasterrcnn_tiny_fpn'"):
        boxwright.adopt(old, "fasterrcnn_tiny", store=tmp_path / "store")
    with pytest.raises(BoxwrightError, match="tensors are"):
        boxwright.adopt(old, "fasterrcnn_mobilenet_v2_fpn", store=tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_classes_may_come_from_a_file(old, tmp_path):
    (tmp_path / "names.txt").write_text("rond\n\ncarré\ntriangle\n", encoding="utf-8")
    made = boxwright.adopt(old, TINY, classes=tmp_path / "names.txt", store=tmp_path)
    assert made.spec.class_names == ("rond", "carré", "triangle")


@pytest.mark.parametrize(
    ("document", "read"),
    [
        ({"0": "__background__", "1": "a", "2": "b"}, "0 ('__background__') is the background"),
        ({"0": "Roboflow's parent", "1": "a", "2": "b"}, "parent"),
        ({"1": "a", "2": "b"}, "counts from 1"),
        ({"0": "a", "1": "b"}, "neighbour's name"),
        ({"2": ["n2", "b"], "1": ["n1", "a"]}, "counts from 1"),
        ({"object_type_names": ["background", "a", "b"]}, "is the background"),
        (["a", "b"], "order is that of the labels"),
        (["bg", "a", "b"], "is the background"),
    ],
)
def test_both_ways_to_count_are_told_apart_by_the_head(document, read):
    classes, how = classes_of_map(document, labels=3, source="map")
    assert [(entry.id, entry.name) for entry in classes] == [(1, "a"), (2, "b")]
    assert read in how


@pytest.mark.parametrize(
    "document",
    [
        {"0": "background", "1": "a"},  # one name is missing: which?
        {"1": "a", "3": "b"},
        {"0": "a"},
        {"0": "x", "1": "a", "2": "b", "3": "c"},
        ["a"],
        [],
        {},
        {"one": "a", "two": "b"},
        {"1": "a", "01": "b"},
        {"1": 1, "2": 2},
        "a",
        7,
    ],
)
def test_a_map_that_cannot_be_understood_asks_for_classes(document):
    with pytest.raises(ArchiveError, match="--classes"):
        classes_of_map(document, labels=3, source="map")


def test_the_epsilon_is_torchvisions_unless_the_weights_are_its_coco_weights(old, tmp_path, monkeypatch):
    resnet = "fasterrcnn_resnet50_fpn"
    options, why = adoption._network_options(None, resnet, b"someone's")
    assert (options, "--norm-eps 0" in why) == ({}, True)
    assert boxwright.adopt(old, TINY, norm_eps=0.0, store=tmp_path).spec.network == {"norm_eps": 0.0}
    with pytest.raises(BoxwrightError, match="norm_eps"):
        boxwright.adopt(old, TINY, norm_eps=-1.0, store=tmp_path)
    digest = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"  # of b"secret"
    monkeypatch.setattr("boxwright.models.weights.hub_file_name", lambda *_: f"fasterrcnn-{digest[:8]}.pth")
    assert adoption._network_options(None, resnet, b"secret")[0] == {"norm_eps": 0.0}


@pytest.mark.parametrize(
    ("arguments", "culprit"),
    [
        (["nothing.mar", "--model", TINY], "nothing.mar: no such file"),
        (["{old}", "--model", "yolo"], "'yolo' is unknown"),
        (["{old}", "--model", TINY, "--image-size", "big"], "--image-size 'big'"),
        (["{old}", "--model", TINY, "--image-size", "100"], "multiple of 32"),
        (["{old}", "--model", TINY, "--name", "a/b"], "'a/b'"),
        (["{old}", "--model", TINY, "--classes", "nowhere.txt"], "nowhere.txt: cannot be read"),
    ],
)
def test_wrong_input_gives_one_error(old, tmp_path, monkeypatch, capsys, arguments, culprit):
    from boxwright.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["boxwright", "adopt", *(word.format(old=old) for word in arguments)])
    with pytest.raises(SystemExit) as left:
        main()
    printed = capsys.readouterr()
    assert left.value.code == 2
    assert culprit in printed.err
    assert printed.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
