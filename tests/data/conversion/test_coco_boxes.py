"""Boxes that a tool wrote in another way, ids and sizes too: the right value, or one sentence."""

import json

import pytest

from boxwright.data import inspect_folder
from boxwright.data.conversion import convert
from boxwright.runtime import DataError

WIDTH, HEIGHT = 64, 48
BOXES = [(3, 5, 20, 10), (30, 2, 30, 40), (0, 0, 10, 6), (40.5, 20, 12.25, 8.5), (1, 30, 50, 10)]
RLE = {"size": [HEIGHT, WIDTH], "counts": [HEIGHT * 3 + 5, 10, HEIGHT - 10, 10, HEIGHT * (WIDTH - 5) + HEIGHT - 15]}
CAFE = "caf\u00e9"


def outline(box):
    x, y, w, h = box
    return [x, y, x + w, y, x + w, y + h, x, y + h]


@pytest.fixture
def lay(tmp_path, picture):
    """A data set of two splits with one picture each, whose annotations are those given."""

    def write(annotations, image=None, categories=None, size=(WIDTH, HEIGHT), sideways=False):
        for split in ("train", "valid"):
            picture(tmp_path / "src" / split / "a.png", *size, sideways)
            document = {
                "images": [{"id": 1, "file_name": "a.png", "width": WIDTH, "height": HEIGHT, **(image or {})}],
                "annotations": [
                    {"id": number, "image_id": 1, "category_id": 1, **one}
                    for number, one in enumerate(annotations, start=1)
                ],
                "categories": categories or [{"id": 1, "name": CAFE}],
            }
            (tmp_path / "src" / split / "_annotations.coco.json").write_text(json.dumps(document))
        return tmp_path / "src"

    return write


@pytest.fixture
def rows(tmp_path, written):
    return lambda: written(tmp_path / "out")["train"]["a.png"][1]


@pytest.mark.parametrize("bbox", ["absent", None, [], [0, 0, 0, 0]])
@pytest.mark.parametrize(
    ("segmentation", "expected"),
    [([outline((3, 5, 20, 10))], [3, 5, 20, 10]), (outline((3, 5, 20, 10)), [3, 5, 20, 10]), (RLE, [3, 5, 2, 10])],
)
def test_the_box_of_an_outline_is_written(lay, tmp_path, rows, bbox, segmentation, expected):
    one = {"segmentation": segmentation, **({} if bbox == "absent" else {"bbox": bbox})}
    root = lay([one])
    result = convert(root, tmp_path / "out")
    (row,) = rows()
    assert (row["bbox"], row["segmentation"], row["area"]) == (expected, segmentation, expected[2] * expected[3])
    said = "1 annotations have no box; the box of their outline was written."
    assert result.notes == tuple(f"{root / split / '_annotations.coco.json'}: {said}" for split in ("train", "valid"))


@pytest.mark.parametrize(
    ("annotation", "said"),
    [
        ({}, "bbox = None, and no outline"),
        ({"bbox": [], "segmentation": []}, r"bbox = \[\], and no outline"),
        ({"segmentation": "[[1, 2]]"}, "neither polygons nor a full run-length mask"),
        ({"segmentation": {**RLE, "counts": [1]}}, "neither polygons nor a full run-length mask"),
        ({"segmentation": {"size": [2, 2], "counts": [0, 4]}}, "its mask is 2 x 2 pixels, the picture 64 x 48"),
    ],
)
def test_no_box_and_no_outline_is_an_error(lay, tmp_path, annotation, said):
    with pytest.raises(DataError, match=rf"annotation id 1: .*{said}"):
        convert(lay([annotation]), tmp_path / "out")


WRITTEN = {
    "xyxy": lambda x, y, w, h: [x, y, x + w, y + h],
    "yxhw": lambda x, y, w, h: [y, x, h, w],
    "yxyx": lambda x, y, w, h: [y, x, y + h, x + w],
    "cxcywh": lambda x, y, w, h: [x + w / 2, y + h / 2, w, h],
    "xywhn": lambda x, y, w, h: [x / WIDTH, y / HEIGHT, w / WIDTH, h / HEIGHT],
    "cxcywhn": lambda x, y, w, h: [(x + w / 2) / WIDTH, (y + h / 2) / HEIGHT, w / WIDTH, h / HEIGHT],
}


@pytest.mark.parametrize("reading", WRITTEN)
def test_boxes_of_another_meaning_are_refused_and_read_as_told(lay, tmp_path, rows, reading):
    """Outlines prove what the numbers are; what check calls an error is right after the conversion it names."""
    annotations = [{"bbox": WRITTEN[reading](*box), "segmentation": [outline(box)]} for box in BOXES]
    root = lay(annotations)
    with pytest.raises(DataError, match=rf"the boxes fit as .* \({reading}\), not as x, y, width, height") as caught:
        convert(root, tmp_path / "out")
    assert f"Give --boxes {reading}," in str(caught.value)
    result = convert(root, tmp_path / "out", boxes=reading)
    for row, box in zip(rows(), BOXES, strict=True):
        assert row["bbox"] == pytest.approx(box)
    assert sum("the boxes were read as" in note for note in result.notes) == 2
    codes = {finding.code for finding in inspect_folder(tmp_path / "out").findings}
    assert not codes & {"boxes-reading", "box-outside", "box-off-picture", "box-empty"}


def test_whole_numbers_stay_whole_and_boxes_can_be_said_to_be_right(lay, tmp_path, rows):
    root = lay([{"bbox": WRITTEN["xyxy"](*BOXES[0])}])
    convert(root, tmp_path / "out", boxes="xyxy")
    assert repr(rows()[0]["bbox"]) == "[3, 5, 20, 10]"
    root = lay([{"bbox": WRITTEN["xyxy"](*box), "segmentation": [outline(box)]} for box in BOXES])
    assert convert(root, tmp_path / "as it is", boxes="xywh").notes == ()


def test_turned_boxes_are_written_as_the_box_around_them(lay, tmp_path, rows):
    """A box of 20 x 10 about (13, 10), turned by 90 degrees, is 10 x 20 about the same point."""
    turned = {"bbox": [3, 5, 20, 10], "attributes": {"rotation": 90.0, "occluded": False}}
    upright = {"bbox": [3, 5, 20, 10], "attributes": {"rotation": 30.0}, "segmentation": [outline((3, 5, 20, 10))]}
    result = convert(lay([turned, upright, {"bbox": [1, 1, 5, 5], "attributes": {"rotation": 0}}]), tmp_path / "out")
    first, second, third = rows()
    assert first["bbox"] == pytest.approx([8, 0, 10, 20])
    assert first["attributes"] == {"rotation": 0.0, "occluded": False}
    assert first["turned_bbox"] == [3, 5, 20, 10, 90.0]
    assert (second["bbox"], second["attributes"]) == ([3, 5, 20, 10], {"rotation": 30.0})
    assert (third["bbox"], third["attributes"]) == ([1, 1, 5, 5], {"rotation": 0})
    assert (
        sum("1 boxes are turned (attributes.rotation), the first by 90 degrees" in note for note in result.notes) == 2
    )
    assert "boxes-turned" not in {finding.code for finding in inspect_folder(tmp_path / "out").findings}


def test_a_box_turned_by_45_degrees(lay, tmp_path, rows):
    convert(lay([{"bbox": [20, 20, 10, 10], "attributes": {"rotation": -45}}]), tmp_path / "out")
    side = 10 * 2**0.5
    assert rows()[0]["bbox"] == pytest.approx([25 - side / 2, 25 - side / 2, side, side])


@pytest.mark.parametrize(
    "image", [{"width": "64", "height": "48"}, {"width": 0, "height": 0}, {"width": "?", "height": None}, {"width": -1}]
)
def test_sizes_as_text_are_sizes_and_unknown_ones_say_nothing(lay, tmp_path, written, image):
    result = convert(lay([{"bbox": [1, 2, 3, 4]}], image), tmp_path / "out")
    entry, _ = written(tmp_path / "out")["train"]["a.png"]
    assert (entry["width"], entry["height"], result.notes) == (WIDTH, HEIGHT, ())


def test_swapped_sizes_are_told_by_the_boxes(lay, tmp_path, written):
    swapped = {"width": HEIGHT, "height": WIDTH}
    result = convert(lay([{"bbox": [40, 2, 20, 10]}, {"bbox": [1, 2, 3, 4]}], swapped), tmp_path / "out")
    entry, rows = written(tmp_path / "out")["train"]["a.png"]
    assert (entry["width"], entry["height"], len(rows)) == (WIDTH, HEIGHT, 2)
    assert sum("width and height of 1 pictures are swapped, as of 'a.png'" in note for note in result.notes) == 2
    for boxes in ([[1, 2, 3, 4]], [[40, 2, 20, 10], [1, 50, 3, 12]], []):  # no proof; against it; nothing
        with pytest.raises(DataError, match="is 64 x 48 pixels upright, the file says 48 x 64"):
            convert(lay([{"bbox": box} for box in boxes], swapped), tmp_path / "again")


def test_a_picture_on_its_side_is_not_taken_for_swapped(lay, tmp_path):
    """The box fits the upright picture and not the stored one, whose size the document gives: something is wrong."""
    root = lay([{"bbox": [2, 40, 10, 20]}], size=(WIDTH, HEIGHT), sideways=True)
    with pytest.raises(DataError, match="is 48 x 64 pixels upright, the file says 64 x 48"):
        convert(root, tmp_path / "out")


@pytest.mark.parametrize(
    ("image", "annotation", "category", "count"),
    [("1", "1", "1", 5), ("a7f3", "a7f3", "x", 5), (1, "1", 1, 1), ("1", 1, 1, 1), (1, 1, "1", 2)],
)
def test_ids_as_text_become_numbers(lay, tmp_path, written, categories, image, annotation, category, count):
    one = {"id": "h" if count == 5 else 8, "image_id": annotation, "category_id": category, "bbox": [1, 2, 3, 4]}
    root = lay([one], {"id": image}, [{"id": category, "name": CAFE}])
    result = convert(root, tmp_path / "out")
    entry, (row,) = written(tmp_path / "out")["train"]["a.png"]
    assert (entry["id"], row["image_id"], row["category_id"], row["bbox"]) == (1, 1, 1, [1, 2, 3, 4])
    assert categories(tmp_path / "out") == {1: CAFE}
    assert sum(f"{count} ids are text, as " in note for note in result.notes) == 2
    assert inspect_folder(tmp_path / "out").of("error") == []


def test_long_ids_are_kept(lay, tmp_path, written):
    number = 2**63 - 1
    convert(lay([{"image_id": number, "bbox": [1, 2, 3, 4]}], {"id": number}), tmp_path / "out")
    entry, (row,) = written(tmp_path / "out")["train"]["a.png"]
    assert entry["id"] == row["image_id"] == number


def test_a_number_is_a_name(lay, tmp_path, categories):
    names = [{"id": 1, "name": 7}, {"id": 2, "name": 0.5}]
    assert convert(lay([{"bbox": [1, 2, 3, 4]}], None, names), tmp_path / "out").notes == ()
    assert categories(tmp_path / "out") == {1: "7", 2: "0.5"}


def test_what_json_has_not_is_written_as_null(lay, tmp_path, rows):
    one = {"bbox": [1, 2, 3, 4], "area": float("nan"), "confidence": float("nan"), "more": [float("inf"), 1]}
    result = convert(lay([one]), tmp_path / "out")
    text = (tmp_path / "out/train/_annotations.coco.json").read_text()
    json.loads(text, parse_constant=lambda constant: pytest.fail(f"{constant} is no JSON"))
    (row,) = rows()
    assert (row["area"], row["confidence"], row["more"]) == (12, None, [None, 1])
    assert result.notes == tuple(
        f"{split}: values that are NaN or infinite were written as null." for split in ("train", "valid")
    )


def test_a_segmentation_of_another_kind_is_left_as_it_is(lay, tmp_path, rows):
    convert(lay([{"bbox": [1, 2, 3, 4], "segmentation": value} for value in ("text", 5, {"a": 1})]), tmp_path / "out")
    assert [row["segmentation"] for row in rows()] == ["text", 5, {"a": 1}]
