"""What of a network can be known before the data is read."""

import pytest

import boxwright
from boxwright.config import load_config
from boxwright.runtime import ConfigError
from boxwright.training.preparation import require_stages


@pytest.mark.parametrize(("model", "stages"), [("fasterrcnn_tiny_fpn", 4), ("ssdlite320_mobilenet_v3_large", 5)])
def test_more_stages_than_there_are_are_refused(model, stages):
    settings = {"data": "data", "model": model}
    for sound in (None, 0, stages, "all"):
        require_stages(load_config(None, {**settings, "trainable_stages": sound}))
    with pytest.raises(ConfigError, match=rf"trainable_stages = {stages + 1}: the backbone of {model} has {stages}\."):
        require_stages(load_config(None, {**settings, "trainable_stages": stages + 1}))


def test_they_are_refused_before_the_data_is_read(tmp_path):
    for split in ("train", "valid"):
        (tmp_path / "data" / split).mkdir(parents=True)
        (tmp_path / "data" / split / "_annotations.coco.json").write_text("no JSON")
    with pytest.raises(ConfigError, match="trainable_stages = 99"):
        boxwright.train(tmp_path / "data", model="fasterrcnn_tiny_fpn", trainable_stages=99, out=tmp_path / "runs")
