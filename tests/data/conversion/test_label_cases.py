"""The case folders with YOLO labels and Pascal VOC files: the right value, or one clear sentence."""

import json
import re

import pytest

from boxwright.data import ANNOTATIONS, convert, inspect_folder
from boxwright.runtime import DataError

CONVERTED = {
    "05-voc-appledouble/src": (16, None),
    "11-labelstudio-yolo/src": (20, r"the classes were read from it; there is no data.yaml"),
    "12-voc-polygon/poly": (16, r"got the box around their polygon: 16"),
    "12-voc-polygon/robnd": (16, r"got the upright box around their turned box \(robndbox\): 16"),
    "12-voc-polygon/cvat": (28, r"pictures renamed .* 'cam2/001.jpg' to 'cam2_001.jpg'"),
    "13-yolo-heic/src": (16, r"left out pictures .*: 1 .dng, 3 .heic, 1 .jxl; the first is 'IMG_0001.HEIC'. Save them"),
    "15-pose-labels/src": (24, r"read as a box and 4 keypoints of 2 numbers, without kpt_shape in data.yaml: 24"),
    "20-voc-gbk/src": (16, None),
    "20-voc-gbk/utf16": (16, None),
    "24-yolo-windows/src": (24, r"train names 'images\\\\train', which is not there; read as 'images/train'"),
    "37-orphan-labels/src": (32, r"nearly those of pictures without one were taken: 8; .* for 'shot \(0\).jpg'"),
    "47-voc-lists/ext": (20, None),
    "47-voc-lists/pairs": (20, None),
    "47-voc-lists/abs": (20, r"names not there as written: 7"),
}


@pytest.mark.parametrize("name", CONVERTED)
def test_a_case_becomes_a_data_set_without_errors(cases, tmp_path, name):
    boxes, said = CONVERTED[name]
    result = convert(cases / name, tmp_path / "out")
    assert sum(counts.boxes for counts in result.splits.values()) == boxes
    assert inspect_folder(tmp_path / "out").of("error") == []
    if said is not None:
        assert any(re.search(said, note) for note in result.notes), result.notes


def classes(out):
    document = json.loads((out / "train" / ANNOTATIONS).read_text(encoding="utf-8"))
    return sorted(one["name"] for one in document["categories"])


def test_names_are_decoded_as_declared(cases, tmp_path):
    for part in ("src", "utf16"):
        convert(cases / "20-voc-gbk" / part, tmp_path / part)
        assert "方块" in classes(tmp_path / part)


def test_the_first_numbers_of_a_pose_are_its_box(cases, tmp_path):
    convert(cases / "15-pose-labels" / "src", tmp_path / "out")
    document = json.loads((tmp_path / "out" / "train" / ANNOTATIONS).read_text())
    names = {image["id"]: image["file_name"] for image in document["images"]}
    box = next(one["bbox"] for one in document["annotations"] if names[one["image_id"]] == "0.jpg")
    assert box == pytest.approx([35, 67, 37, 25], abs=0.01)
    assert not any(one["segmentation"] for one in document["annotations"])


def test_a_label_of_nearly_the_pictures_name_is_its_label(cases, tmp_path):
    """Without it the picture would be a negative that teaches the detector to be blind."""
    convert(cases / "37-orphan-labels" / "src", tmp_path / "out")
    for path in (tmp_path / "out").glob(f"*/{ANNOTATIONS}"):
        document = json.loads(path.read_text())
        assert {image["id"] for image in document["images"]} == {one["image_id"] for one in document["annotations"]}


def test_xml_without_a_declaration_is_told_what_to_declare(cases, tmp_path):
    with pytest.raises(DataError, match=r'not UTF-8 \(byte 139 is 0xb7\), and declares no other.*encoding="gb2312"'):
        convert(cases / "20-voc-gbk" / "nodecl", tmp_path / "out")


def xml(name, corners):
    box = "".join(f"<{tag}>{side}</{tag}>" for tag, side in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True))
    return f"<annotation><filename>{name}</filename><object><name>a</name><bndbox>{box}</bndbox></object></annotation>"


def test_an_xml_file_that_names_another_picture_is_counted(picture, text, tmp_path):
    for number in range(3):
        picture(tmp_path / "ds" / f"{number}.jpg")
        text(tmp_path / "ds" / f"{number}.xml", xml("0.jpg", (2, 3, 20, 30)))
    result = convert(tmp_path / "ds", tmp_path / "out", "voc")
    assert any(
        "name another picture that is here: 2" in note and "'1.xml', names '0.jpg'" in note for note in result.notes
    )


def test_xml_corners_that_are_shares_are_refused(picture, text, tmp_path):
    picture(tmp_path / "ds" / "0.jpg")
    text(tmp_path / "ds" / "0.xml", xml("0.jpg", (0.1, 0.1, 0.5, 0.75)))
    with pytest.raises(DataError, match=r"0.xml: no corner is above 1, as of shares of the sides"):
        convert(tmp_path / "ds", tmp_path / "out", "voc")


def test_objects_deeper_in_the_xml_are_objects(picture, text, tmp_path):
    for number in range(2):
        picture(tmp_path / "ds" / f"{number}.jpg")
        content = xml(f"{number}.jpg", (2, 3, 20, 30)).replace("<object>", "<objects><object>")
        text(tmp_path / "ds" / f"{number}.xml", content.replace("</object>", "</object></objects>"))
    result = convert(tmp_path / "ds", tmp_path / "out", "voc")
    assert sum(counts.boxes for counts in result.splits.values()) == 2


def test_labels_in_another_folder_than_their_pictures_are_not_left_out(picture, text, tmp_path):
    """Their pictures would be negatives."""
    root = tmp_path / "ds"
    for split, folder in (("train", "train"), ("val", "valid")):
        for number in range(3):
            picture(root / "images" / split / f"{split}{number}.jpg")
            text(root / "labels" / folder / f"{split}{number}.txt", "0 .5 .5 .2 .2")
    text(root / "data.yaml", "train: images/train", "val: images/val", "names: [a]")
    with pytest.raises(
        DataError, match=r"images/val: no picture has a label file, and 3 of 3 have one of their name in"
    ):
        convert(root, tmp_path / "out", "yolo")
    (root / "labels" / "valid").rename(root / "labels" / "val")
    assert convert(root, tmp_path / "out", "yolo").splits["valid"].boxes == 3
