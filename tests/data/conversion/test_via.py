import csv
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxwright.data.conversion import SplitCounts, convert
from boxwright.runtime import DataError

RECT = {"name": "rect", "x": 3, "y": 4, "width": 20, "height": 10}


def region(shape=RECT, **attributes):
    return {"shape_attributes": shape, "region_attributes": attributes}


def entries(numbered=False, **pictures):
    """As VIA exports them: by name and file size; VIA 1 numbers the regions."""
    return {
        f"{name}.jpg123": {
            "filename": f"{name}.jpg",
            "size": 123,
            "regions": {str(n): one for n, one in enumerate(regions)} if numbered else regions,
            "file_attributes": {},
        }
        for name, regions in pictures.items()
    }


@pytest.fixture
def lay(tmp_path, picture, text):
    def write(content, name="via.json", pictures="ab"):
        for one in pictures:
            picture((tmp_path / "ds" / name).parent / f"{one}.jpg")
        text(tmp_path / "ds" / name, content if isinstance(content, str) else json.dumps(content))
        return tmp_path / "ds"

    return write


@pytest.fixture
def found(tmp_path, written):
    def read(name="a.jpg", out="out"):
        (one,) = [split[name][1] for split in written(tmp_path / out).values() if name in split]
        return one

    return read


@pytest.mark.parametrize(
    ("shape", "box", "outline"),
    [
        (RECT, [3, 4, 20, 10], []),
        ({"name": "polygon", "all_points_x": [10, 30, 20], "all_points_y": [5, 5, 40]}, [10, 5, 20, 35],
         [[10, 5, 30, 5, 20, 40]]),
        ({"name": "circle", "cx": 20, "cy": 21, "r": 5.5}, [14.5, 15.5, 11, 11], []),
        ({"name": "ellipse", "cx": 20, "cy": 20, "rx": 8, "ry": 4}, [12, 16, 16, 8], []),
        ({"name": "ellipse", "cx": 20, "cy": 20, "rx": 8, "ry": 4, "theta": 1.5707963267948966}, [16, 12, 8, 16], []),
    ],
)  # fmt: skip
@pytest.mark.parametrize("numbered", [False, True])
def test_shapes_worked_out_by_hand(lay, tmp_path, found, categories, shape, box, outline, numbered):
    convert(lay(entries(numbered, a=[region(shape, kind="cat")], b=[])), tmp_path / "out", "via")
    (one,) = found()
    assert one["bbox"] == pytest.approx(box)
    assert one["segmentation"] == outline
    assert found("b.jpg") == []
    assert categories(tmp_path / "out") == {1: "cat"}


def test_a_project_is_read_as_its_export(lay, tmp_path, found):
    project = {"_via_settings": {}, "_via_img_metadata": entries(a=[region(c="x")], b=[]), "_via_attributes": {}}
    convert(lay(project), tmp_path / "out", "via")
    assert found()[0]["bbox"] == [3, 4, 20, 10]


def test_a_csv_is_read_as_its_json(lay, tmp_path, found):
    root = lay("", "via.csv")
    with (root / "via.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["#filename", "file_size", "file_attributes", "region_count", "region_id",
                       "region_shape_attributes", "region_attributes"])  # fmt: skip
        rows.writerow(["a.jpg", 1, "{}", 2, 0, json.dumps(RECT), '{"c":"x"}'])
        rows.writerow(["a.jpg", 1, "{}", 2, 1, json.dumps({**RECT, "x": 9}), '{"c":"y"}'])
        rows.writerow(["b.jpg", 1, "{}", 0, 0, "{}", "{}"])
    convert(root, tmp_path / "out", "via")
    assert [one["bbox"][0] for one in found()] == [3, 9]
    assert found("b.jpg") == []
    (root / "via.csv").write_text("filename,region_shape_attributes,region_attributes,filename\na.jpg,{},{},b.jpg\n")
    with pytest.raises(DataError, match="the column 'filename' is there twice"):
        convert(root, tmp_path / "twice", "via")
    (root / "via.csv").write_text("filename,region_shape_attributes,region_attributes\na.jpg,{,{}\n")
    with pytest.raises(DataError, match=r"via\.csv, line 2: broken"):
        convert(root, tmp_path / "again", "via")


def test_each_split_has_its_file(lay, tmp_path):
    lay(entries(a=[region(c="x")], b=[]), "train/via_region_data.json")
    root = lay(entries(a=[region(c="x")], b=[]), "val/via_region_data.json")
    assert convert(root, tmp_path / "out", "via").splits == {"train": SplitCounts(2, 1), "valid": SplitCounts(2, 1)}


def test_the_class_is_the_attribute_that_all_have(lay, tmp_path, categories):
    regions = [region(kind="cat", note="x"), region(kind={"dog": True, "cow": False}), region(kind=7, note="")]
    result = convert(lay(entries(a=regions, b=[])), tmp_path / "out", "via")
    assert categories(tmp_path / "out") == {1: "7", 2: "cat", 3: "dog"}
    assert "The class is the attribute 'kind'; left out: note." in result.notes


def test_of_several_attributes_the_class_must_be_said(lay, tmp_path, categories):
    root = lay(entries(a=[region(kind="cat", colour="red")], b=[]))
    with pytest.raises(DataError, match=r"several attributes .* colour, kind\. Rename .* 'class'"):
        convert(root, tmp_path / "out", "via")
    root = lay(entries(a=[region(Class="cat", colour="red")], b=[]))
    convert(root, tmp_path / "out", "via")
    assert categories(tmp_path / "out") == {1: "cat"}


def test_without_any_attribute_there_is_one_class(lay, tmp_path, categories):
    """As in the balloon data set of Mask R-CNN."""
    result = convert(lay(entries(True, a=[region()], b=[])), tmp_path / "out", "via")
    assert categories(tmp_path / "out") == {1: "object"}
    assert any("one class, 'object'" in note for note in result.notes)


def test_what_has_no_box_is_counted(lay, tmp_path):
    content = entries(a=[region(c="x"), region({"name": "point", "cx": 1, "cy": 1})], b=[])
    result = convert(lay(content), tmp_path / "out", "via")
    assert "Regions left out because they have no box: 1 point." in result.notes


def test_pictures_that_are_not_listed_and_names_that_are_guessed_are_said(lay, tmp_path, found):
    content = entries(a=[region(c="x")], b=[])
    content["a.jpg123"]["filename"] = "C:\\pics\\A.JPG"
    result = convert(lay(content, pictures="abc"), tmp_path / "out", "via")
    assert len(found()) == 1
    assert any("does not list, left out: 1, the first 'c.jpg'" in note for note in result.notes)
    assert any("was read as 'a.jpg'" in note for note in result.notes)


@pytest.mark.parametrize(
    ("content", "culprit"),
    [
        ({"images": [], "annotations": []}, "no file of the VGG Image Annotator"),
        (entries(a=[region(c="x"), region()], b=[]), r"a\.jpg, region 2: has no 'c', which 1 of 2 regions have"),
        (entries(a=[region(c={"x": True, "y": True})], b=[]), r"region 1: 'c' is x and y at once"),
        (entries(a=[region({"name": "blob"}, c="x")], b=[]), "the shape 'blob' is unknown"),
        (entries(a=[region({**RECT, "x": "3"}, c="x")], b=[]), "region 1: x = '3' is not a number"),
        (entries(a=[region({"name": "polygon", "all_points_x": [1, 2]}, c="x")], b=[]), "not three points"),
        (entries(a=[{"shape_attributes": 1}], b=[]), "has no shape_attributes"),
        (entries(a=[], gone=[], lost=[]), r"picture 'gone\.jpg' is not in .* \(2 of 3 such\)"),
        (entries(a=[region(c="score")], b=[]), "the class name 'score'"),
        ("{", "broken JSON"),
    ],
)
def test_a_bad_file_is_named(lay, tmp_path, content, culprit):
    root = lay(content)
    with pytest.raises(DataError, match=culprit):
        convert(root, tmp_path / "out", "via")


def test_two_files_for_the_same_pictures_are_an_error(lay, tmp_path):
    lay(entries(a=[region(c="x")]), "one.json")
    root = lay(entries(a=[region(c="x")]), "two.json")
    with pytest.raises(DataError, match=r"several files of VIA: one\.json and two\.json"):
        convert(root, tmp_path / "out", "via")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["filename", "regions", "shape_attributes", "region_attributes", "name", "x"]), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(content=values, shape=values, attributes=values)
def test_any_json_is_read_or_refused(tmp_path_factory, picture, content, shape, attributes):
    folder = tmp_path_factory.mktemp("via")
    picture(folder / "ds/a.jpg")
    one = {"shape_attributes": shape, "region_attributes": attributes}
    for regions in (content, [one]):
        document = {"k": {"filename": "a.jpg", "regions": regions}}
        (folder / "ds/a.json").write_text(json.dumps(document))
        with pytest.raises(DataError):  # one picture makes no two splits
            convert(folder / "ds", folder / "out", "via")
