import json

import pytest

from boxwright.data import inspect_folder
from boxwright.data.conversion import convert
from boxwright.data.conversion.recognise import recognised
from boxwright.runtime import DataError

COCO = {
    "images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "b.jpg"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}],
    "categories": [{"id": 1, "name": "x"}],
}
LABELME = {"version": "5.0", "flags": {}, "shapes": [], "imagePath": "a.jpg", "imageData": None}
REGIONS = {"a.jpg123": {"filename": "a.jpg", "size": 123, "regions": [], "file_attributes": {}}}
XML = "<annotation><filename>a.jpg</filename></annotation>"
LINE = "0 0.5 0.5 0.25 0.5"

FILES = {
    "yolo": [
        {"data.yaml": "train: images\nnames: [x]"},
        {"my.yml": "names:\n  0: x"},
        {"labels/train/a.txt": LINE},
        {"train/labels/a.txt": "", "train/labels/b.txt": f"{LINE}\n{LINE}"},
        {"classes.txt": "x", "a.txt": LINE},
        {"obj.data": "classes = 1", "obj_train_data/a.txt": LINE},
        {"obj.names": "x", "obj_train_data/a.txt": "0 .1 .2 .3 .4 .5 .6"},
    ],
    "voc": [
        {"Annotations/a.xml": XML},
        {"deep/er/a.xml": f'<?xml version="1.0" encoding="gb2312"?>\n{XML}'},
        {"a.xml": XML.encode("utf-16")},
    ],
    "coco": [
        {"annotations/custom.json": json.dumps(COCO)},
        {"train/x.json": json.dumps({**COCO, "annotations": []}, indent=2)},
        {"all.json": json.dumps({"info": {"text": "x" * 1000}, **COCO, "more": "x" * 200_000})},
        {"all.json": json.dumps({"annotations": COCO["annotations"] * 10_000, **COCO})},
        {"train/_annotations.coco.json": json.dumps(COCO).encode("utf-16")},
        {"annotations/instances_train.json": ""},
        {"image_info_test.json": json.dumps({"images": COCO["images"], "categories": []})},
    ],
    "labelme": [
        {"a.json": json.dumps(LABELME)},
        {"in/b.json": json.dumps({**LABELME, "imageData": "x" * 200_000})},
    ],
    "via": [
        {"via.json": json.dumps({"_via_settings": {}, "_via_img_metadata": REGIONS})},
        {"regions.json": json.dumps(REGIONS)},
    ],
    None: [
        {},
        {"notes.txt": LINE, "labels.csv": "a"},
        {"labels/readme.txt": "one two"},
        {"results.json": json.dumps([{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}])},
        {"package.json": '{"name": "x"}', "tsconfig.json": "// no JSON"},
        {"annotations.xml": "<annotations><meta/></annotations>"},
        {"compose.yaml": "services:\n  names: x"},
        {"__MACOSX/train/_annotations.coco.json": json.dumps(COCO), "._data.yaml": "names: [x]"},
    ],
}
ROWS = [(form, files) for form, all_files in FILES.items() for files in all_files]


def lay(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


@pytest.mark.parametrize(("form", "files"), ROWS)
def test_the_format_is_told_by_what_the_files_hold(tmp_path, form, files):
    assert recognised(lay(tmp_path / "ds", files)) == form


@pytest.mark.parametrize(
    ("form", "name", "content"),
    [
        ("yolo", "data.yaml", "names: [x]"),
        ("coco", "any.json", json.dumps(COCO)),
        ("via", "any.json", json.dumps(REGIONS)),
        ("voc", "a.xml", XML),
        (None, "a.txt", "x"),
    ],
)
def test_a_single_file_is_recognised(tmp_path, form, name, content):
    lay(tmp_path, {name: content, "labels/a.txt": LINE})
    assert recognised(tmp_path / name) == form


def test_two_formats_are_both_named(tmp_path):
    folder = lay(tmp_path / "ds", {"labels/a.txt": LINE, "annotations/all.json": json.dumps(COCO)})
    for run in (lambda: recognised(folder), lambda: convert(folder, tmp_path / "out")):
        with pytest.raises(DataError, match=r"fits yolo and coco\. Say which: --from yolo or --from coco"):
            run()


def test_what_is_not_recognised_is_said(tmp_path, picture):
    folder = lay(tmp_path / "ds", {"x.csv": "", "y.csv": "", "z": ""})
    picture(folder / "a.jpg")
    with pytest.raises(DataError, match=r"holds 1 pictures, 2 \.csv, 1 without a suffix; no annotations of a known"):
        convert(folder, tmp_path / "out")
    with pytest.raises(DataError, match=r"_annotations\.coco\.json: missing; .* holds 1 pictures, 2 \.csv"):
        inspect_folder(folder)


NAMES = {"train": "val", "Train": "validation"}


@pytest.mark.parametrize(
    ("file", "folder"),
    [
        ("{0}/{0}_COCO.json", "{0}"),
        ("annotations/custom_{0}.json", "{0}2017"),
        ("coco/deep/{0}.json", "coco/images/{0}"),
        ("{0}_annotations.json", "{0}_images"),
    ],
)
@pytest.mark.parametrize(("train", "valid"), NAMES.items())
def test_check_names_a_conversion_that_works(tmp_path, picture, file, folder, train, valid):
    root = tmp_path / "ds"
    for split in (train, valid):
        lay(root, {file.format(split): json.dumps(COCO)})
        for image in COCO["images"]:
            picture(root / folder.format(split) / image["file_name"])
    with pytest.raises(DataError) as caught:
        inspect_folder(root)
    said = (
        f"_annotations.coco.json: missing; this looks like COCO in another layout. Convert it: boxwright convert {root}"
    )
    assert f"{said} OUT --from coco" in str(caught.value)
    assert set(convert(root, tmp_path / "out", "coco").splits) == {"train", "valid"}


def test_check_names_no_conversion_that_refuses(tmp_path):
    """The pictures are not there: the cause is said, not the command."""
    root = lay(tmp_path / "ds", {"annotations/train.json": json.dumps(COCO)})
    with pytest.raises(DataError, match=r"missing; to convert it: .*train\.json: 0 of 2 listed pictures are found"):
        inspect_folder(root)
    lay(root, {"train/labels/a.txt": LINE})
    with pytest.raises(DataError, match=r"to convert it: .* fits yolo and coco"):
        inspect_folder(root)
