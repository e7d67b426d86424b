"""Names of classes in letters that Pillow's own font does not have."""

import numpy as np
import pytest
from PIL import Image, ImageFont

from boxwright.runtime import Detections
from boxwright.runtime import lettering as module
from boxwright.runtime.drawing import draw_detections
from boxwright.runtime.lettering import lettering


@pytest.fixture
def no_fonts(monkeypatch):
    """A system without fonts."""
    monkeypatch.setattr(module, "_is_there", lambda name: name is None)
    module._written.cache_clear()
    yield
    module._written.cache_clear()


def test_english_names_have_pillows_own_font():
    fonts, written = lettering(["fish", "jelly_fish 2"], 14)
    assert fonts[0].getname() == ImageFont.load_default(size=14).getname()
    assert written == ["fish", "jelly_fish 2"]


def test_another_alphabet_has_a_font_of_the_system():
    names = ["Fußgänger", "véhicule", "рыба", "fish"]
    fonts, written = lettering(names, 14)  # Debian's packages of Chromium bring one
    assert written == names
    own = ImageFont.load_default(size=14).getname()
    assert [one.getname() == own for one in fonts] == [False, False, False, True]


def test_without_a_font_a_name_is_written_as_far_as_it_can_be(no_fonts):
    names = ["véhicule", "straße", "рыба", "鱼", "fish"]
    assert lettering(names, 14)[1] == ["vehicule", "strasse", "class 2", "class 3", "fish"]


def test_each_name_has_a_font_of_its_own(monkeypatch):
    """On a system with one font for each of two alphabets."""
    has = {None: "fish", "DejaVuSans.ttf": "דג", "NotoSansCJK-Regular.ttc": "鱼"}
    monkeypatch.setattr(module, "_is_there", lambda name: name in has)
    monkeypatch.setattr(module, "_has", lambda name, letter: letter in has[name])
    monkeypatch.setattr(module, "_loaded", lambda name, size: name)
    module._written.cache_clear()
    assert lettering(["fish", "דג", "鱼", "é"], 14) == (
        [None, "DejaVuSans.ttf", "NotoSansCJK-Regular.ttc", None],
        ["fish", "דג", "鱼", "class 3"],
    )
    module._written.cache_clear()


def test_what_has_no_shape_needs_no_font(no_fonts):
    assert lettering(["a\u200db c"], 14)[1] == ["a\u200db c"]


def test_what_cannot_be_drawn_is_not_drawn_as_empty_boxes(no_fonts):
    """A picture with a name that no font has is that with the text which stands for it."""
    image, found = Image.new("RGB", (200, 100)), Detections([[20, 40, 150, 90]], [0.9], [1])
    one, other = (draw_detections(image, found, ["fish", name]) for name in ("鱼", "class 1"))
    assert np.array_equal(one, other)
    assert not np.array_equal(one, draw_detections(image, found, ["fish", "fish"]))
