import io

import pytest
from rich.console import Console

import boxwright
from boxwright.config import load_config
from boxwright.runtime import ConfigError
from boxwright.training.settings import resolve_settings


@pytest.mark.parametrize(
    ("model", "given", "resolved"),
    [
        ("fasterrcnn_tiny_fpn", None, "letterbox"),
        ("dfine_n", None, "stretch"),
        ("dfine_n", "letterbox", "letterbox"),
        ("fasterrcnn_tiny_fpn", "stretch", "stretch"),
    ],
)
def test_pictures_are_laid_as_the_architecture_wants_unless_told_otherwise(tmp_path, model, given, resolved):
    config = load_config(None, {"data": tmp_path, "model": model, "resize": given, "gpus": 0, "wandb": "off"})
    assert resolve_settings(config, Console(quiet=True)).resize == resolved


def test_from_scratch_although_there_are_whole_detectors_is_said(demo_data, tmp_path):
    text = io.StringIO()
    boxwright.train(
        data=demo_data,
        model="ssdlite320_mobilenet_v3_large",
        image_size=64,
        fast_dev_run=True,
        out=tmp_path,
        wandb="off",
        workers=0,
        console=Console(file=text, width=200),
    )
    assert "training from scratch, which needs far more pictures and epochs than --weights coco" in text.getvalue()


def test_more_devices_than_pictures_of_a_batch_are_refused_before_any_starts(demo_data, tmp_path):
    with pytest.raises(ConfigError, match=r"batch_size = 4: fewer pictures than the 1000 devices that share them\."):
        boxwright.train(data=demo_data, out=tmp_path, devices=1000, gpus=0, wandb="off")
    assert not list(tmp_path.iterdir())
