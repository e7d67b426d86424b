"""The gate opens for the archive as it is, and stays shut for every fault planted in the code that serves it."""

import shutil
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
from PIL import Image

import boxwright
from boxwright.evaluation.evaluate import detect_split
from boxwright.evaluation.operating import measured_spec
from boxwright.evaluation.results import RESULTS, SplitResults
from boxwright.metrics.objective import Objective
from boxwright.parity import pictures
from boxwright.parity.reference import Reference
from boxwright.release import ReleaseOptions, release
from boxwright.release.releasing import check_archive
from boxwright.runtime import (
    ArchiveError,
    DataError,
    Detections,
    InputSpec,
    ModelSpec,
    OutOfTolerance,
    PicturePredictor,
    bundle,
    open_bundle,
)
from boxwright.serving import calls
from boxwright.tuning import choice
from support.command_line import boxwright as command

torchvision, picture, tiling = (
    import_module(f"boxwright.runtime.{name}") for name in ("networks.torchvision", "picture", "tiling")
)


@pytest.fixture(scope="module")
def small(run, demo_data, tmp_path_factory):
    """The run on a canvas half as large as its pictures, so that resizing them matters, measured there anew."""
    folder = tmp_path_factory.mktemp("small") / "small"
    shutil.copytree(run, folder, ignore=shutil.ignore_patterns("checkpoints"))
    spec = replace(ModelSpec.load(folder / "spec.json"), name="small", input=InputSpec(96, 96))
    (folder / "spec.json").write_text(spec.to_json())
    results, _ = detect_split(folder, demo_data, "valid")
    results.save(folder / RESULTS)
    spec = measured_spec(replace(spec, measured={}), results, Objective.parse("f2"))
    assert any(len(one.filter_by_score(spec.operating_point.threshold)) > 2 for one in results.detections)
    assert any(
        len(one.filter_by_score(0.0)) > len(one.filter_by_score(spec.operating_point.threshold))
        for one in results.detections
    )
    (folder / "spec.json").write_text(spec.to_json())
    return folder


def gated(run, data, store):
    """Without exports: their proof would refuse most faults before the gate sees them."""
    return boxwright.archive(run, store=store, gate=True, data=data, precisions=())


def test_the_archive_as_it_is_passes_and_the_command_prints_what_was_compared(small, demo_data, tmp_path):
    done = command("archive", small, "--store", tmp_path / "store", "--gate", "--data", demo_data)
    assert done.returncode == 0, done.stderr
    assert "Gate: 16 pictures of valid with" in done.stdout
    assert "39 other encodings" in done.stdout
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["small.mar"]
    ungated = boxwright.archive(small, store=tmp_path / "ungated", data=demo_data)
    assert (tmp_path / "store" / "small.mar").read_bytes() == ungated.read_bytes()


@pytest.fixture
def plant(monkeypatch):
    """Faults by name, each put where an edit of the code would put it."""
    original = {
        "decode": tiling.decode,
        "detections": torchvision.detections_from_output,
    }

    def bgr(source, *limits):
        return Image.fromarray(np.ascontiguousarray(np.asarray(original["decode"](source, *limits))[..., ::-1]))

    def without_antialias(image, size, resample):
        reduced = image.transform(size, Image.Transform.EXTENT, (0, 0, *image.size), Image.Resampling.BILINEAR)
        assert resample == Image.Resampling.BILINEAR
        return reduced

    def nearest(image, size, resample):
        return resize(image, size, Image.Resampling.NEAREST)

    def other_mean(network, images):
        return network_input(network, images) + 0.3

    def shifted(output):
        found = original["detections"](output)
        return Detections(found.boxes, found.scores, (found.labels + 1) % 3)

    resize, network_input = Image.Image.resize, torchvision.CanvasTransform.normalized
    faults = {
        "BGR for RGB": (tiling, "decode", bgr),
        "nearest neighbour": (Image.Image, "resize", nearest),
        "no antialias": (Image.Image, "resize", without_antialias),
        "a wrong mean": (torchvision.CanvasTransform, "normalized", other_mean),
        "classes shifted by one": (torchvision, "detections_from_output", shifted),
        "threshold not applied": (calls, "_reported", lambda model, detections, threshold: detections),
        "EXIF ignored": (picture, "orientation", lambda image: 1),
    }
    return lambda fault: monkeypatch.setattr(*faults[fault])


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("BGR for RGB", r"Boxes: \d+ of 16 pictures differ, above all picture 'shapes_\d+\.jpg': .*of score"),
        ("nearest neighbour", r"Boxes: \d+ of 16 pictures differ, above all picture"),
        ("no antialias", r"Boxes: \d+ of 16 pictures differ, above all picture"),
        ("a wrong mean", r"Boxes: \d+ of 16 pictures differ, above all picture"),
        ("classes shifted by one", r"Boxes: .* of them under another class"),
        ("threshold not applied", r"Boxes: .* of them below the threshold"),
        ("EXIF ignored", r"Probes: 2?\d of 39 encodings .* picture 'shapes_\d+\.jpg as PNG with EXIF orientation 2':"),
    ],
    ids=lambda text: text if ":" not in text else "",
)
def test_a_planted_fault_is_refused(small, demo_data, tmp_path, plant, fault, message):
    earlier = tmp_path / "small.mar"
    earlier.write_bytes(b"released before")
    plant(fault)
    with pytest.raises(OutOfTolerance, match=message) as refused:
        gated(small, demo_data, tmp_path)
    assert refused.value.exit_code == 1
    assert str(refused.value).startswith("small: the gate stays shut, the archive was not released.")
    assert earlier.read_bytes() == b"released before"
    assert list(tmp_path.iterdir()) == [earlier]


def test_exif_alone_is_caught_by_the_probes_alone(small, demo_data, tmp_path, plant):
    """Its pictures carry no orientation, so that the validation figures cannot tell."""
    mar = boxwright.archive(small, store=tmp_path, precisions=())
    plant("EXIF ignored")
    report = check_archive(open_bundle(mar), Reference.of(small, demo_data))
    assert [sentence.split(":")[0] for sentence in report.failures] == ["Probes"]
    differing = {one.name.split(" ", 1)[1] for one in report.probes if one.wrong}
    assert differing == {f"as PNG with EXIF orientation {turn}" for turn in range(2, 9)}


def test_what_cannot_be_served_is_not_released(small, demo_data, tmp_path, monkeypatch):
    def broken(predictor, prepared):
        raise RuntimeError("out of luck")

    monkeypatch.setattr(PicturePredictor, "detect", broken)
    with pytest.raises(OutOfTolerance, match=r"small: the gate stays shut.*every picture with an error, the first 503"):
        gated(small, demo_data, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_picture_that_is_refused_is_named(small, demo_data, tmp_path, monkeypatch):
    decode, refused = tiling.decode, (demo_data / "valid" / "shapes_0003.jpg").read_bytes()

    def picky(source, *limits):
        return decode(b"" if source == refused else source, *limits)

    monkeypatch.setattr(tiling, "decode", picky)
    with pytest.raises(OutOfTolerance, match=r"1 of 16 pictures were refused, first 'shapes_0003\.jpg' with 415: "):
        gated(small, demo_data, tmp_path)


def test_a_store_that_was_not_there_is_not_left_behind(small, demo_data, tmp_path, plant):
    plant("classes shifted by one")
    with pytest.raises(OutOfTolerance):
        gated(small, demo_data, tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_the_command_ends_with_1_where_the_gate_stays_shut(small, demo_data, tmp_path):
    """The detections of another training: every one of them a tenth surer."""
    folder = tmp_path / "other"
    shutil.copytree(small, folder)
    results = SplitResults.load(folder / RESULTS)
    surer = [Detections(one.boxes, np.minimum(one.scores * 1.1, 1.0), one.labels) for one in results.detections]
    replace(results, detections=tuple(surer)).save(folder / RESULTS)
    options = ["--store", tmp_path / "store", "--gate", "--no-export", "--data", demo_data]
    done = command("archive", folder, *options)
    assert done.returncode == 1, done.stderr
    assert "Boxes:" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "store").exists()


def test_what_the_gate_needs_is_named(small, demo_data, tmp_path):
    with pytest.raises(DataError, match=r"16 of the 16 .* 'shapes_0000\.jpg' among them.*--data FOLDER"):
        gated(small, tmp_path, tmp_path / "store")
    bare = tmp_path / "bare"
    shutil.copytree(small, bare)
    (bare / "config.yaml").unlink()
    with pytest.raises(DataError, match=r"does not say where its pictures are.*--data FOLDER"):
        gated(bare, None, tmp_path / "store")
    (bare / RESULTS).unlink()
    with pytest.raises(ArchiveError, match="no readable detections"):
        gated(bare, demo_data, tmp_path / "store")


def test_pictures_are_decoded_once_and_the_archive_is_verified_once(small, demo_data, tmp_path, monkeypatch):
    """For four executions and the gate, which serves the one that was fastest in the proofs."""
    decoded, verified, timed = [], [], []
    prepare, open_archive, warm_up = pictures.prepare, bundle._open_archive, choice.warm_up
    monkeypatch.setattr(pictures, "prepare", lambda path, *rest: decoded.append(path) or prepare(path, *rest))
    monkeypatch.setattr(bundle, "_open_archive", lambda path: verified.append(path) or open_archive(path))
    monkeypatch.setattr(choice, "warm_up", lambda *one: timed.append(one) or warm_up(*one))
    options = ReleaseOptions(store=tmp_path, precisions=("fp32", "bf16"), data=demo_data, tolerance=1.0, gate=True)
    released = release(small, options)
    assert len(released.spec.exports) == 4
    assert sorted(decoded) == sorted((demo_data / "valid").glob("*.jpg"))
    assert (len(verified), len(timed)) == (1, 0)
    assert released.report.variant in released.spec.exports
    assert open_bundle(released.path).spec == released.spec


def test_an_archive_without_weights_passes_with_what_was_proved_of_its_graphs(small, demo_data, tmp_path):
    """Whatever was fastest: the network itself, which runs from the weights, is no longer there to be served."""
    proved = ("fp32", "bf16")
    options = ReleaseOptions(store=tmp_path, precisions=proved, data=demo_data, tolerance=1.0, gate=True, weights=False)
    released = release(small, options)
    inside = open_bundle(released.path)
    assert released.report is not None
    assert bundle.WEIGHTS not in inside.members
    assert "onnxruntime-fp32" in inside.spec.exports
    assert not any(one.startswith("torch") for one in inside.spec.exports)
    assert "Where it fails" in str(inside.card)
