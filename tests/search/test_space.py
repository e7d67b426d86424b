"""Settings that a search may propose."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxwright.config import TrainConfig
from boxwright.models import find_architecture
from boxwright.search.space import default_point, settings_of, suggested

BASE = TrainConfig(
    data=Path("data"),
    model="fasterrcnn_tiny_fpn",
    image_size=(192, 256),
    learning_rate=3e-3,
    ema=0.5,
    weight_decay=0.02,
)


class Chooser:
    """Proposes by a share of each range, and remembers what it was asked for."""

    def __init__(self, share):
        self.share = share
        self.asked = {}

    def suggest_float(self, name, low, high, *, log=False):
        self.asked[name] = (low, high)
        return low * (high / low) ** self.share

    def suggest_categorical(self, name, choices):
        self.asked[name] = choices
        return choices[min(int(self.share * len(choices)), len(choices) - 1)]


def test_the_default_point_is_what_would_be_trained():
    settings = settings_of(default_point(BASE, ["fasterrcnn_tiny_fpn"]), BASE)
    assert settings == {
        "weight_decay": 0.02,
        "augmentation": "light",
        "ema": 0.5,
        "model": "fasterrcnn_tiny_fpn",
        "learning_rate": 3e-3,
        "image_size": [192, 256],
    }


@given(share=st.floats(0, 1), models=st.sampled_from([["fasterrcnn_tiny_fpn"], ["fasterrcnn_tiny_fpn", "rfdetr_nano"]]))
def test_every_point_is_settings_that_fit(share, models):
    settings = settings_of(suggested(Chooser(share), [], models), BASE)
    row = find_architecture(settings["model"])
    TrainConfig(data=Path("data"), **settings)
    assert all(side % row.stride == 0 and side > 0 for side in settings["image_size"])
    assert not row.square or len(set(settings["image_size"])) == 1
    factor = settings["learning_rate"] / row.learning_rate
    assert 0.24 < factor < 4.1


def test_what_is_given_is_not_searched():
    chooser = Chooser(0.9)
    point = suggested(chooser, ["learning_rate", "image_size"], ["fasterrcnn_tiny_fpn"])
    assert set(chooser.asked) == {"weight_decay", "augmentation", "ema"}
    settings = settings_of(point, BASE)
    assert (settings["learning_rate"], settings["image_size"]) == (3e-3, [192, 256])
    assert settings["augmentation"] == "strong"


@pytest.mark.parametrize(("share", "sides"), [(0.0, [128, 192]), (0.5, [192, 256]), (1.0, [256, 320])])
def test_the_canvas_is_of_whole_strides(share, sides):
    assert settings_of(suggested(Chooser(share), [], ["fasterrcnn_tiny_fpn"]), BASE)["image_size"] == sides
