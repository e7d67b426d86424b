"""Pascal VOC as tools write it: polygons, turned boxes, sub-folders, encodings, lists of paths."""

import codecs
import math

import pytest

from boxwright.data.conversion import SplitCounts, convert
from boxwright.data.conversion.voc import read_voc_file
from boxwright.runtime import DataError

BOX = "<bndbox><xmin>2</xmin><ymin>3</ymin><xmax>20</xmax><ymax>30</ymax></bndbox>"
DEVKIT = [1, 2, 19, 28]


def xml(*objects, filename="x.jpg", declared=""):
    inside = "".join(f"<object>{one}</object>" for one in objects)
    size = "<size><width>64</width><height>48</height><depth>3</depth></size>"
    return f"{declared}<annotation><filename>{filename}</filename>{size}{inside}</annotation>"


@pytest.fixture
def lay(tmp_path, picture, text):
    """Writes pictures and their XML files, by names without suffix relative to both folders."""

    def write(*names, content=None, annotations="Annotations", pictures="JPEGImages"):
        for name in names:
            picture(tmp_path / f"ds/{pictures}/{name}.jpg")
            text(tmp_path / f"ds/{annotations}/{name}.xml", content or xml(f"<name>cat</name>{BOX}"))
        return tmp_path / "ds"

    return write


def annotations_of(out, written):
    return [one for split in written(out).values() for _, found in split.values() for one in found]


@pytest.mark.parametrize(
    "polygon",
    [
        "<x1>10</x1><y1>5</y1><x2>30.5</x2><y2>5</y2><x3>20</x3><y3>40</y3>",
        "<pt><x>10</x><y>5</y></pt><pt><x>30.5</x><y>5</y></pt><pt><x>20</x><y>40</y></pt>",
        "<point><x>10</x><y>5</y></point><point><x>30.5</x><y>5</y></point><point><x>20</x><y>40</y></point>",
        "<point>10,5</point><point>30.5,5</point><point>20, 40</point>",
        "<username>me</username><pt><x>10</x><y>5</y></pt><pt><x>30.5</x><y>5</y></pt><pt><x>20</x><y>40</y></pt>",
    ],
)
def test_an_object_with_a_polygon_alone_gets_its_box(lay, tmp_path, written, polygon):
    root = lay("a", "b", content=xml(f"<name>cat</name><polygon>{polygon}</polygon>"))
    result = convert(root, tmp_path / "out", "voc")
    for one in annotations_of(tmp_path / "out", written):
        assert one["bbox"] == [10, 5, 20.5, 35]
        assert one["segmentation"] == [[10, 5, 30.5, 5, 20, 40]]
        assert one["area"] == pytest.approx(20.5 * 35 / 2)
    assert "Objects without bndbox, which got the box around their polygon: 2." in result.notes


@pytest.mark.parametrize("angle", [0, 0.5, math.pi / 2, 2.8])
def test_a_turned_box_gets_the_upright_one_around_it(lay, tmp_path, written, angle):
    turned = f"<cx>30</cx><cy>20</cy><w>20</w><h>10</h><angle>{angle}</angle>"
    root = lay("a", "b", content=xml(f"<type>robndbox</type><name>cat</name><robndbox>{turned}</robndbox>"))
    result = convert(root, tmp_path / "out", "voc")
    corners = [complex(x, y) * complex(math.cos(angle), math.sin(angle)) for x in (-10, 10) for y in (-5, 5)]
    left, top = 30 + min(c.real for c in corners), 20 + min(c.imag for c in corners)
    one = annotations_of(tmp_path / "out", written)[0]
    assert one["bbox"] == pytest.approx([left, top, 2 * (30 - left), 2 * (20 - top)])
    assert any("turned box (robndbox): 2; the angle was left out" in note for note in result.notes)


def test_degrees_are_no_radians(lay, tmp_path):
    turned = "<cx>30</cx><cy>20</cy><w>20</w><h>10</h><angle>45</angle>"
    root = lay("a", "b", content=xml(f"<name>cat</name><robndbox>{turned}</robndbox>"))
    with pytest.raises(DataError, match=r"object 1 \(cat\): robndbox: angle = 45 is more than a full turn"):
        convert(root, tmp_path / "out", "voc")


def test_a_turned_box_by_its_corners(lay, tmp_path, written):
    tags = ("x_left_top", "y_left_top", "x_right_top", "y_right_top",
            "x_right_bottom", "y_right_bottom", "x_left_bottom", "y_left_bottom")  # fmt: skip
    corners = "".join(f"<{tag}>{n}</{tag}>" for tag, n in zip(tags, (20, 5, 40, 15, 30, 35, 10, 25), strict=True))
    root = lay("a", "b", content=xml(f"<name>cat</name><robndbox>{corners}</robndbox>"))
    convert(root, tmp_path / "out", "voc")
    assert annotations_of(tmp_path / "out", written)[0]["bbox"] == [10, 5, 30, 30]


@pytest.mark.parametrize(
    ("degrees", "box"), [("0.0", DEVKIT), ("180", DEVKIT), ("90.0", [-2.5, 7.5, 27, 18]), ("-270", [-2.5, 7.5, 27, 18])]
)
def test_a_box_with_an_angle_beside_it_gets_the_upright_one_around_it(lay, tmp_path, written, degrees, box):
    turned = f"<attributes><attribute><name>rotation</name><value>{degrees}</value></attribute></attributes>"
    root = lay("a", "b", content=xml(f"<name>cat</name>{BOX}{turned}"))
    result = convert(root, tmp_path / "out", "voc")
    assert annotations_of(tmp_path / "out", written)[0]["bbox"] == pytest.approx(box)
    said = "Boxes that are turned (attribute rotation): 2, the first by"
    assert any(said in note for note in result.notes) == (box is not DEVKIT)


def test_boxes_that_are_the_bounds_of_their_polygons_are_edges(lay, tmp_path, written):
    polygon = "<polygon><x1>2.2</x1><y1>3</y1><x2>20</x2><y2>3.3</y2><x3>20</x3><y3>29.8</y3></polygon>"
    root = lay("a", "b", content=xml(f"<name>cat</name>{BOX}{polygon}"))
    result = convert(root, tmp_path / "out", "voc")
    one = annotations_of(tmp_path / "out", written)[0]
    assert one["bbox"] == [2, 3, 18, 27]
    assert one["segmentation"] == [[2.2, 3, 20, 3.3, 20, 29.8]]
    assert any("2 of 2 have a polygon" in note for note in result.notes)


def test_a_polygon_that_is_none_says_so(lay, tmp_path):
    root = lay("a", content=xml("<name>cat</name><polygon><x1>1</x1><y1>?</y1></polygon>"))
    with pytest.raises(DataError, match="has no bndbox, and its polygon is not three points"):
        convert(root, tmp_path / "out", "voc")


def test_sub_folders_of_annotations_and_pictures(lay, tmp_path, text, written):
    root = lay("cam1/000", "cam1/001", "cam2/000")
    text(root / "ImageSets/Main/default.txt", "cam1/000")
    result = convert(root, tmp_path / "out", "voc")
    assert sum(counts.boxes for counts in result.splits.values()) == 3
    assert sum(len(split) for split in written(tmp_path / "out").values()) == 3
    text(root / "ImageSets/Main/train.txt", "cam1/000", "cam2/000")
    text(root / "ImageSets/Main/val.txt", "001")
    result = convert(root, tmp_path / "lists", "voc")
    assert result.splits == {"train": SplitCounts(2, 2), "valid": SplitCounts(1, 1)}
    assert set(written(tmp_path / "lists")["train"]) == {"000.jpg", "cam2_000.jpg"}
    text(root / "ImageSets/Main/val.txt", "000")
    with pytest.raises(DataError, match=r"'000' may mean cam1/000\.xml and cam2/000\.xml"):
        convert(root, tmp_path / "again", "voc")


def test_folders_of_splits_inside_annotations(lay, tmp_path):
    root = lay("train/a", "val/b")
    assert set(convert(root, tmp_path / "out", "voc").splits) == {"train", "valid"}


def test_each_split_with_folders_of_its_own(lay, tmp_path):
    for split in ("train", "valid"):
        root = lay(split, annotations=f"{split}/Annotations", pictures=f"{split}/JPEGImages")
    assert set(convert(root, tmp_path / "out", "voc").splits) == {"train", "valid"}


@pytest.mark.parametrize("pictures", ["Annotations", "imgs", "images"])
def test_pictures_beside_or_in_any_folder(lay, tmp_path, pictures):
    root = lay("a", "b", pictures=pictures)
    assert sum(counts.boxes for counts in convert(root, tmp_path / "out", "voc").splits.values()) == 2


@pytest.mark.parametrize(
    "line",
    [
        "{n}",
        "{n}.jpg",
        "{n}.xml",
        "{n} 1",
        "{n}\t-1",
        "JPEGImages/{n}.jpg Annotations/{n}.xml",
        "./JPEGImages/{n}.jpg\tAnnotations/{n}.xml",
        "/data/VOC/JPEGImages/{n}.jpg /data/VOC/Annotations/{n}.xml",
        "/data/VOC/JPEGImages/{n}.jpg",
        "D:\\VOC\\JPEGImages\\{n}.jpg",
        "JPEGImages/{n}.jpg",
    ],
)
@pytest.mark.parametrize("place", ["ImageSets/Main", "ImageSets", "."])
def test_lists_of_names_pictures_paths_and_pairs(lay, tmp_path, text, line, place):
    root = lay("a", "b 2", "c.1")
    text(root / place / "train.txt", line.format(n="a"), line.format(n="b 2"))
    text(root / place / "val.txt", line.format(n="c.1"))
    result = convert(root, tmp_path / "out", "voc")
    assert result.splits == {"train": SplitCounts(2, 2), "valid": SplitCounts(1, 1)}


def test_lists_as_paddlex_names_them(lay, tmp_path, text):
    root = lay("a", "b", "c")
    text(root / "train_list.txt", "JPEGImages/a.jpg Annotations/a.xml", "JPEGImages/b.jpg Annotations/b.xml")
    text(root / "val_list.txt", "JPEGImages/c.jpg Annotations/c.xml")
    text(root / "labels.txt", "cat")
    result = convert(root, tmp_path / "out", "voc")
    assert result.splits == {"train": SplitCounts(2, 2), "valid": SplitCounts(1, 1)}


@pytest.mark.parametrize(
    ("declared", "codec", "name"),
    [
        ("gb2312", "gb2312", "方块"),
        ("gb2312", "gbk", "镕"),  # not in GB 2312: what programs write that declare it
        ("GBK", "gbk", "方块"),
        ("big5", "big5", "方塊"),
        ("Shift_JIS", "shift_jis", "四角"),
        ("euc-kr", "euc_kr", "상자"),
        ("windows-1251", "cp1251", "кот"),
        ("windows-1252", "cp1252", "café"),
        ("ISO-8859-1", "latin-1", "café"),
        ("utf-8", "utf-8-sig", "方块"),
        ("utf-16", "utf-16", "方块"),
        ("utf-16", "utf-8", "方块"),  # what .NET writes from a string
        ("", "utf-8", "方块"),
        ("", "utf-16", "方块"),
        ("", "utf-16-le", "方块"),
    ],
)
def test_the_encoding_is_the_one_declared(tmp_path, declared, codec, name):
    head = f'<?xml version="1.0" encoding="{declared}"?>\n' if declared else ""
    (tmp_path / "a.xml").write_bytes(codecs.encode(xml(f"<name>{name}</name>{BOX}", declared=head), codec))
    assert read_voc_file(tmp_path / "a.xml").objects[0].name == name


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (xml("<name>方块</name>").encode("gbk"), r"not UTF-8 \(byte .*declares no other encoding.*gb2312"),
        (
            '<?xml version="1.0" encoding="utf-8"?><annotation>方块</annotation>'.encode("gbk"),
            "declares utf-8, but its",
        ),
        (b'<?xml version="1.0" encoding="klingon"?><annotation/>', "unknown encoding 'klingon'"),
        (b'<?xml version="1.0" encoding="zip"?><annotation/>', "unknown encoding 'zip'"),
        (b'<?xml version="1.0" encoding="unicode_escape"?><annotation/>', "unknown encoding"),
        ("<!DOCTYPE a><annotation/>".encode("utf-16"), "DOCTYPE"),
        ('<?xml version="1.0" encoding="gbk"?><!DOCTYPE a><annotation/>'.encode("gbk"), "DOCTYPE"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"", "the file is empty"),
    ],
)
def test_what_cannot_be_decoded_is_said(tmp_path, content, said):
    (tmp_path / "a.xml").write_bytes(content)
    with pytest.raises(DataError, match=said):
        read_voc_file(tmp_path / "a.xml")


def test_hidden_files_are_none(lay, tmp_path):
    root = lay("a", "b")
    for name in ("Annotations/._a.xml", "JPEGImages/._a.jpg", "Annotations/__MACOSX/a.xml", "JPEGImages/Thumbs.db"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"\0\5\x16\7")
    result = convert(root, tmp_path / "out", "voc")
    assert sum(counts.pictures for counts in result.splits.values()) == 2
    assert not any("left out" in note for note in result.notes)


def test_a_pictures_name_in_the_file_may_be_that_of_another_machine(lay, tmp_path, written):
    root = lay("a", "b")
    (root / "JPEGImages/a.jpg").rename(root / "JPEGImages/Caf\u00e9 1.JPG")
    file = root / "Annotations/a.xml"
    file.write_text(xml(f"<name>cat</name>{BOX}", filename="D:\\pics\\cafe\u0301%201.jpg"), encoding="utf-8")
    result = convert(root, tmp_path / "out", "voc")
    assert len(annotations_of(tmp_path / "out", written)) == 2
    assert any("'Caf\u00e9 1.JPG'" in note and "not there as written: 1" in note for note in result.notes)


@pytest.mark.parametrize("name", ["score", "a\tb"])
def test_names_that_check_refuses_are_refused(lay, tmp_path, name):
    root = lay("a", content=xml(f"<name>{name}</name>{BOX}"))
    with pytest.raises(DataError, match="the class name"):
        convert(root, tmp_path / "out", "voc")
