"""The real case folders, as they were built after public reports: the right value, or one clear sentence."""

import json
import re

import pytest

from boxwright.data import inspect_folder
from boxwright.data.conversion import SplitCounts, convert
from boxwright.runtime import DataError

FIRST_BOX = [35, 67, 37, 25]

CONVERTED = {
    "01-backslash/src": r"12 file names are not there as written; .*: 'images\\\\000.jpg' as '000.jpg'",
    "02-labelstudio-path/rf": r"12 file names are not there as written; .*upload\\\\4\\\\cb000000-shot.png' as",
    "03-hash-ids/src": None,
    "04-string-ids/src": r"36 ids are text, as '0000001_00000_d'; they became whole numbers",
    "05-voc-appledouble/rf": None,
    "08-segmentation-only/src": r"24 annotations have no box; the box of their outline was written",
    "08-segmentation-only/empty": r"24 annotations have no box; the box of their outline was written",
    "10-permuted-categories/src": r"2 classes have other ids than in .*joined by name: 'disc' 2, not 1, 'box' 1, not 2",
    "18-extension-case/src": r"12 file names are not there as written; .*: 'IMG_0000.jpg' as 'IMG_0000.JPG'",
    "22-nan/src": r"train: values that are NaN or infinite were written as null",
    "29-test-image-info/src": r"test.*: lists 4 pictures but no annotations; the split was left out",
    "31-crowd/half": None,
    "38-swapped-size/src": r"width and height of 6 pictures are swapped, as of '000.jpg'",
    "51-absolute-names/src": r"12 file names .*: '/home/annotator/export/train/000.jpg' as '000.jpg'",
    "53-number-names/src": None,
    "55-exif-orientation-0/src": None,
    "58-train-folder-any-json/src": None,
}


@pytest.mark.parametrize("name", CONVERTED)
def test_a_case_becomes_a_data_set_without_errors(cases, tmp_path, categories, name):
    result = convert(cases / name, tmp_path / "out")
    assert result.splits["train"] == SplitCounts(12, 24)
    assert set(result.splits) == {"train", "valid"}
    document = json.loads((tmp_path / "out/train/_annotations.coco.json").read_text())
    assert document["annotations"][0]["bbox"] == FIRST_BOX
    assert categories(tmp_path / "out") == ({1: "0", 2: "1"} if "number-names" in name else {1: "box", 2: "disc"})
    assert inspect_folder(tmp_path / "out").of("error") == []
    said = CONVERTED[name]
    if said is None:
        assert result.notes == ()
    else:
        pattern = re.compile(said)
        assert any(pattern.search(note) for note in result.notes), result.notes


def test_boxes_drawn_on_the_stored_picture_are_turned_with_it(cases, tmp_path):
    result = convert(cases / "59-flat-polygon-exif" / "src", tmp_path / "out")
    assert any("the boxes of 3 pictures were drawn on them as stored, as of '000.jpg'" in note for note in result.notes)
    document = json.loads((tmp_path / "out/train/_annotations.coco.json").read_text())
    assert [document["images"][0][side] for side in ("width", "height")] == [120, 160]
    for one in document["annotations"]:
        xs, ys = one["segmentation"][::2], one["segmentation"][1::2]
        assert one["bbox"] == [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]
    assert inspect_folder(tmp_path / "out").of("error") == []


def test_permuted_classes_keep_their_objects(cases, tmp_path):
    """The first object of valid is a box in both copies of the data: 01 has the same pictures in the usual order."""
    documents = []
    for name in ("10-permuted-categories", "03-hash-ids"):
        convert(cases / name / "src", tmp_path / name)
        documents.append(json.loads((tmp_path / name / "valid/_annotations.coco.json").read_text()))
    names = [{one["id"]: one["name"] for one in document["categories"]} for document in documents]
    objects = [
        [(one["bbox"], own[one["category_id"]]) for one in document["annotations"]]
        for document, own in zip(documents, names, strict=True)
    ]
    assert objects[0] == objects[1]


@pytest.mark.parametrize(
    ("name", "reading", "words"),
    [("src", "xyxy", "left, top, right, bottom"), ("widthheight", "yxhw", "top, left, height, width")],
)
def test_boxes_that_mean_something_else_are_refused_and_then_read(cases, tmp_path, name, reading, words):
    folder = cases / "32-xyxy-with-polygons" / name
    with pytest.raises(DataError, match=rf"the boxes fit as {words} \({reading}\), .*Give --boxes {reading}, or"):
        convert(folder, tmp_path / "out")
    convert(folder, tmp_path / "out", boxes=reading)
    document = json.loads((tmp_path / "out/train/_annotations.coco.json").read_text())
    for one in document["annotations"]:
        xs, ys = one["segmentation"][0][::2], one["segmentation"][0][1::2]
        assert one["bbox"] == pytest.approx([min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)])
    assert inspect_folder(tmp_path / "out").of("error") == []


def test_a_single_export_is_read_by_the_tails_of_its_paths(cases, tmp_path):
    result = convert(cases / "02-labelstudio-path/src", tmp_path / "out")
    assert {name: counts.pictures for name, counts in result.splits.items()} == {"train": 9, "valid": 3}
    assert "result.json: 12 file names are not there as written" in result.notes[0]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("21-json-encodings/utf16", r"train/_annotations\.coco\.json: the text is UTF-16; save it as UTF-8"),
        ("21-json-encodings/cp1252", r"the text is not UTF-8 \(byte \d+ is 0xfc; perhaps it is Windows-1252\)"),
        ("21-json-encodings/lfs", "this is a Git LFS pointer, not the file itself; run: git lfs pull"),
        ("21-json-encodings/empty", r"train/_annotations\.coco\.json: the file is empty"),
    ],
)
@pytest.mark.parametrize("form", [None, "coco"])
def test_a_case_is_refused_with_one_sentence(cases, tmp_path, name, said, form):
    with pytest.raises(DataError, match=said):
        convert(cases / name, tmp_path / "out", form)
    assert not (tmp_path / "out").exists()
