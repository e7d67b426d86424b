from pathlib import Path

import numpy as np
import pytest

import boxwright
from boxwright.config import TrainConfig, load_config
from boxwright.data import PictureRecord, Split, draw_demo_data
from boxwright.models import CATALOGUE
from boxwright.training.choice import choose


def split_of(pictures, size=(640, 640), side=100.0):
    """Pictures (height, width) that each hold one square box of ``side`` pixels."""
    height, width = size
    boxes = np.array([[10.0, 10.0, 10.0 + side, 10.0 + side]])
    one = PictureRecord(
        1, Path("a.jpg"), width, height, boxes, np.zeros(1, int), np.zeros(1, bool), np.array([side**2])
    )
    return Split("train", (one,) * pictures)


def chosen(split, device="cpu", **settings):
    return {one.key: one.value for one in choose(TrainConfig(data="here", **settings), split, device)}


def test_a_processor_does_not_get_a_resnet():
    assert chosen(split_of(10))["model"] == "fasterrcnn_mobilenet_v2_fpn_v2"
    assert "resnet50" in chosen(split_of(10), "cuda")["model"]
    assert {chosen(split_of(3), device)["model"] for device in ("cpu", "cuda")} <= set(CATALOGUE)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_cocos_weights_are_there_for_what_is_chosen_with_them(device):
    assert CATALOGUE[chosen(split_of(3), device, weights="coco")["model"]].coco_weights


@pytest.mark.parametrize(
    ("size", "side", "device", "canvas"),
    [
        ((640, 640), 300, "cpu", (320, 320)),  # large objects need no large canvas
        ((1024, 1024), 60, "cpu", (416, 416)),  # 60 pixels become 24.4
        ((2000, 2000), 20, "cpu", (512, 512)),  # never seen well: the largest in time
        ((2000, 2000), 20, "cuda", (800, 800)),
        ((480, 640), 300, "cpu", (256, 320)),  # the pictures' shape, in multiples of 32
        ((640, 480), 300, "cpu", (320, 256)),
        ((200, 200), 5, "cuda", (320, 320)),  # no larger than the pictures need
    ],
)
def test_the_canvas_follows_boxes_and_pictures(size, side, device, canvas):
    assert chosen(split_of(5, size, side), device)["image_size"] == canvas


def test_pictures_of_several_shapes_get_a_square():
    split = Split("train", split_of(5, (480, 640), 300).pictures + split_of(5, (640, 480), 300).pictures)
    assert chosen(split)["image_size"] == (320, 320)


@pytest.mark.parametrize(("pictures", "epochs"), [(5, 60), (1000, 24), (100_000, 12)])
def test_few_pictures_are_seen_more_often(pictures, epochs):
    assert chosen(split_of(pictures))["epochs"] == epochs


def test_a_processor_has_half_an_hour_unless_epochs_are_named():
    assert chosen(split_of(5))["minutes"] == 30
    assert "minutes" not in chosen(split_of(5), "cuda")
    assert not {"minutes", "epochs"} & set(chosen(split_of(5), epochs=3))
    assert not {"minutes", "epochs"} & set(chosen(split_of(5), minutes=3))


def test_what_is_given_stays():
    assert chosen(split_of(5), model="fasterrcnn_tiny_fpn") == {}
    given = chosen(split_of(5), image_size=640, learning_rate=0.1, batch_size=16)
    assert not {"image_size", "learning_rate", "batch_size"} & set(given)
    assert chosen(split_of(5), batch_size=16)["learning_rate"] == pytest.approx(
        2 * chosen(split_of(5))["learning_rate"]
    )
    assert "learning_rate" not in chosen(split_of(5), optimizer="sgd")


def test_pictures_without_boxes_do_not_stop_it():
    one = split_of(1).pictures[0]
    bare = PictureRecord(1, one.path, 64, 64, np.zeros((0, 4)), np.zeros(0, int), np.zeros(0, bool), np.zeros(0))
    assert chosen(Split("train", (bare,)))["image_size"] == (320, 320)


def test_data_alone_is_enough_and_every_choice_has_its_reason(tmp_path, capsys):
    data = draw_demo_data(tmp_path / "data", sizes={"train": 6, "valid": 2})
    settings = {"epochs": 1, "image_size": 64, "wandb": "off", "workers": 0, "weights": "none"}
    run = boxwright.train(data=data, out=tmp_path, **settings)
    output = capsys.readouterr().out
    assert run.spec.architecture == "fasterrcnn_mobilenet_v2_fpn_v2"
    assert load_config(run.folder / "config.yaml").model == "fasterrcnn_mobilenet_v2_fpn_v2"
    assert "Chosen for this data and machine" in output
    assert "model fasterrcnn_mobilenet_v2_fpn_v2 there is no GPU here" in " ".join(output.split())
    assert "Time: 1 epoch of 2 steps" in output


def test_starting_weights_choose_their_own_architecture_and_canvas(run):
    given = chosen(split_of(5), weights=str(run))
    assert given["model"] == "fasterrcnn_tiny_fpn"
    assert given["image_size"] == (192, 192)
