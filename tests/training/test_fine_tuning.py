"""Runs that start from other runs. A detector trained on drawn shapes stands in for one trained on COCO."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml

import boxwright
from boxwright.data import ANNOTATIONS, draw_demo_data
from boxwright.models.detector import Detector
from boxwright.models.weights import load_weights
from boxwright.runtime import ClassEntry, ModelError, ModelSpec
from support.networks import canvases

SSD = "ssdlite320_mobilenet_v3_large"
STILL = {"epochs": 1, "batch_size": 8, "wandb": "off", "workers": 0, "learning_rate": 1e-9, "augmentation": "none"}


def relabelled(data, place, classes):
    """The same pictures with other category ids and names, by the old name."""
    shutil.copytree(data, place, ignore=shutil.ignore_patterns("test"))
    for split in ("train", "valid"):
        file = place / split / ANNOTATIONS
        document = json.loads(file.read_text())
        ids = {one["id"]: classes[one["name"]][0] for one in document["categories"] if one["name"] in classes}
        document["categories"] = [{"id": number, "name": name} for number, name in classes.values()]
        for annotation in document["annotations"]:
            annotation["category_id"] = ids[annotation["category_id"]]
        file.write_text(json.dumps(document))
    return place


def figures_of(run):
    """The last figures, the average precision of each class by name among them."""
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["boxwright"]["figures"]
    return checkpoint["map"], {name.casefold(): one["map"] for name, one in checkpoint["per_class"].items()}


@pytest.fixture(scope="module")
def measured(run, demo_data, tmp_path_factory):
    """The tiny run measured once more, on its own data: figures to start from."""
    out = tmp_path_factory.mktemp("again")
    result = boxwright.train(
        data=demo_data, model="fasterrcnn_tiny_fpn", weights=str(run), name="own", out=out, **STILL
    )
    return figures_of(result.folder)


def test_the_same_classes_in_another_order_are_as_good_from_the_start(run, measured, demo_data, tmp_path, capsys):
    classes = {"triangle": (1, "Triangle"), "circle": (2, "circle"), "square": (3, "SQUARE")}
    data = relabelled(demo_data, tmp_path / "data", classes)
    model = {"model": "fasterrcnn_tiny_fpn", "weights": str(run / "model_state_dict.pth")}
    result = boxwright.train(data=data, name="other", out=tmp_path, **model, **STILL)
    text = " ".join(capsys.readouterr().out.split())
    assert "class head by name: kept Triangle, circle, SQUARE; new none" in text
    whole, by_class = figures_of(result.folder)
    assert measured[0] > 0.01
    assert whole == pytest.approx(measured[0], abs=1e-6)
    assert by_class == pytest.approx(measured[1], abs=1e-6)
    assert yaml.safe_load((result.folder / "config.yaml").read_text())["freeze_batchnorm"] is True


def test_a_class_that_is_new_starts_anew_beside_those_that_are_kept(run, measured, demo_data, tmp_path, capsys):
    """A subset under other ids, with one more class: the file's softmax has a rival, its boxes are the same."""
    classes = {"hexagon": (1, "hexagon"), "square": (2, "square"), "circle": (3, "circle"), "triangle": (9, "cone")}
    data = relabelled(demo_data, tmp_path / "data", classes)
    model = {"model": "fasterrcnn_tiny_fpn", "weights": str(run)}
    result = boxwright.train(data=data, name="other", out=tmp_path, **model, **STILL)
    text = " ".join(capsys.readouterr().out.split())
    assert "class head by name: kept square, circle; new hexagon, cone" in text
    by_class = figures_of(result.folder)[1]
    assert by_class["square"] + by_class["circle"] > 0.5 * (measured[1]["square"] + measured[1]["circle"])


def test_weights_whose_classes_have_no_names_are_taken_with_a_warning(run, demo_data, tmp_path, capsys):
    shutil.copy(run / "model_state_dict.pth", tmp_path / "w.pth")
    model = {"model": "fasterrcnn_tiny_fpn", "weights": str(tmp_path / "w.pth")}
    boxwright.train(data=demo_data, name="other", out=tmp_path, fast_dev_run=True, **model, **STILL)
    text = " ".join(capsys.readouterr().out.split())
    assert "Warning: nothing says what the classes of these weights are called: they are taken to be circle" in text


def test_weights_of_another_architecture_stop_the_training_before_it_begins(run, demo_data, tmp_path):
    model = {"model": "fasterrcnn_mobilenet_v2_fpn", "weights": str(run / "checkpoints" / "best.ckpt")}
    with pytest.raises(ModelError, match=r"0 of the 260 tensors of the backbone of .* of 'fasterrcnn_tiny_fpn'"):
        boxwright.train(data=demo_data, name="other", out=tmp_path, **model, **STILL)
    assert not (tmp_path / "other").exists()


@pytest.fixture(scope="module")
def single_stage(tmp_path_factory):
    """A run of an SSD that has seen a few pictures."""
    place = tmp_path_factory.mktemp("ssd")
    data = draw_demo_data(place / "data", sizes={"train": 12, "valid": 2})
    settings = {**STILL, "learning_rate": 1e-4, "batch_size": 4, "image_size": 128, "precision": "fp32"}
    return boxwright.train(data=data, model=SSD, weights="none", name="ssd", out=place, **settings).folder


def rows_of(found, label):
    """Boxes and scores of a class, by place; without the faintest of a picture, of which equal ones are cut off."""
    kept = (found.labels == label) & (found.scores > found.scores.min() + 1e-5)
    rows = np.column_stack([found.boxes[kept], found.scores[kept]])
    return rows[np.lexsort(rows[:, :4].round(1).T)]


@pytest.mark.parametrize("architecture", ["fasterrcnn_tiny_fpn", SSD])
def test_detections_of_a_class_are_the_same_whatever_its_index(run, single_stage, architecture):
    source = single_stage if architecture == SSD else run
    spec = ModelSpec.load(source / "spec.json")
    permuted = replace(spec, classes=tuple(ClassEntry(1 + (entry.id + 1) % 3, entry.name) for entry in spec.classes))
    permuted = replace(permuted, classes=tuple(sorted(permuted.classes, key=lambda entry: entry.id)))
    assert permuted.class_names != spec.class_names
    found = []
    for one in (spec, permuted):
        detector = Detector(one)
        loaded = load_weights(detector.network, str(source), one)
        assert (loaded.head.kept, loaded.left, loaded.unused) == (one.class_names, (), ())
        found.append(detector.detect(torch.from_numpy(canvases(3, one.input.height, one.input.width))))
    for own, other in zip(*found, strict=True):
        assert len(own.scores)
        for label, name in enumerate(spec.class_names):
            ours, theirs = rows_of(own, label), rows_of(other, permuted.class_names.index(name))
            np.testing.assert_allclose(ours, theirs, atol=1e-3)
            np.testing.assert_allclose(ours[:, 4], theirs[:, 4], atol=1e-6)
