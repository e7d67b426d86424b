"""A run that sees large pictures in windows: its figure is that of evaluate, of the archive and of the server."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageDraw

import boxwright
from boxwright.parity.endpoint import evaluate_endpoint
from boxwright.runtime import ConfigError, ModelSpec, PicturePredictor, open_bundle
from boxwright.runtime.torchserve import Handler
from boxwright.serving.engine import load_models
from boxwright.serving.server import background_server
from boxwright.tracking.metrics_file import read_metrics

SETTINGS = {
    "model": "fasterrcnn_tiny_fpn",
    "weights": "none",
    "tile": 128,
    "overlap": 0.25,
    "wandb": "off",
    "workers": 1,
    "batch_size": 8,
    "epochs": 4,
    "augmentation": "none",
}


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Pictures of 300 x 260 pixels with squares of 10 to 24."""
    root, random = tmp_path_factory.mktemp("large") / "data", np.random.default_rng(0)
    for split, count in (("train", 6), ("valid", 3)):
        (root / split).mkdir(parents=True)
        images, annotations = [], []
        for number in range(count):
            picture = Image.new("RGB", (300, 260), (90, 110, 100))
            for _ in range(12):
                side = int(random.integers(10, 24))
                x, y = (int(random.integers(0, room - side)) for room in picture.size)
                ImageDraw.Draw(picture).rectangle((x, y, x + side - 1, y + side - 1), (220, 60, 40))
                box = {"id": len(annotations), "image_id": number, "category_id": 1, "bbox": [x, y, side, side]}
                annotations.append({**box, "area": side * side, "iscrowd": 0})
            picture.save(root / split / f"{number}.png")
            images.append({"id": number, "file_name": f"{number}.png", "width": 300, "height": 260})
        document = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "square"}]}
        (root / split / "_annotations.coco.json").write_text(json.dumps(document))
    return root


@pytest.fixture(scope="module")
def run(large, tmp_path_factory):
    return boxwright.train(data=large, out=tmp_path_factory.mktemp("runs"), name="tiles", **SETTINGS).folder


def test_the_figure_of_training_is_that_of_everything_after(run, large, tmp_path):
    spec = ModelSpec.load(run / "spec.json")
    assert (spec.input.tile, spec.input.overlap, spec.input.height) == (128, 0.25, 128)
    trained = max(line["val/f2"] for line in read_metrics(run) if "val/f2" in line)
    assert trained > 0.2
    measured = boxwright.evaluate(run, large)
    assert (measured.figures.f2, measured.figures.map) == (trained, spec.measured["valid"]["map"])
    mar = boxwright.archive(run, store=tmp_path, gate=True)
    served = boxwright.evaluate(mar, large).figures
    assert served.f2 == pytest.approx(trained, abs=1e-3)
    with background_server(load_models([mar])) as url:
        asked = evaluate_endpoint(mar, large, url=url)
    assert not asked.failures
    assert asked.figures["f2"] == pytest.approx(served.f2, abs=1e-6)


def test_a_picture_is_seen_in_windows_and_as_a_whole(run, large):
    predictor = PicturePredictor(open_bundle(run))
    prepared = predictor.prepare(large / "valid" / "0.png")
    assert prepared.canvases.shape == (1 + 3 * 3, 3, 128, 128)
    small = Image.open(large / "valid" / "0.png").crop((0, 0, 128, 100))
    assert predictor.prepare(small).canvases.shape == (1, 3, 128, 128)


def test_torchserves_handler_sees_the_same_windows(run, large):
    handler = Handler()
    context = SimpleNamespace(system_properties={"model_dir": str(run)})
    handler(None, context)
    picture = (large / "valid" / "1.png").read_bytes()
    predictor = PicturePredictor(open_bundle(run))
    expected = predictor(picture)
    assert len(expected)
    assert handler([{"body": picture}], context) == [expected.to_answer(["square"])]


def test_a_cache_cannot_be_used_yet(large, tmp_path):
    with pytest.raises(ConfigError, match="with tile there is no cache yet"):
        boxwright.train(data=large, out=tmp_path, cache="ram", **SETTINGS)
