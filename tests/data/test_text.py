"""A key that has two values in one object is said, not read as one of them."""

from __future__ import annotations

import json

import pytest

from boxwright.data.documents import ANNOTATIONS, read_document
from boxwright.data.findings import Finding
from boxwright.data.text import json_of


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"images": [{"id": 1}], "images": [{"id": 2}]}', "an object has the key 'images' twice"),
        ('{"annotations": [{"id": 7, "bbox": [0], "bbox": [1]}]}', "an object with the id 7 has the key 'bbox' twice"),
        ('{"id": 7, "id": 8}', "an object with the id 8 has the key 'id' twice"),
    ],
)
def test_a_key_with_two_values_is_named(text, said):
    with pytest.raises(ValueError, match=said):
        json_of(text)


def test_the_same_value_twice_loses_nothing():
    assert json_of('{"iscrowd": 0, "iscrowd": 0}') == {"iscrowd": 0}


def test_the_check_finds_two_lists_of_pictures(tmp_path):
    whole = json.dumps({"images": [], "annotations": [], "categories": []})
    path = tmp_path / ANNOTATIONS
    path.write_text(whole.replace('"annotations"', '"images": [{"id": 1, "file_name": "a.jpg"}], "annotations"'))
    findings: list[Finding] = []
    assert read_document(path, "train", findings) is None
    assert [one.code for one in findings] == ["json-broken"]
    assert "'images' twice" in findings[0].message
