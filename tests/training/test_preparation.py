"""What of a network can be known before the data is read."""

import re

import pytest
from rich.console import Console

import boxwright
from boxwright.config import load_config
from boxwright.data import read_folder
from boxwright.runtime import ConfigError, InputSpec, ModelSpec
from boxwright.training.preparation import prepare, require_network
from boxwright.training.settings import resolve_settings


@pytest.mark.parametrize(("model", "stages"), [("fasterrcnn_tiny_fpn", 4), ("ssdlite320_mobilenet_v3_large", 5)])
def test_more_stages_than_there_are_are_refused(model, stages):
    settings = {"data": "data", "model": model}
    for sound in (None, 0, stages, "all"):
        require_network(load_config(None, {**settings, "trainable_stages": sound}))
    with pytest.raises(ConfigError, match=rf"trainable_stages = {stages + 1}: the backbone of {model} has {stages}\."):
        require_network(load_config(None, {**settings, "trainable_stages": stages + 1}))


def test_a_canvas_that_gets_too_small_is_refused():
    """At half of 320 pixels a side, D-FINE N has 125 places for 300 queries."""
    settings = {"data": "data", "model": "dfine_n", "image_size": 320}
    require_network(load_config(None, {**settings, "multi_scale": 0.2}))
    with pytest.raises(ConfigError, match=r"multi_scale = 0.5 is too much: Canvas 160 x 160 .* 125 places for 300"):
        require_network(load_config(None, {**settings, "multi_scale": 0.5}))


def test_a_resumed_run_whose_multi_scale_was_raised_is_refused_too(demo_data):
    console = Console(quiet=True)
    settings = {"data": demo_data, "model": "dfine_n", "image_size": 320, "multi_scale": 0.5, "wandb": "off"}
    config, folder = resolve_settings(load_config(None, settings), console), read_folder(demo_data, pixels=False)
    recorded = ModelSpec("begun", "dfine_n", folder.classes, InputSpec(320, 320))
    with pytest.raises(ConfigError, match=r"multi_scale = 0.5 is too much"):
        prepare(config, folder, console, recorded)


def test_windows_are_counted_and_a_tile_without_sense_is_told(demo_data, capsys):
    console, folder = Console(width=200), read_folder(demo_data, pixels=False)
    pictures = len(folder.splits["train"].pictures)
    for tile, warned in ((64, False), (2048, True)):
        settings = {
            "data": demo_data,
            "model": "fasterrcnn_tiny_fpn",
            "weights": "none",
            "tile": tile,
            "image_size": 64,
        }
        prepare(resolve_settings(load_config(None, {**settings, "wandb": "off"}), console), folder, console, None)
        told = capsys.readouterr().out
        count = int(re.search(rf"Windows of {tile} pixels: (\d+) in the {pictures} pictures of train", told)[1])
        assert (count == pictures) == warned == ("--tile brings nothing" in told)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"model": "fasterrcnn_tiny_fpn", "trainable_stages": 99}, "trainable_stages = 99"),
        ({"model": "dfine_n", "image_size": 320, "multi_scale": 0.5}, "multi_scale = 0.5"),
        ({"model": "auto", "image_size": 100}, "multiple of 32"),
    ],
)
def test_they_are_refused_before_the_data_is_read(tmp_path, settings, told):
    for split in ("train", "valid"):
        (tmp_path / "data" / split).mkdir(parents=True)
        (tmp_path / "data" / split / "_annotations.coco.json").write_text("no JSON")
    with pytest.raises(ConfigError) as caught:
        boxwright.train(tmp_path / "data", out=tmp_path / "runs", **settings)
    assert told in str(caught.value)
    assert not (tmp_path / "runs").exists()
