import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxwright.data.conversion import convert
from boxwright.data.conversion.yolo import LabelFormat, read_labels
from boxwright.runtime import DataError

sides = st.floats(0, 1, allow_subnormal=False)


@given(
    size=st.tuples(st.integers(1, 9000), st.integers(1, 9000)),
    boxes=st.lists(st.tuples(st.integers(0, 2), sides, sides, sides, sides), max_size=4),
)
def test_boxes_survive_text_with_six_decimals(tmp_path_factory, size, boxes):
    """Corners in shares become pixels, then YOLO text, then boxes again."""
    width, height = size
    pixels = [
        (label, min(a, b) * width, min(c, d) * height, abs(a - b) * width, abs(c - d) * height)
        for label, a, b, c, d in boxes
    ]
    lines = [
        f"{label} {(x + w / 2) / width:.6f} {(y + h / 2) / height:.6f} {w / width:.6f} {h / height:.6f}"
        for label, x, y, w, h in pixels
    ]
    file = tmp_path_factory.mktemp("labels") / "a.txt"
    file.write_text("\n".join(lines))
    objects = read_labels(file, LabelFormat(3), width, height)
    assert [one.category - 1 for one in objects] == [label for label, *_ in pixels]
    half = 0.5e-6 * 1.000001
    for one, (_, x, y, w, h) in zip(objects, pixels, strict=True):
        left, top, wide, high = one.bbox
        assert abs(left + wide / 2 - (x + w / 2)) <= half * width
        assert abs(top + high / 2 - (y + h / 2)) <= half * height
        assert abs(wide - w) <= half * width
        assert abs(high - h) <= half * height


@given(
    content=st.one_of(st.text(alphabet="0123456789.-e _\n\tax", max_size=60).map(str.encode), st.binary(max_size=60))
)
def test_any_label_file_is_read_or_refused(tmp_path_factory, content):
    file = tmp_path_factory.getbasetemp() / "fuzz.txt"
    file.write_bytes(content)
    try:
        objects = read_labels(file, LabelFormat(3), 100, 50)
    except DataError as error:
        assert str(file) in str(error)
    else:
        assert all(1 <= one.category <= 3 and -2 <= one.bbox[0] <= 102 for one in objects)


@given(content=st.one_of(st.text(max_size=40), st.text(alphabet="names:[]{}&*a-\n !'\"", max_size=40)))
def test_any_yaml_is_read_or_refused(tmp_path_factory, content):
    folder: Path = tmp_path_factory.getbasetemp() / "yaml"
    folder.mkdir(exist_ok=True)
    (folder / "data.yaml").write_text(content, encoding="utf-8", errors="replace")
    with pytest.raises(DataError):
        convert(folder, folder.with_name("yaml-out"), "yolo")


def test_a_real_set_goes_to_yolo_and_back(real_data, tmp_path, text, written):
    """Chess as COCO, written as YOLO text here, converted: every box is back to half a unit of the sixth decimal."""
    document = json.loads((real_data / "chess/valid/_annotations.coco.json").read_text())
    names = [one["name"] for one in sorted(document["categories"], key=lambda one: one["id"])]
    for image in document["images"]:
        (tmp_path / "ds/images").mkdir(parents=True, exist_ok=True)
        (tmp_path / "ds/images" / image["file_name"]).symlink_to(real_data / "chess/valid" / image["file_name"])
        rows = [one for one in document["annotations"] if one["image_id"] == image["id"]]
        lines = []
        for one in rows:
            x, y, w, h = one["bbox"]
            cx, cy, sides = (
                (x + w / 2) / image["width"],
                (y + h / 2) / image["height"],
                (image["width"], image["height"]),
            )
            lines.append(f"{one['category_id']} {cx:.6f} {cy:.6f} {w / sides[0]:.6f} {h / sides[1]:.6f}")
        text((tmp_path / "ds/labels" / image["file_name"]).with_suffix(".txt"), *lines)
    text(tmp_path / "ds/data.yaml", "train: images", "val: images", f"names: {json.dumps(names)}")
    convert(tmp_path / "ds", tmp_path / "out", "yolo")
    found = written(tmp_path / "out")["valid"]
    compared = 0
    for image in document["images"]:
        rows = [one for one in document["annotations"] if one["image_id"] == image["id"]]
        for one, other in zip(rows, found[image["file_name"]][1], strict=True):
            assert other["category_id"] == one["category_id"] + 1
            bounds = [0.75e-6 * image["width"], 0.75e-6 * image["height"]] * 2
            gaps = [abs(a - b) for a, b in zip(one["bbox"], other["bbox"], strict=True)]
            assert all(gap <= bound * 1.001 for gap, bound in zip(gaps, bounds, strict=True))
            compared += 1
    assert compared > 300
