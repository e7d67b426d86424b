"""What an ONNX file says of its model, and the program of docs/export.md that needs nothing else."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from boxwright.exporting.exports import graph_files
from boxwright.exporting.onnx import export_onnx, metadata_of
from boxwright.exporting.quantize import quantize
from boxwright.inputs import Predictor
from boxwright.parity.reference import Reference
from boxwright.runtime import OperatingPoint, open_bundle
from boxwright.runtime.backends.graph import ONNX
from boxwright.runtime.backends.torch import load_network
from support.networks import canvases, spec_of

PAGE = Path(__file__).parents[2] / "docs" / "export.md"
(PROGRAM,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def said_by(graph):
    session = onnxruntime.InferenceSession(graph)
    return {key: json.loads(text) for key, text in session.get_modelmeta().custom_metadata_map.items()}


def require_same(said, spec):
    assert said["classes"] == list(spec.class_names)
    assert said["thresholds"] == list(spec.operating_point.thresholds(spec.class_names))
    assert said["canvas"] == {"width": spec.input.width, "height": spec.input.height}
    for key in ("resize", "pad", "mean", "std"):
        assert said[key] == json.loads(json.dumps(getattr(spec.input, key)))
    assert (said.get("tile"), said["architecture"]) == (spec.input.tile, spec.architecture)


def test_the_archives_graph_says_what_its_specification_says(mar):
    bundle = open_bundle(mar)
    said = said_by(bundle.read(ONNX))
    require_same(said, bundle.spec)
    assert said["run"] == "tiny"


def test_the_exported_and_the_quantised_file_say_the_same(run):
    reference = Reference.of(run, None)
    with graph_files(reference, {ONNX}) as files:
        graph = files[ONNX].result()
    require_same(said_by(graph), reference.spec)
    quantised = quantize(graph, [one[None] for one in canvases(1, reference.spec.input.height)])
    assert said_by(quantised) == said_by(graph)


def test_thresholds_by_class_odd_names_and_windows_are_said():
    spec = spec_of("fasterrcnn_tiny_fpn", 96, 160)
    entries = tuple(replace(one, name=f'{one.name} "ü" \N{FISH}, location') for one in spec.classes)
    point = OperatingPoint(0.4, per_class={entries[1].name: 0.7}, by_class=True)
    spec = replace(
        spec, classes=entries, operating_point=point, name="location", input=replace(spec.input, tile=64, overlap=0.25)
    )
    said = {key: json.loads(text) for key, text in metadata_of(spec).items()}
    require_same(said, spec)
    assert said["thresholds"] == [0.4, 0.7, 0.4]
    assert said["overlap"] == 0.25
    assert "location" not in metadata_of(spec).values(), "it would be taken for a file outside the archive"


def test_the_program_of_the_page_is_short_and_needs_no_more_than_it_says():
    assert len([line for line in PROGRAM.splitlines() if line.strip()]) <= 21
    assert set(re.findall(r"^(?:import|from) (\w+)", PROGRAM, re.MULTILINE)) == {"json", "numpy", "onnxruntime", "PIL"}


@pytest.mark.parametrize("resize", ["letterbox", "stretch"])
def test_the_program_of_the_page_finds_what_the_predictor_finds(run, demo_data, tmp_path, resize):
    bundle = open_bundle(run)
    spec = replace(bundle.spec, input=replace(bundle.spec.input, resize=resize), operating_point=OperatingPoint(0.05))
    (tmp_path / "my-run.onnx").write_bytes(export_onnx(load_network(bundle), spec))
    with Image.open(next((demo_data / "test").glob("*.jpg"))) as picture:
        exif = picture.getexif()
        exif[0x0112] = 6
        picture.crop((0, 0, picture.width, picture.height * 3 // 4)).save(tmp_path / "picture.jpg", exif=exif)
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    predictor = Predictor(replace(bundle, spec=spec), backend="torch")
    found = predictor(tmp_path / "picture.jpg")
    assert len(found) > 0
    rows = [line.rsplit(" ", 5) for line in done.stdout.splitlines()]
    assert [row[0] for row in rows] == [spec.class_names[label] for label in found.labels]
    assert np.allclose([float(row[1]) for row in rows], found.scores, atol=1e-3)
    assert np.allclose([[float(edge) for edge in row[2:]] for row in rows], found.boxes, atol=0.05)
