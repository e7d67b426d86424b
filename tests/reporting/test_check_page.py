import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from boxwright.data import inspect_folder
from boxwright.reporting import write_check_page
from boxwright.reporting.pictures import Marked, heat_map, thumbnail
from support.broken import clean_document, write_data


class Page(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def page(real_data, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "aquarium.html"
    write_check_page(inspect_folder(real_data / "aquarium"), path)
    return path.read_text()


def test_the_page_is_one_file_that_asks_for_nothing(page):
    assert not re.search(r"(src|href|action)\s*=\s*[\"'](?!data:)", page)
    assert not re.search(r"https?://|url\(|@import|<script", page)
    assert len(page) < 2_000_000


def test_it_shows_findings_classes_sizes_places_and_pictures(page):
    parsed = Page(page)
    assert {"splits", "classes", "sizes", "maps", "pictures"} <= {dict(a).get("id") for _, a in parsed.tags}
    assert "1 warning" in parsed.text
    assert "box-tiny" in parsed.text
    assert "1961 + 459 + 249" in parsed.text  # fish in train, valid, test
    images = [attributes["src"] for tag, attributes in parsed.tags if tag == "img"]
    assert len(images) == 7 + 1  # a heat map a class, the picture of the tiny box
    for uri in images:
        kind, data = re.fullmatch(r"data:image/(jpeg|png);base64,(.+)", uri).groups()
        assert Image.open(io.BytesIO(base64.b64decode(data))).format == kind.upper()


def test_names_cannot_write_into_the_page(tmp_path):
    content = clean_document()
    for category in content["categories"]:
        category["name"] += "<script>alert(1)</script>"
    write_check_page(inspect_folder(write_data(tmp_path / "d", train=content, valid=content)), tmp_path / "p.html")
    assert "<script>" not in (tmp_path / "p.html").read_text()


def test_boxes_turned_inside_out_have_no_place(tmp_path):
    content = clean_document()
    for number in range(0, 30, 2):
        content["annotations"][number]["bbox"] = [40, 40, -20, -20]
    write_check_page(inspect_folder(write_data(tmp_path / "d", train=content, valid=content)), tmp_path / "p.html")
    names = [dict(a).get("alt") for tag, a in Page((tmp_path / "p.html").read_text()).tags if tag == "img"]
    assert "heat map of ray" in names
    assert "heat map of fish" not in names


def test_heat_is_where_the_boxes_are():
    heat = np.asarray(heat_map(np.array([[0.5, 0.5, 1.0, 1.0]] * 3 + [[0.0, 0.0, 0.25, 0.25]]))).astype(int).sum(axis=2)
    assert heat[110, 110] < heat[10, 10] < heat[110, 10] == heat[10, 110]


def test_the_culprit_is_drawn_even_without_a_size():
    drawn = np.asarray(
        thumbnail(Image.new("RGB", (720, 720), "white"), [Marked((300, 300, 300.5, 300.5), culprit=True)])
    )
    assert drawn.shape == (360, 360, 3)
    assert (drawn[140:160, 140:160] != 255).any()
    assert (drawn[:100] == 255).all()
