import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxwright.data import read_folder
from boxwright.data.conversion import SplitCounts, convert
from boxwright.data.conversion.voc import read_voc_file
from boxwright.runtime import ConfigError, DataError


def voc_object(name, corners, more=""):
    tags = "".join(
        f"<{tag}>{side}</{tag}>" for tag, side in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
    )
    return f"<object><name>{name}</name>{more}<bndbox>{tags}</bndbox></object>"


def annotation(filename, *objects, size=(64, 48)):
    sides = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
    return f"<annotation><filename>{filename}</filename>{sides}{''.join(objects)}</annotation>"


@pytest.fixture
def devkit(tmp_path, picture, text):
    """Three pictures: 1 and 2 in train and trainval, 3 in val and trainval, all counted from 1."""
    root = tmp_path / "VOCdevkit/VOC2007"
    objects = {
        "1": [voc_object("dog", (1, 1, 64, 48), "<pose>Left</pose><truncated>1</truncated><difficult>0</difficult>")],
        "2": [],
        "3": [voc_object("cat", (10, 20, 10, 29)), voc_object("dog", (5, 6, 7, 8))],
    }
    for name, found in objects.items():
        picture(root / f"JPEGImages/{name}.jpg")
        text(root / f"Annotations/{name}.xml", annotation(f"{name}.jpg", *found))
    sets = {"train": "12", "val": "3", "trainval": "123"}
    for name, members in sets.items():
        text(root / f"ImageSets/Main/{name}.txt", *members, "")
    text(root / "ImageSets/Main/dog_train.txt", "1  1", "2 -1")
    return root


def test_devkit_boxes_worked_out_by_hand(devkit, tmp_path, written, categories):
    result = convert(devkit, tmp_path / "out", "voc")
    found = written(tmp_path / "out")
    assert found["train"]["1.jpg"][1] == [
        {
            "id": 1,
            "image_id": 1,
            "category_id": 2,
            "bbox": [0, 0, 64, 48],  # the whole picture
            "area": 3072,
            "segmentation": [],
            "iscrowd": 0,
            "pose": "Left",
            "truncated": 1,
            "difficult": 0,
        }
    ]
    boxes = [one["bbox"] for one in found["valid"]["3.jpg"][1]]
    assert boxes == [[9, 19, 1, 10], [4, 5, 3, 3]]
    assert all(isinstance(side, int) for box in boxes for side in box)
    assert categories(tmp_path / "out") == {1: "cat", 2: "dog"}
    assert result.splits == {"train": SplitCounts(2, 1), "valid": SplitCounts(1, 2)}
    assert "none of 3 has an xmin or ymin below 1" in result.notes[0]
    assert [one.name for one in read_folder(tmp_path / "out").classes] == ["cat", "dog"]


def test_one_coordinate_below_1_makes_the_whole_set_edges(devkit, tmp_path, text, written):
    text(devkit / "Annotations/2.xml", annotation("2.jpg", voc_object("dog", (0.5, 3, 9, 9))))
    result = convert(devkit, tmp_path / "out", "voc")
    found = written(tmp_path / "out")
    assert [one["bbox"] for one in found["valid"]["3.jpg"][1]] == [[10, 20, 0, 9], [5, 6, 2, 2]]
    assert found["train"]["2.jpg"][1][0]["bbox"] == [0.5, 3, 8.5, 6]
    assert "1 of 4" in result.notes[0]


@pytest.mark.parametrize(("origin", "expected"), [(0, [5, 6, 2, 2]), (1, [4, 5, 3, 3])])
def test_the_origin_can_be_said(devkit, tmp_path, written, origin, expected):
    result = convert(devkit.parent, tmp_path / "out", "voc", voc_origin=origin)  # the folder above is understood
    assert written(tmp_path / "out")["valid"]["3.jpg"][1][1]["bbox"] == expected
    assert result.notes == ()


def test_an_origin_is_for_voc_alone(devkit, tmp_path):
    with pytest.raises(ConfigError, match="origin 2 is unknown"):
        convert(devkit, tmp_path / "out", "voc", voc_origin=2)
    with pytest.raises(ConfigError, match="does not fit format 'yolo'"):
        convert(devkit, tmp_path / "out", "yolo", voc_origin=1)


def test_trainval_is_train_where_there_is_no_other(devkit, tmp_path, picture, text, written):
    (devkit / "ImageSets/Main/train.txt").unlink()
    (devkit / "ImageSets/Main/val.txt").unlink()
    text(devkit / "ImageSets/Main/trainval.txt", "1 1", "3 -1")
    text(devkit / "ImageSets/Main/test.txt", "2")
    picture(devkit / "JPEGImages/4.jpg")
    result = convert(devkit, tmp_path / "out", "voc")
    assert {split: list(content) for split, content in written(tmp_path / "out").items()} == {
        "train": ["1.jpg", "3.jpg"],
        "test": ["2.jpg"],
    }
    assert any("in no list: 1" in note for note in result.notes)
    assert any("There is no valid split" in note for note in result.notes)


def test_a_test_list_without_annotations_is_left_out(devkit, tmp_path, text):
    text(devkit / "ImageSets/Main/test.txt", "7", "8")
    result = convert(devkit, tmp_path / "out", "voc")
    assert "test" not in result.splits
    assert any("none of its 2 pictures is annotated" in note for note in result.notes)


def test_xml_beside_the_pictures_in_one_folder_or_in_splits(tmp_path, picture, text, written):
    for split, name in (("train", "a"), ("train", "b c"), ("valid", "d"), ("test", "e")):
        picture(tmp_path / f"ds/{split}/{name}.jpg")
        boxes = voc_object("x", (1, 2, 3, 4), "<occluded>0</occluded><polygon><x1>1</x1></polygon>")
        text(tmp_path / f"ds/{split}/{name}.xml", annotation(f"{name}.jpg", boxes))
    result = convert(tmp_path / "ds", tmp_path / "out", "voc")
    assert {split: len(content) for split, content in written(tmp_path / "out").items()} == {
        "train": 2,
        "valid": 1,
        "test": 1,
    }
    assert "Left out of the objects: polygon." in result.notes
    single = convert(tmp_path / "ds/train", tmp_path / "single", "voc")
    assert single.splits == {"train": SplitCounts(1, 1), "valid": SplitCounts(1, 1)}
    assert any("0.8 train, 0.2 valid" in note for note in single.notes)


def test_a_picture_goes_by_the_annotations_own_name(devkit, tmp_path, picture, text, written):
    """Copied XML files often keep the filename of the first."""
    text(devkit / "Annotations/3.xml", annotation("1.jpg", voc_object("cat", (1, 1, 5, 5))))
    text(devkit / "Annotations/2.xml", annotation("other.png"))
    (devkit / "JPEGImages/2.jpg").unlink()
    picture(devkit / "JPEGImages/other.png")
    convert(devkit, tmp_path / "out", "voc")
    found = written(tmp_path / "out")
    assert list(found["valid"]) == ["3.jpg"]
    assert list(found["train"]) == ["1.jpg", "other.png"]


def test_pictures_of_other_kinds_are_left_out_with_their_annotations(devkit, tmp_path, picture, text, written):
    (devkit / "JPEGImages/2.jpg").unlink()
    picture(devkit / "JPEGImages/2.gif")
    text(devkit / "Annotations/2.xml", annotation("2.gif", voc_object("bird", (0, 0, 9, 9))))
    result = convert(devkit, tmp_path / "out", "voc")
    assert list(written(tmp_path / "out")["train"]) == ["1.jpg"]
    folder = devkit / "JPEGImages"
    assert result.notes[:2] == (
        (
            f"{folder}: left out pictures that are not JPEG, PNG, WebP or BMP: 1 .gif; the first is '2.gif'. "
            "Save them as JPEG to keep them and their labels."
        ),
        f"{folder}: annotation files left out with such pictures: 1.",
    )
    assert not any("without an annotation file" in note for note in result.notes)


def test_of_two_pictures_of_a_name_the_xml_chooses(devkit, tmp_path, picture, text, written):
    picture(devkit / "JPEGImages/1.png")
    text(devkit / "Annotations/1.xml", annotation("1.png"))
    convert(devkit, tmp_path / "out", "voc")
    assert "1.png" in written(tmp_path / "out")["train"]
    text(devkit / "Annotations/1.xml", annotation("1.bmp"))
    with pytest.raises(DataError, match="several pictures are named '1'"):
        convert(devkit, tmp_path / "again", "voc")


BILLION_LAUGHS = (
    '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><annotation><filename>&b;</filename></annotation>'
)


@pytest.mark.parametrize(
    ("content", "culprit"),
    [
        ("", "the file is empty"),
        ("<annotation>", "broken XML"),
        ("<annotation>&b;</annotation>", "broken XML"),
        ('<?xml version="1.0" encoding="klingon"?><annotation/>', "broken XML"),
        (BILLION_LAUGHS, "DOCTYPE"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>', "DOCTYPE"),
        ("<html/>", "holds <html>, not <annotation>"),
        ("<annotation><object/></annotation>", "object 1: has no name"),
        ("<annotation><object><name> </name></object></annotation>", "object 1: has no name"),
        ("<annotation><object><name>x</name></object></annotation>", "object 1 (x): has no bndbox"),
        (
            annotation("1.jpg", voc_object("x", (1, 2, 3, 4)), voc_object("y", (1, "?", 3, 4))),
            "object 2 (y): ymin = '?'",
        ),
        (annotation("1.jpg", voc_object("x", (1, 2, 3, ""))), "object 1 (x): ymax = None"),
        (annotation("1.jpg", voc_object("x", (1, 2, "inf", 4))), "xmax = 'inf'"),
        (annotation("1.jpg", voc_object("x", (1, 2, "1_0", 4))), "xmax = '1_0'"),
        (annotation("1.jpg", voc_object("x", (9, 2, 3, 4))), "object 1 (x): the box [9, 2, 3, 4] ends before"),
        (annotation("1.jpg", size=("a", 2)), "size: width = 'a'"),
        (annotation("1.jpg", voc_object("x", (1, 2, 3, 4), "<name>y</name>")), "object 1 (x): holds 2 <name>"),
        (annotation("1.jpg", voc_object("x", (1, 2, 3, 4), "<bndbox/>")), "object 1 (x): holds 2 <bndbox>"),
        (annotation("1.jpg", voc_object("x", (1, 2, "3</xmax><xmax>5", 4))), "object 1 (x): bndbox: holds 2 <xmax>"),
        (annotation("1.jpg", "<size/>"), "1.xml: holds 2 <size>"),
        (annotation("1.jpg", size=(48, 64)), "'1.jpg' is 64 x 48 pixels upright, the file says 48 x 64"),
    ],
)
def test_a_bad_file_is_named(devkit, tmp_path, text, content, culprit):
    file = text(devkit / "Annotations/1.xml", content)
    with pytest.raises(DataError) as caught:
        convert(devkit, tmp_path / "out", "voc")
    assert culprit in str(caught.value)
    assert str(file) in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_size_of_0_says_nothing(devkit, tmp_path, text):
    text(devkit / "Annotations/1.xml", annotation("1.jpg", size=(0, 0)))
    assert convert(devkit, tmp_path / "out", "voc").splits["train"].pictures == 2


def test_swapped_sides_are_told_by_the_boxes(devkit, tmp_path, text, written):
    text(devkit / "Annotations/1.xml", annotation("1.jpg", voc_object("dog", (1, 1, 64, 48)), size=(48, 64)))
    text(devkit / "Annotations/2.xml", annotation("2.jpg", size=(48, 64)))
    result = convert(devkit, tmp_path / "out", "voc")
    assert written(tmp_path / "out")["train"]["1.jpg"][1][0]["bbox"] == [0, 0, 64, 48]
    assert any("width and height of 2 pictures are swapped, as of '1.jpg'" in note for note in result.notes)


def test_a_picture_seen_sideways_must_have_been_annotated_upright(devkit, tmp_path, picture):
    picture(devkit / "JPEGImages/1.jpg", 64, 48, sideways=True)
    with pytest.raises(DataError, match=r"48 x 64 pixels upright, the file says 64 x 48.*EXIF"):
        convert(devkit, tmp_path / "out", "voc")


def test_bad_layouts_are_named(devkit, tmp_path, picture, text):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no Pascal VOC data set"):
        convert(tmp_path / "empty", tmp_path / "out", "voc")
    (devkit.parent / "VOC2012/Annotations").mkdir(parents=True)
    with pytest.raises(DataError, match="VOC2007, VOC2012"):
        convert(devkit.parent, tmp_path / "out", "voc")
    with pytest.raises(DataError, match="holds no XML file"):
        convert(devkit.parent / "VOC2012", tmp_path / "out", "voc")
    with pytest.raises(DataError, match=r"1\.xml: cannot be listed"):
        convert(devkit / "Annotations/1.xml", tmp_path / "out", "voc")
    text(devkit / "ImageSets/Main/val.txt", "3", "nobody")
    with pytest.raises(DataError, match=r"val\.txt: 'nobody' has no annotation file"):
        convert(devkit, tmp_path / "out", "voc")
    text(devkit / "ImageSets/Main/val.txt", "3")
    (devkit / "JPEGImages/3.jpg").unlink()
    with pytest.raises(DataError, match=r"3\.xml: picture '3\.jpg' is missing"):
        convert(devkit, tmp_path / "out", "voc")
    text(devkit / "Annotations/3.xml", annotation("1.jpg"))
    with pytest.raises(DataError, match=r"3\.xml: '1\.jpg' is the picture of 1\.xml too"):
        convert(devkit, tmp_path / "out", "voc")
    picture(devkit / "secret.jpg")
    text(devkit / "Annotations/3.xml", annotation("../secret.jpg"))
    with pytest.raises(DataError, match=r"'\.\./secret\.jpg' lies outside"):
        convert(devkit, tmp_path / "out", "voc")


corner = st.tuples(st.integers(0, 400), st.integers(0, 300), st.integers(1, 240), st.integers(1, 180))


@given(train=st.lists(corner, max_size=4), valid=st.lists(corner, max_size=4), origin=st.sampled_from([0, 1]))
def test_whole_pixels_survive_exactly(tmp_path_factory, picture, train, valid, origin):
    """x, y, w, h as this writer counts them, and back."""
    root = tmp_path_factory.mktemp("voc")
    for split, boxes in (("train", train), ("valid", valid)):
        picture(root / f"ds/{split}/a.bmp", 640, 480)
        corners = [(x + origin, y + origin, x + w, y + h) for x, y, w, h in boxes]
        content = annotation("a.bmp", *(voc_object("x", one) for one in corners), size=(640, 480))
        (root / f"ds/{split}/a.xml").write_text(content)
    convert(root / "ds", root / "out", "voc", voc_origin=origin)
    for split, boxes in (("train", train), ("valid", valid)):
        document = json.loads((root / "out" / split / "_annotations.coco.json").read_text())
        assert repr([one["bbox"] for one in document["annotations"]]) == repr([list(box) for box in boxes])


pieces = st.sampled_from(
    [f"<{slash}{tag}>" for slash in ("", "/") for tag in ("annotation", "object", "name", "bndbox")]
)
values = st.sampled_from(["a", "<xmin>1</xmin>", "<ymin>1</ymin>", "<xmax>2.5</xmax>", "<ymax>3</ymax>", "<size/>"])
traps = st.sampled_from(["<!DOCTYPE a>", "&amp;", "&a;", "\0"])
documents = st.lists(st.one_of(pieces, values, traps), max_size=14).map(lambda some: "".join(some).encode())


@given(content=st.one_of(st.binary(max_size=80), documents))
def test_any_bytes_are_read_or_refused(tmp_path_factory, content):
    file = tmp_path_factory.getbasetemp() / "fuzz.xml"
    for data in (content, b"<annotation>" + content + b"</annotation>"):
        file.write_bytes(data)
        try:
            read_voc_file(file)
        except DataError as error:
            assert str(file) in str(error)


def test_a_doctype_inside_is_not_expanded(tmp_path):
    """Without the refusal this file would hold 10^9 letters."""
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
    (tmp_path / "a.xml").write_text(f'<!DOCTYPE a [<!ENTITY e0 "l">{entities}]><annotation>&e9;</annotation>')
    with pytest.raises(DataError, match="DOCTYPE"):
        read_voc_file(tmp_path / "a.xml")
