"""One of transformers' detectors from a folder of weights to TorchServe, which has no transformers."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import boxwright
from boxwright.inputs import Predictor
from boxwright.runtime import ClassEntry, InputSpec, ModelSpec, OperatingPoint
from boxwright.runtime.networks.transformers_detectors import kind_of, load_class, transformers_config
from support.networks import small_options
from support.torchserve import ask, torchserve

MODEL = "dfine_n"
CANVAS = 128


@pytest.fixture(scope="module")
def trained(demo_data, tmp_path_factory):
    """A run that began with a folder of small random weights, of another number of classes."""
    place = tmp_path_factory.mktemp("transformers")
    entries = tuple(ClassEntry(number, str(number)) for number in range(7))
    spec = ModelSpec("m", MODEL, entries, InputSpec(CANVAS, CANVAS), small_options(MODEL))
    torch.manual_seed(0)
    load_class(kind_of(MODEL).network)(transformers_config(spec)).save_pretrained(place / "weights")
    result = boxwright.train(
        data=demo_data,
        model=MODEL,
        weights=str(place / "weights"),
        image_size=CANVAS,
        learning_rate=2e-3,
        freeze_batchnorm=False,
        trainable_stages=4,
        epochs=5,
        batch_size=8,
        name="small",
        out=place,
        wandb="off",
        workers=0,
    )
    assert result.spec is not None
    point = replace(result.spec, operating_point=OperatingPoint(0.02))  # faint detections too: there is more to compare
    (result.folder / "spec.json").write_text(point.to_json())
    return result.folder


@pytest.fixture(scope="module")
def mar(trained, tmp_path_factory):
    return boxwright.archive(trained, store=tmp_path_factory.mktemp("store"))


def test_it_learns_and_remembers_how_it_is_built(trained):
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    losses = [line["train/loss"] for line in lines if "train/loss" in line]
    assert losses[-1] < 0.8 * losses[0]
    spec = ModelSpec.load(trained / "spec.json")
    assert spec.network["config"]["d_model"] == small_options(MODEL)["config"]["d_model"]
    assert spec.input.resize == "stretch"


def test_exports_are_proved(mar):
    exports = boxwright.inspect(mar).spec.exports
    assert {"onnxruntime-fp32", "openvino-fp32"} <= set(exports)


def test_torchserve_without_transformers_gives_the_same_boxes(mar, demo_data, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['transformers'] = None\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]))
    folder = tmp_path / "torchserve"
    folder.mkdir()
    predictor, total = Predictor(mar), 0
    with torchserve(mar, folder, 1) as url:
        for path in sorted(Path(demo_data / "test").glob("*.jpg"))[:4]:
            status, answer = ask(url, path.read_bytes())
            expected = predictor(path).to_answer(predictor.spec.class_names)
            assert status == 200, answer
            assert [list(one) for one in answer] == [list(one) for one in expected]
            for theirs, ours in zip(answer, expected, strict=True):
                for name in ours:
                    assert theirs[name] == pytest.approx(ours[name], abs=1e-3)
            total += len(expected)
    assert total >= 20
