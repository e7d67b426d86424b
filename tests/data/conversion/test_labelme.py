import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxwright.data.conversion import SplitCounts, convert
from boxwright.runtime import DataError

TRIANGLE = {"label": "cat", "points": [[10, 5], [30.5, 5], [20, 40]], "shape_type": "polygon", "group_id": None}


def shape(kind, *points, label="cat", **more):
    return {"label": label, "points": [list(point) for point in points], "shape_type": kind, **more}


def document(*shapes, path="a.jpg", size=(64, 48), **more):
    return {
        "version": "5.4.1", "flags": {}, "shapes": list(shapes), "imagePath": path, "imageData": None,
        "imageHeight": size[1], "imageWidth": size[0], **more,
    }  # fmt: skip


@pytest.fixture
def lay(tmp_path, picture, text):
    """Writes documents by name without suffix, each with its picture beside it."""

    def write(**documents):
        for name, content in documents.items():
            name = name.replace("__", "/")
            picture(tmp_path / f"ds/{name}.jpg")
            text(tmp_path / f"ds/{name}.json", json.dumps(content))
        return tmp_path / "ds"

    return write


@pytest.fixture
def found(tmp_path, written):
    """The annotations of a picture in what was converted."""

    def read(name="a.jpg", out="out"):
        (one,) = [split[name][1] for split in written(tmp_path / out).values() if name in split]
        return one

    return read


@pytest.mark.parametrize(
    ("drawn", "box", "outline"),
    [
        (TRIANGLE, [10, 5, 20.5, 35], [[10, 5, 30.5, 5, 20, 40]]),
        ({"label": "cat", "points": TRIANGLE["points"]}, [10, 5, 20.5, 35], [[10, 5, 30.5, 5, 20, 40]]),
        (shape("rectangle", (30, 40), (10, 5)), [10, 5, 20, 35], []),
        (shape("rectangle", (1, 2), (9, 2), (9, 8), (1, 8)), [1, 2, 8, 6], [[1, 2, 9, 2, 9, 8, 1, 8]]),
        (shape("circle", (20, 20), (23, 24)), [15, 15, 10, 10], []),
        (shape("rotation", (20, 5), (40, 15), (30, 35), (10, 25)), [10, 5, 30, 30], [[20, 5, 40, 15, 30, 35, 10, 25]]),
        (shape("mask", (5, 6), (9, 9), mask="iVBOR"), [5, 6, 5, 4], []),
    ],
)
def test_shapes_worked_out_by_hand(lay, tmp_path, found, categories, drawn, box, outline):
    root = lay(a=document(drawn), b=document(path="b.jpg"))
    convert(root, tmp_path / "out", "labelme")
    (one,) = found()
    assert one["bbox"] == pytest.approx(box)
    assert one["segmentation"] == outline
    assert categories(tmp_path / "out") == {1: "cat"}


def test_pictures_with_no_shapes_are_kept_and_those_without_a_file_are_counted(lay, tmp_path, picture, found):
    root = lay(a=document(TRIANGLE), b=document(path="b.jpg"))
    picture(root / "c.jpg")
    result = convert(root, tmp_path / "out", "labelme")
    assert found("b.jpg") == []
    assert sum(counts.pictures for counts in result.splits.values()) == 2
    assert any("without an annotation file or in no list: 1, the first 'c.jpg'" in note for note in result.notes)


def test_what_has_no_box_is_counted(lay, tmp_path):
    kinds = [shape("point", (1, 2)), shape("line", (1, 2), (3, 4)), shape("point", (3, 4))]
    root = lay(a=document(TRIANGLE, *kinds), b=document(path="b.jpg"))
    result = convert(root, tmp_path / "out", "labelme")
    assert "Shapes left out because they have no box: 1 line, 2 point." in result.notes
    assert sum(counts.boxes for counts in result.splits.values()) == 1


@pytest.mark.parametrize("group", [3, 3.0, "3"])
def test_polygons_of_one_group_are_one_object(lay, tmp_path, found, group):
    halves = [shape("polygon", (x, 0), (x + 10, 0), (x, 10), group_id=group) for x in (0, 30)]
    root = lay(a=document(*halves, shape("polygon", (0, 0), (5, 0), (0, 5), label="dog", group_id=3)), b=document())
    result = convert(root, tmp_path / "out", "labelme")
    first, second = found()
    assert (first["bbox"], first["area"], len(first["segmentation"])) == ([0, 0, 40, 10], 100, 2)
    assert second["bbox"] == [0, 0, 5, 5]
    assert any("group_id were joined" in note for note in result.notes)


def test_a_group_that_is_a_list_is_refused(lay, tmp_path):
    with pytest.raises(DataError, match=r"group_id \[3\] is neither a number nor a text"):
        convert(lay(a=document(shape("polygon", (0, 0), (9, 0), (0, 9), group_id=[3]))), tmp_path / "out", "labelme")


def test_splits_are_folders_of_these_names(lay, tmp_path):
    root = lay(train__a=document(TRIANGLE), val__a=document(TRIANGLE), val__b=document(path="b.jpg"))
    assert convert(root, tmp_path / "out", "labelme").splits == {"train": SplitCounts(1, 1), "valid": SplitCounts(2, 1)}


@pytest.mark.parametrize("path", ["..\\images\\pic.jpg", "../images/pic.jpg", "C:\\me\\images\\PIC.jpg"])
def test_a_picture_elsewhere_is_found_by_its_path(lay, tmp_path, picture, path):
    root = lay(annotations__a=document(TRIANGLE, path=path), annotations__b=document(path="b.jpg"))
    (root / "annotations/a.jpg").unlink()
    picture(root / "images/pic.jpg")
    result = convert(root, tmp_path / "out", "labelme")
    assert sum(counts.pictures for counts in result.splits.values()) == 2


def test_a_missing_picture_of_which_the_file_holds_a_copy_is_said(lay, tmp_path):
    root = lay(a=document(TRIANGLE, imageData=base64.b64encode(b"x").decode()))
    (root / "a.jpg").unlink()
    with pytest.raises(DataError, match=r"a\.json: picture 'a\.jpg' is missing.*imageData"):
        convert(root, tmp_path / "out", "labelme")


def test_other_json_files_are_said(lay, tmp_path, text):
    root = lay(a=document(TRIANGLE), b=document(path="b.jpg"))
    text(root / "settings.json", "{}")
    text(root / "._a.json", "\0")
    result = convert(root, tmp_path / "out", "labelme")
    assert any("not LabelMe's: 1, the first 'settings.json'" in note for note in result.notes)
    for name in ("a.json", "b.json"):
        (root / name).unlink()
    with pytest.raises(DataError, match="none of 1 JSON files holds shapes and an imagePath"):
        convert(root, tmp_path / "again", "labelme")


def test_swapped_sides_are_told_by_the_boxes(lay, tmp_path, found):
    wide = shape("rectangle", (2, 5), (60, 40))
    root = lay(a=document(wide, size=(48, 64)), b=document(TRIANGLE, path="b.jpg", size=(48, 64)))
    result = convert(root, tmp_path / "out", "labelme", split=(0.5, 0.5))
    assert found()[0]["bbox"] == [2, 5, 58, 35]
    assert any("width and height of 2 pictures are swapped, as of 'a.jpg'" in note for note in result.notes)


@pytest.mark.parametrize("size", [(0, 0), (None, None), ("", "")])
def test_an_unknown_size_says_nothing(lay, tmp_path, size):
    root = lay(a=document(TRIANGLE, size=size), b=document(path="b.jpg", size=size))
    assert convert(root, tmp_path / "out", "labelme").splits


@pytest.mark.parametrize(
    ("content", "culprit"),
    [
        (document({"label": "", "points": []}), "shape 1: has no label"),
        (document(TRIANGLE, shape("polygon", (1, 2), (3, 4))), r"shape 2 \(cat\): a polygon of 2 points"),
        (document(shape("polygon", (1, 2), (3, 4), (5, "x"))), "points is not a list"),
        (document(shape("blob", (1, 2))), "shape_type 'blob' is unknown"),
        (document(TRIANGLE, size=(48, 64)), "64 x 48 pixels upright, the file says 48 x 64"),
        ({"shapes": [1], "imagePath": "a.jpg"}, "shapes is not a list of objects"),
        (document({**TRIANGLE, "label": "score"}), "the class name 'score'"),
    ],
)
def test_a_bad_file_is_named(lay, tmp_path, content, culprit):
    root = lay(a=content)
    with pytest.raises(DataError, match=culprit):
        convert(root, tmp_path / "out", "labelme")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["shapes", "imagePath", "label", "points", "shape_type", "group_id", "imageWidth"]), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(content=values)
def test_any_json_is_read_or_refused(tmp_path_factory, picture, content):
    folder = tmp_path_factory.mktemp("labelme")
    picture(folder / "ds/a.jpg")
    (folder / "ds/a.json").write_text(json.dumps({"shapes": content, "imagePath": content}))
    with pytest.raises(DataError):  # one picture makes no two splits
        convert(folder / "ds", folder / "out", "labelme")
