import copy
import json
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxwright.data import inspect_folder, read_folder
from boxwright.data.conversion import SplitCounts, convert
from boxwright.runtime import DataError

RLE = {"counts": [0, 5, 3067], "size": [48, 64]}
DOCUMENT = {
    "info": {"year": 2017, "description": "ünique"},
    "licenses": [{"id": 3, "name": "CC"}],
    "images": [
        {"id": 397133, "file_name": "a.jpg", "width": 64, "height": 48, "license": 3, "coco_url": "u", "tags": [1]},
        {"id": 37777, "file_name": "b.jpg", "width": 64, "height": 48},
    ],
    "annotations": [
        {
            "id": 1768,
            "image_id": 37777,
            "category_id": 90,
            "bbox": [1.25, 2, 30.1, 4],
            "area": 70.5,
            "segmentation": [[1.25, 2, 31.35, 2, 31.35, 6]],
            "iscrowd": 0,
            "attributes": {"occluded": True},
        },
        {
            "id": 0,
            "image_id": 37777,
            "category_id": 1,
            "bbox": [0, 0, 5, 1],
            "area": 5,
            "segmentation": RLE,
            "iscrowd": 1,
        },
    ],
    "categories": [
        {"id": 90, "name": "toothbrush", "supercategory": "indoor", "keypoints": ["x"]},
        {"id": 1, "name": "person", "supercategory": "person"},
    ],
    "contributors": ["somebody"],
}


def other(number):
    """A second split's document: other pictures, other ids."""
    document = copy.deepcopy(DOCUMENT)
    for image in document["images"]:
        image["id"] += number
        image["file_name"] = f"{number}{image['file_name']}"
    for one in document["annotations"]:
        one["image_id"] += number
    return document


@pytest.fixture
def lay(tmp_path, picture, text):
    """Writes a document and its pictures."""

    def write(file, folder, document, root="ds"):
        text(tmp_path / root / file, json.dumps(document))
        for image in document["images"]:
            picture(tmp_path / root / folder / image["file_name"])
        return tmp_path / root

    return write


LAYOUTS = [
    ("annotations/instances_{}2017.json", "{}2017", "train", "val"),
    ("annotations/instances_{}2017.json", "images/{}2017", "train", "val"),
    ("annotations/instances_{}.json", "images/{}", "Train", "Validation"),
    ("annotations/instances_{}.json", "images", "train", "val"),
    ("annotations/instances_{}.json", "{}", "train", "val"),
    ("annotations/{}.json", "{}/images", "train", "valid"),
    ("{}.json", "{}", "train", "val"),
    ("my_{}_set.json", "data", "train", "val"),
    ("{}/_annotations.coco.json", "{}", "train", "valid"),
    ("{}/_annotations.coco.json", "{}", "train", "val"),
    ("annotations/custom_{}.json", "{}2017", "train", "val"),
    ("annotations/instances_{}.json", "{}2017", "train", "val"),
    ("{}_annotations.json", "{}_images", "train", "val"),
    ("annotations/{}_coco.json", "{}_images", "train", "val"),
    ("{}/annotations.json", "{}", "train", "val"),
    ("{}/labels.json", "{}/data", "train", "validation"),
    ("annotations/{0}/{0}.json", "images/{0}", "train", "val"),
    ("{}/{}_COCO.json", "{}", "train", "val"),
    ("deep/er/{}/annotations/all.json", "deep/er/{}/images/a/b", "train", "valid"),
    ("coco/annotations/{}COCO.json", "pictures/of/{}", "train", "val"),
    ("annotations/instances_{}2017.json", "JPEGImages", "train", "val"),
]


@pytest.mark.parametrize(("file", "folder", "train", "valid"), LAYOUTS)
def test_everything_in_the_documents_survives(lay, tmp_path, file, folder, train, valid):
    lay(file.format(train, train), folder.format(train), DOCUMENT)
    root = lay(file.format(valid, valid), folder.format(valid), other(7))
    result = convert(root, tmp_path / "out")
    for split, document in (("train", DOCUMENT), ("valid", other(7))):
        found = json.loads((tmp_path / "out" / split / "_annotations.coco.json").read_text())
        expected = copy.deepcopy(document)
        expected["annotations"][0]["id"], expected["annotations"][1]["id"] = 1, 2  # numbered from 1
        assert found == expected
        assert repr(found["annotations"][1]["bbox"]) == "[0, 0, 5, 1]"  # whole numbers stay whole
    assert result.splits == {"train": SplitCounts(2, 2), "valid": SplitCounts(2, 2)}
    assert result.notes == ()


def test_other_tasks_documents_are_passed_over(lay, tmp_path, text):
    lay("annotations/instances_train2017.json", "train2017", DOCUMENT)
    root = lay("annotations/instances_val2017.json", "val2017", other(7))
    for name in ("person_keypoints_train2017", "captions_val2017"):
        text(root / f"annotations/{name}.json", "not read")
    assert set(convert(root, tmp_path / "out", "coco").splits) == {"train", "valid"}


@pytest.mark.parametrize(
    ("file", "folder", "given"),
    [
        ("annotations/instances_default.json", "images/default", ""),
        ("annotations/instances_default.json", "images", "annotations/instances_default.json"),
        ("labels.json", "images", ""),
        ("labels.json", ".", "labels.json"),
        ("_annotations.coco.json", ".", ""),
    ],
)
def test_one_document_is_split(lay, tmp_path, written, file, folder, given):
    root = lay(file, folder, DOCUMENT)
    result = convert(root / given, tmp_path / "out", "coco")
    assert {split: counts.pictures for split, counts in result.splits.items()} == {"train": 1, "valid": 1}
    found = written(tmp_path / "out")
    assert {image["id"] for content in found.values() for image, _ in content.values()} == {397133, 37777}
    assert any("0.8 train, 0.2 valid" in note for note in result.notes)


def test_ids_that_clash_are_numbered_anew_with_a_note(lay, tmp_path, written):
    lay("train/_annotations.coco.json", "train", DOCUMENT)
    clash = other(7)
    clash["licenses"] = [{"id": 4, "name": "MIT"}]
    clash["info"] = {"year": 2018}
    swapped = {397133 + 7: 37777, 37777 + 7: 397133}
    for image in clash["images"]:
        image["id"] = swapped[image["id"]]
    for one in clash["annotations"]:
        one["image_id"] = swapped[one["image_id"]]
    root = lay("valid/_annotations.coco.json", "valid", clash)
    assert convert(root, tmp_path / "kept", "coco").notes == ()
    results = [convert(root, tmp_path / f"{seed}", "coco", split=(0.5, 0.5), seed=seed) for seed in range(8)]
    clashes = [one for one in results if any(note.startswith("Picture ids were numbered anew") for note in one.notes)]
    alone = [one for one in results if one not in clashes]
    ids = [image["id"] for content in written(alone[0].out).values() for image, _ in content.values()]
    assert sorted(ids) == [37777, 37777, 397133, 397133]
    result = clashes[0]
    assert [note for note in result.notes if note.startswith("'info' differs in valid")]
    found = written(result.out)
    assert sum(counts.boxes for counts in result.splits.values()) == 4
    for content in found.values():
        assert [image["id"] for image, _ in content.values()] == [1, 2]
        assert all(len(rows) == (2 if "b" in name else 0) for name, (_, rows) in content.items())
    document = json.loads((result.out / "train/_annotations.coco.json").read_text())
    assert document["licenses"] == [{"id": 3, "name": "CC"}, {"id": 4, "name": "MIT"}]
    assert document["info"] == DOCUMENT["info"]


def test_what_is_left_out_of_a_document_is_filled_in(lay, tmp_path, written):
    bare = {
        "images": [{"id": 1.0, "file_name": "a.jpg"}, {"id": 2, "file_name": "b.jpg", "width": None}],
        "annotations": [{"image_id": 1, "category_id": 5, "bbox": [1, 2, 3, 4]}],
        "categories": [{"id": 5, "name": "x"}],
    }
    root = lay("train/_annotations.coco.json", "train", bare)
    lay("valid/_annotations.coco.json", "valid", bare)
    convert(root, tmp_path / "out", "coco")
    image, [one] = written(tmp_path / "out")["train"]["a.jpg"]
    assert image == {"id": 1, "file_name": "a.jpg", "width": 64, "height": 48}
    assert (one["area"], one["iscrowd"], one["segmentation"]) == (12, 0, [])
    assert [found.name for found in read_folder(tmp_path / "out").classes] == ["x"]


def test_categories_of_the_splits_are_joined(lay, tmp_path, categories):
    train = lay("train.json", "train", DOCUMENT) / "train.json"
    second = other(7)
    second["categories"][1]["supercategory"] = "human"
    second["categories"].append({"id": 2, "name": "bicycle"})
    root = lay("val.json", "val", second)
    result = convert(root, tmp_path / "out", "coco")
    assert categories(tmp_path / "out", "train") == {90: "toothbrush", 1: "person", 2: "bicycle"}
    assert categories(tmp_path / "out", "valid") == categories(tmp_path / "out", "train")
    valid = root / "val.json"
    assert result.notes == (
        f"{valid}: category 1 differs from the first split's; the first split's was kept.",
        f"{valid}: 1 classes are not in {train}; they were added for all splits: 'bicycle'.",
    )


def test_classes_of_other_ids_or_order_are_joined_by_name(lay, tmp_path, categories, written):
    """The objects keep their class: permuted ids, and a name in the other Unicode form."""
    first, second = copy.deepcopy(DOCUMENT), other(7)
    first["categories"][0]["name"] = "caf\u00e9"
    second["categories"] = [{"id": 1, "name": "cafe\u0301"}, {"id": 90, "name": "person"}, {"id": 2, "name": "brush"}]
    second["annotations"][0]["category_id"], second["annotations"][1]["category_id"] = 1, 2
    train = lay("train.json", "train", first) / "train.json"
    root = lay("val.json", "val", second)
    result = convert(root, tmp_path / "out", "coco")
    names = {90: "caf\u00e9", 1: "person", 2: "brush"}
    assert categories(tmp_path / "out", "train") == categories(tmp_path / "out", "valid") == names
    _, rows = written(tmp_path / "out")["valid"]["7b.jpg"]
    assert [one["category_id"] for one in rows] == [90, 2]
    said = f"val.json: 2 classes have other ids than in {train}; they were joined by name: "
    assert any(said + "'cafe\u0301' 90, not 1, 'person' 1, not 90." in note for note in result.notes)
    assert any("1 classes are not in" in note and "'brush'" in note for note in result.notes)
    assert inspect_folder(tmp_path / "out").of("error") == []


def test_an_id_that_another_class_has_is_not_taken(lay, tmp_path, categories, written):
    second = other(7)
    second["categories"][0]["name"] = "brush"
    lay("train.json", "train", DOCUMENT)
    root = lay("val.json", "val", second)
    convert(root, tmp_path / "out", "coco")
    assert categories(tmp_path / "out", "valid") == {90: "toothbrush", 1: "person", 91: "brush"}
    _, rows = written(tmp_path / "out")["valid"]["7b.jpg"]
    assert [one["category_id"] for one in rows] == [91, 1]


def test_two_classes_of_one_name_in_a_document_are_named_with_file_and_ids(lay, tmp_path):
    document = {**DOCUMENT, "categories": [*DOCUMENT["categories"], {"id": 2, "name": "toothbrush"}]}
    root = lay("all.json", "images", document)
    with pytest.raises(DataError, match=r"all\.json: category 2 is 'toothbrush', and so is 90\. Give the class one id"):
        convert(root, tmp_path / "out", "coco")
    assert not (tmp_path / "out").exists()


def test_a_parent_may_have_the_name_of_its_child_while_no_object_has_it(lay, tmp_path):
    document = copy.deepcopy(DOCUMENT)
    document["categories"] += [
        {"id": 0, "name": "person", "supercategory": "none"},
        {"id": 7, "name": "x", "supercategory": ["odd"]},
    ]
    root = lay("all.json", "images", document)
    convert(root, tmp_path / "out", "coco")
    inspection = inspect_folder(tmp_path / "out")
    assert [one.name for one in inspection.classes] == ["person", "x", "toothbrush"]
    assert "category-name-twice" not in {finding.code for finding in inspection.findings}
    document["annotations"][0]["category_id"] = 0
    lay("all.json", "images", document)
    with pytest.raises(DataError, match="category 0 is 'person', and so is 1"):
        convert(root, tmp_path / "again", "coco")


def test_a_file_listed_again_is_one_picture_with_all_objects(lay, tmp_path, written):
    twice = copy.deepcopy(DOCUMENT)
    twice["images"] += [
        {"id": 5, "file_name": "b.jpg", "width": 64, "height": 48},
        {"id": 6, "file_name": "./b.jpg", "width": 64, "height": 48},
    ]
    crowd = twice["annotations"][1]
    twice["annotations"] += [
        {**crowd, "id": 8, "image_id": 5},  # the same once more
        {"id": 9, "image_id": 6, "category_id": 1, "bbox": [7, 7, 7, 7]},
    ]
    lay("train.json", "train", twice)
    root = lay("val.json", "val", other(7))
    result = convert(root, tmp_path / "out", "coco")
    content = written(tmp_path / "out")["train"]
    assert list(content) == ["a.jpg", "b.jpg"]
    image, rows = content["b.jpg"]
    assert image["id"] == 37777
    assert [one["bbox"] for one in rows] == [[1.25, 2, 30.1, 4], [0, 0, 5, 1], [7, 7, 7, 7]]
    (note,) = result.notes
    assert f"{root / 'train.json'}: pictures listed again: 2, the first 'b.jpg'" in note


@pytest.mark.parametrize("annotated", [True, False])
def test_a_document_without_pictures_is_left_out(lay, tmp_path, annotated):
    lay("train/_annotations.coco.json", "train", DOCUMENT)
    lay("valid/_annotations.coco.json", "valid", other(7))
    annotations = DOCUMENT["annotations"] if annotated else []
    root = lay("test/_annotations.coco.json", "test", {**DOCUMENT, "images": [], "annotations": annotations})
    if annotated:
        with pytest.raises(DataError, match="annotation id 1768: picture id 37777 does not exist"):
            convert(root, tmp_path / "out", "coco")
        return
    result = convert(root, tmp_path / "out", "coco")
    assert list(result.splits) == ["train", "valid"]
    assert result.notes == (f"{root / 'test/_annotations.coco.json'}: lists no picture; the split was left out.",)
    assert not (tmp_path / "out/test").exists()


def test_pictures_of_other_kinds_are_left_out_with_their_objects(lay, tmp_path, text, written):
    document = copy.deepcopy(DOCUMENT)
    document["images"] += [{"id": 1, "file_name": "c.tiff", "width": 1}, {"id": 2, "file_name": "sub/d.gif"}]
    document["annotations"].append({"id": 3, "image_id": 1, "category_id": 90, "bbox": [0, 0, 5, 5]})
    lay("train.json", "train", document)
    root = lay("val.json", "val", other(7))
    result = convert(root, tmp_path / "out", "coco")
    assert result.splits["train"] == SplitCounts(2, 2)
    assert list(written(tmp_path / "out")["train"]) == ["a.jpg", "b.jpg"]
    said = (
        f"{root / 'train.json'}: left out pictures that are not JPEG, PNG, WebP or BMP: 1 .gif, 1 .tiff; the first is"
    )
    assert [note.startswith(said) for note in result.notes] == [True]
    document["images"], document["annotations"] = document["images"][2:], []
    text(root / "train.json", json.dumps(document))
    with pytest.raises(DataError, match=r"no picture is left.*1 \.gif, 1 \.tiff.*Give annotated pictures"):
        convert(root / "train.json", tmp_path / "again", "coco")


def test_a_picture_that_is_not_what_its_name_says_is_an_error(lay, tmp_path, text):
    root = lay("all.json", "images", DOCUMENT)
    text(root / "images/a.jpg", "no picture")
    with pytest.raises(DataError, match=r"a\.jpg"):
        convert(root, tmp_path / "out", "coco")


def change(document, path, value):
    target = document
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value


@pytest.mark.parametrize(
    ("path", "value", "culprits"),
    [
        (["images"], {}, ["'images' is missing"]),
        (["images"], [], ["lists no picture"]),
        (["annotations"], [1], ["'annotations' is missing"]),
        (["images", 0, "id"], None, ["picture 'a.jpg'", "id = None"]),
        (["images", 0, "id"], "37777", ["picture id 37777 is used twice"]),
        (["images", 0, "id"], 2.5, ["picture 'a.jpg'", "id = 2.5"]),
        (["images", 0, "id"], 37777, ["picture id 37777 is used twice"]),
        (["images", 0, "file_name"], 5, ["picture id 397133: file_name = 5 is not a file name"]),
        (["images", 0, "file_name"], "", ["picture id 397133: has no file_name"]),
        (["images", 0, "file_name"], "../z.jpg", ["'../z.jpg' lies outside"]),
        (["images", 0, "file_name"], "x\\..\\..\\z.jpg", ["lies outside"]),
        (["images", 0, "file_name"], "/etc/passwd", ["'/etc/passwd' lies outside"]),
        (
            ["images", 0, "file_name"],
            "c.jpg",
            ["'c.jpg' is missing in", "1 of 2 listed pictures are found", "holds 2."],
        ),
        (["images", 0, "file_name"], "\ud800", ["is not a file name"]),
        (["images", 0, "file_name"], "a\0.jpg", ["is not a file name"]),
        (["images", 0, "file_name"], "a" * 5000, ["is missing in"]),
        (["images", 0, "width"], 48, ["picture id 397133", "64 x 48", "48 x 48"]),
        (["annotations", 0, "image_id"], 5, ["annotation id 1768", "picture id 5"]),
        (["annotations", 0, "image_id"], True, ["annotation id 1768", "image_id = True"]),
        (["annotations", 0, "category_id"], 5, ["annotation id 1768", "category id 5", "[1, 90]"]),
        (["annotations", 0, "category_id"], [1], ["annotation id 1768", "category_id = [1]"]),
        (["annotations", 0, "iscrowd"], "no", ["annotation id 1768", "iscrowd = 'no'"]),
        (["annotations", 0, "bbox"], [1, 2, 3], ["annotation id 1768", "[1, 2, 3]"]),
        (["annotations", 0, "bbox"], [1, 2, 3, float("nan")], ["annotation id 1768", "nan"]),
        (["annotations", 0, "bbox"], [1, 2, 3, 10**400], ["annotation id 1768"]),
        (["annotations", 0, "area"], "big", ["annotation id 1768", "area = 'big'"]),
        (["categories", 0, "id"], None, ["category 'toothbrush'", "id = None"]),
        (["categories", 0, "id"], 1, ["category id 1 is used twice"]),
        (["categories", 0, "name"], None, ["category 90 has no name: None"]),
        (["annotations", 0, "bbox"], "text", ["annotation id 1768", "bbox = 'text' is not four finite numbers"]),
    ],
)
def test_a_bad_document_is_named(lay, tmp_path, text, path, value, culprits):
    root = lay("train.json", "images", DOCUMENT)
    document = copy.deepcopy(DOCUMENT)
    change(document, path, value)
    file = text(root / "train.json", json.dumps(document))
    with pytest.raises(DataError) as caught:
        convert(root, tmp_path / "out", "coco")
    assert all(culprit in str(caught.value) for culprit in [str(file), *culprits]), str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", ["", "{", "[]", "3", "[" * 100000, '{"images": NaN}'])
def test_broken_json_is_one_error(lay, tmp_path, text, content):
    root = lay("train.json", "images", DOCUMENT)
    text(root / "train.json", content)
    with pytest.raises(DataError, match=r"train\.json"):
        convert(root, tmp_path / "out", "coco")


def test_splits_that_cannot_be_told_apart_are_named(lay, tmp_path, text):
    text(tmp_path / "ds/results.json", "[1]")
    text(tmp_path / "ds/package.json", '{"images": 1}')
    with pytest.raises(DataError, match=r"no COCO document; 2 JSON files are none: package\.json, results\.json"):
        convert(tmp_path / "ds", tmp_path / "out", "coco")
    lay("annotations/instances_train2014.json", "images", DOCUMENT)
    root = lay("annotations/instances_train2017.json", "images", {**DOCUMENT, "info": {}})
    said = r"2 documents are 'train': .*instances_train2014\.json, .*instances_train2017\.json\. Give one of them"
    with pytest.raises(DataError, match=said):
        convert(root, tmp_path / "out", "coco")
    (root / "annotations/instances_train2014.json").rename(root / "annotations/instances_minival.json")
    with pytest.raises(DataError, match=r"instances_minival\.json: no name says which split it is"):
        convert(root, tmp_path / "out", "coco")


numbers = st.one_of(st.integers(-5, 500), st.floats(-5, 500))


@given(boxes=st.lists(st.tuples(numbers, numbers, numbers, numbers), max_size=5))
def test_boxes_survive_exactly(tmp_path_factory, picture, boxes):
    root = tmp_path_factory.mktemp("coco")
    picture(root / "a.bmp")
    picture(root / "b.bmp")
    document = {
        "images": [{"id": 0, "file_name": "a.bmp"}, {"id": 1, "file_name": "b.bmp"}],
        "annotations": [{"image_id": 0, "category_id": 0, "bbox": list(box)} for box in boxes],
        "categories": [{"id": 0, "name": "x"}],
    }
    (root / "all.json").write_text(json.dumps(document))
    out = tmp_path_factory.mktemp("out")
    convert(root, out, "coco")
    found = [json.loads(path.read_text()) for path in out.glob("*/*.json")]
    rows = [one["bbox"] for part in found for one in part["annotations"]]
    assert repr(rows) == repr([list(box) for box in boxes])


def test_a_real_set_comes_back_as_it_was(real_data, tmp_path):
    """Only the annotations' ids change, and sub-folders there are none."""
    convert(real_data / "chess", tmp_path / "out", "coco")
    for split in ("train", "valid", "test"):
        name = f"{split}/_annotations.coco.json"
        before, after = (json.loads((root / name).read_text()) for root in (real_data / "chess", tmp_path / "out"))
        for document in (before, after):
            rows = {one.pop("id"): one for one in document["annotations"]}
            document["annotations"] = sorted(rows.values(), key=json.dumps)
        before["annotations"] = sorted(before["annotations"], key=lambda one: json.dumps(one, sort_keys=True))
        after["annotations"] = sorted(after["annotations"], key=lambda one: json.dumps(one, sort_keys=True))
        assert after == before
        first = before["images"][0]["file_name"]
        assert (tmp_path / "out" / split / first).read_bytes() == (real_data / "chess" / split / first).read_bytes()


def test_pictures_may_be_apart_from_their_document(lay, tmp_path, written, picture):
    root = lay("annotations/custom_train.json", "../store/train2017", DOCUMENT)
    lay("annotations/custom_val.json", "../store/val2017", other(7))
    with pytest.raises(DataError, match=r"0 of 2 listed pictures are found.* holds no pictures.*--pictures FOLDER"):
        convert(root, tmp_path / "out")
    convert(root, tmp_path / "out", pictures=tmp_path / "store")
    assert {name: list(content) for name, content in written(tmp_path / "out").items()} == {
        "train": ["a.jpg", "b.jpg"],
        "valid": ["7a.jpg", "7b.jpg"],
    }
    convert(root / "annotations/custom_train.json", tmp_path / "one", pictures=tmp_path / "store/train2017")
    assert sum(len(content) for content in written(tmp_path / "one").values()) == 2


def test_what_is_not_found_is_counted(lay, tmp_path, picture):
    root = lay("annotations/train.json", "train2017", DOCUMENT)
    for name in ("a.jpg", "b.jpg"):
        (root / "train2017" / name).rename(root / "train2017" / f"x{name}")
    picture(root / "train2017/xc.jpg")
    said = r"0 of 2 listed pictures are found, the first is 'a\.jpg'; .*train2017 holds 3 pictures, as 'xa\.jpg'"
    with pytest.raises(DataError, match=said):
        convert(root, tmp_path / "out")


def test_a_picture_of_another_split_is_not_taken_for_a_missing_one(lay, tmp_path):
    """Both splits number their pictures alike: taken from the other split, it would be another picture."""
    lay("annotations/train.json", "train", DOCUMENT)
    root = lay("annotations/val.json", "val", {**DOCUMENT, "info": {}})
    (root / "val/b.jpg").unlink()
    with pytest.raises(DataError, match=r"val\.json: picture 'b\.jpg' is missing in .*val: 1 of 2 .* holds 1\."):
        convert(root, tmp_path / "out")


def test_both_splits_may_share_the_folder_of_one(lay, tmp_path, written):
    lay("annotations/train.json", "train_images", DOCUMENT)
    root = lay("annotations/val.json", "train_images", other(7))
    (note,) = convert(root, tmp_path / "out").notes
    assert "val.json: 2 of its pictures lie in the folder of another split, as '7a.jpg'" in note
    assert list(written(tmp_path / "out")["valid"]) == ["7a.jpg", "7b.jpg"]


def test_the_folder_of_masks_is_not_that_of_the_pictures(lay, tmp_path):
    lay("train.json", "masks/train", DOCUMENT)
    lay("val.json", "masks/val", other(7))
    lay("train.json", "images/train", DOCUMENT)
    root = lay("val.json", "images/val", other(7))
    convert(root, tmp_path / "out")
    for split, name, folder in (("train", "a.jpg", "train"), ("valid", "7a.jpg", "val")):
        copied = (tmp_path / "out" / split / name).read_bytes()
        assert copied == (root / "images" / folder / name).read_bytes()


def test_an_absolute_path_into_its_own_folder_is_that_file(lay, tmp_path, written):
    document = copy.deepcopy(DOCUMENT)
    root = lay("train/ann.json", "train", document)
    lay("valid/ann.json", "valid", other(7))
    document["images"][0]["file_name"] = str(root / "train/a.jpg")
    (root / "train/ann.json").write_text(json.dumps(document))
    (note,) = convert(root, tmp_path / "out").notes
    assert note.endswith(f"{str(root / 'train/a.jpg')!r} as 'a.jpg'.")
    assert list(written(tmp_path / "out")["train"]) == ["a.jpg", "b.jpg"]


def test_an_absolute_path_to_another_file_of_this_machine_is_refused(lay, tmp_path, picture):
    document = copy.deepcopy(DOCUMENT)
    root = lay("train/ann.json", "train", document)
    document["images"][0]["file_name"] = str(picture(tmp_path / "elsewhere/a.jpg"))
    (root / "train/ann.json").write_text(json.dumps(document))
    with pytest.raises(DataError, match=r"'.*elsewhere/a\.jpg' lies outside"):
        convert(root / "train/ann.json", tmp_path / "out")


def test_equal_names_in_several_folders_are_not_guessed(lay, tmp_path):
    lay("all.json", "one", DOCUMENT)
    root = lay("all.json", "two", DOCUMENT)
    with pytest.raises(DataError, match=r"may be in several folders: .*one, .*two\. Give the right one: --pictures"):
        convert(root, tmp_path / "out")
    lay("all.json", "images", DOCUMENT)
    assert convert(root, tmp_path / "out").notes[-1].startswith("The source has one split")


SPELLINGS = {
    "images\\a.jpg": "images/a.jpg",
    "images/b%20c.jpg": "images/b c.jpg",
    "images/e\u0301.jpg": "images/\u00e9.jpg",
    "A.JPG": "images/a.jpg",
    "/content/ds/images/a.jpg": "images/a.jpg",
    "..\\..\\media\\upload\\4\\a.jpg": "images/a.jpg",
    "C:\\data\\a.jpg": "images/a.jpg",
    "more/images/a.jpg": "images/a.jpg",
    "http://host/x/a.jpg?key=1": "images/a.jpg",
}


@pytest.mark.parametrize("spelled", SPELLINGS)
def test_a_name_may_be_spelled_in_another_way(lay, tmp_path, picture, text, written, spelled):
    file = SPELLINGS[spelled]
    document = copy.deepcopy(DOCUMENT)
    document["images"][0]["file_name"] = file.removeprefix("images/")
    root = lay("all.json", "images", document)
    document["images"][0]["file_name"] = spelled
    text(root / "all.json", json.dumps(document))
    result = convert(root, tmp_path / "out")
    names = {name for content in written(tmp_path / "out").values() for name in content}
    assert names == {file.removeprefix("images/"), "b.jpg"}
    (note,) = [note for note in result.notes if "not there as written" in note]
    assert note.startswith(f"{root / 'all.json'}: 1 file names are not there as written; the one file that fits")
    assert f"{spelled!r} as " in note


def test_two_files_that_fit_a_name_are_both_named(lay, tmp_path, picture):
    root = lay("all.json", "images", DOCUMENT)
    (root / "images/a.jpg").unlink()
    for folder in ("p", "q"):
        picture(root / "images" / folder / "a.jpg")
    with pytest.raises(
        DataError, match=r"file_name 'a\.jpg' is not in .*images, and may mean 'p/a\.jpg' and 'q/a\.jpg'"
    ):
        convert(root, tmp_path / "out")


def test_hidden_files_are_no_documents_and_no_pictures(lay, tmp_path, text):
    root = lay("train/_annotations.coco.json", "train", DOCUMENT)
    lay("valid/_annotations.coco.json", "valid", other(7))
    for name in ("train/._a.jpg", "train/._annotations.coco.json", "__MACOSX/train/_annotations.coco.json"):
        text(root / name, "Mac OS X")
    assert convert(root, tmp_path / "out").notes == ()


@pytest.mark.parametrize("rank", ["keypoints", "no objects", "same"])
def test_of_two_documents_the_one_that_serves_is_taken(lay, tmp_path, rank):
    """Its own folder's only document is the split's; of several, the one with objects; of equal ones, the first."""
    root = lay("train/ann.json", "train", DOCUMENT)
    lay("valid/ann.json", "valid", other(7))
    second = {
        "keypoints": ("train/person_keypoints_x.json", other(9)),
        "no objects": ("train/a_captions.json", {**DOCUMENT, "annotations": [{"image_id": 37777, "caption": "x"}]}),
        "same": ("train/b.json", DOCUMENT),
    }
    file, document = second[rank]
    (root / file).write_text(json.dumps(document))
    result = convert(root, tmp_path / "out")
    assert result.splits == {"train": SplitCounts(2, 2), "valid": SplitCounts(2, 2)}
    left = () if rank == "keypoints" else (f"{root / file}: left out; ann.json was taken.",)
    assert result.notes == left


@pytest.mark.parametrize("key", ["absent", "empty"])
def test_a_test_split_without_annotations_is_left_out_with_a_note(lay, tmp_path, key):
    lay("annotations/instances_train.json", "train", DOCUMENT)
    lay("annotations/instances_val.json", "val", other(7))
    document = {one: value for one, value in other(9).items() if one != "annotations"}
    root = lay("annotations/image_info_test.json", "test", document)
    result = convert(root, tmp_path / "out")
    assert list(result.splits) == ["train", "valid"]
    said = "image_info_test.json: lists 2 pictures but no annotations; the split was left out."
    assert [note for note in result.notes if said in note] == list(result.notes)
    (root / "annotations/image_info_test.json").rename(root / "annotations/instances_test.json")
    if key == "empty":
        lay("annotations/instances_test.json", "test", {**document, "annotations": []})
        result = convert(root, tmp_path / "again")
        assert list(result.splits) == ["train", "valid", "test"]
        assert any("instances_test.json: lists no annotation" in note for note in result.notes)


def test_broken_json_beside_the_documents_is_said(lay, tmp_path, text):
    root = lay("train/ann.json", "train", DOCUMENT)
    lay("valid/ann.json", "valid", other(7))
    text(root / "settings.json", "// no JSON")
    (note,) = convert(root, tmp_path / "out").notes
    assert note.startswith(f"Not read: {root / 'settings.json'}: broken JSON")
    text(root / "valid/ann.json", "{")
    with pytest.raises(DataError, match=r"valid/ann\.json: broken JSON"):
        convert(root, tmp_path / "again")


def listed(names, boxes):
    """A document of these pictures of 64 x 48, each with the boxes given for it."""
    return {
        "images": [{"id": n, "file_name": name, "width": 64, "height": 48} for n, name in enumerate(names, start=1)],
        "annotations": [
            {"id": n, "image_id": n, "category_id": 1, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
            for n, box in enumerate(boxes, start=1)
        ],
        "categories": [{"id": 1, "name": "fish"}],
    }


def test_a_split_without_its_pictures_does_not_take_those_of_another(picture, text, tmp_path):
    names = ["000.jpg", "001.jpg"]
    for name in names:
        picture(tmp_path / "ds" / "train" / name)
    text(tmp_path / "ds/annotations/train.json", json.dumps(listed(names, [[1, 2, 9, 9], [3, 4, 9, 9]])))
    text(tmp_path / "ds/annotations/val.json", json.dumps(listed(names, [[20, 20, 9, 9], [30, 30, 9, 9]])))
    for split in (None, (0.5, 0.5)):
        with pytest.raises(DataError, match=r"000.jpg: has other boxes in valid than in train"):
            convert(tmp_path / "ds", tmp_path / "out", "coco", split=split)


def test_a_split_does_not_vanish_and_the_other_is_not_cut_up(picture, text, tmp_path):
    root = tmp_path / "ds"
    for split in ("train", "valid"):
        picture(root / split / f"{split}.jpg")
        text(root / split / "_annotations.coco.json", json.dumps(listed([f"{split}.jpg"], [[1, 2, 9, 9]])))
    text(
        root / "train/_annotations.coco.json", '[{"image_id": 1, "category_id": 1, "bbox": [1, 1, 9, 9], "score": 0.5}]'
    )
    with pytest.raises(DataError, match=r"train/_annotations.coco.json: not a COCO document"):
        convert(root, tmp_path / "out", "coco")
    (root / "train/_annotations.coco.json").unlink()
    with pytest.raises(DataError, match=r"train: holds 1 pictures, and no COCO document lists them"):
        convert(root, tmp_path / "out", "coco")


def test_pictures_that_no_document_lists_are_counted(picture, text, tmp_path):
    root = tmp_path / "ds"
    for number in range(4):
        picture(root / f"{number}.jpg")
    text(
        root / "labels.json",
        json.dumps(listed(["0.jpg", "1.jpg", "._2.jpg"], [[1, 2, 9, 9], [3, 4, 9, 9], [1, 1, 9, 9]])),
    )
    result = convert(root, tmp_path / "out", "coco")
    assert any("no document lists were left out: 2, the first '2.jpg'" in note for note in result.notes)
    assert any("hidden files were left out: 1, the first '._2.jpg'" in note for note in result.notes)


def test_a_reading_is_not_forced_on_a_document_that_it_ruins(picture, text, tmp_path):
    """Of two splits, one has corners; ``--boxes xyxy`` is meant for that one."""
    root, boxes = tmp_path / "ds", [[20, 10, 9, 9], [30, 20, 12, 9], [40, 30, 9, 12], [8, 20, 30, 20]]
    for split in ("train", "valid"):
        names = [f"{split}{number}.jpg" for number in range(4)]
        for name in names:
            picture(root / split / name)
        corners = [[x, y, x + width, y + height] for x, y, width, height in boxes]
        document = listed(names, corners if split == "train" else boxes)
        text(root / split / "_annotations.coco.json", json.dumps(document))
    result = convert(root, tmp_path / "out", "coco", boxes="xyxy")
    assert any("read as the former" in note for note in result.notes)
    for split in ("train", "valid"):
        document = json.loads((tmp_path / "out" / split / "_annotations.coco.json").read_text())
        assert [one["bbox"] for one in document["annotations"]] == boxes


def two_splits(root, picture, text, folders):
    """Writes pictures by folder, and train's and valid's documents, which list those whose names start with theirs."""
    for folder, names in folders.items():
        for name in names:
            picture(root / folder / name)
    listing = [name for names in folders.values() for name in names]
    for split in ("train", "valid"):
        names = [name for name in listing if name.startswith(split)]
        document = listed(names, [[number + 1, 2, 9, 9] for number in range(len(names))])
        text(root / split / "_annotations.coco.json", json.dumps(document))


@pytest.mark.parametrize("folder", ["more", "valid", "train/more", "b/c"])
def test_pictures_of_one_split_may_lie_in_several_folders(picture, text, written, tmp_path, folder):
    folders = {"train": ["train1.jpg", "train2.jpg", "train3.jpg"], "valid": ["valid1.jpg"]}
    folders[folder] = [*folders.get(folder, []), "train4.jpg"]
    two_splits(tmp_path / "ds", picture, text, folders)
    result = convert(tmp_path / "ds", tmp_path / "out", "coco")
    assert {split: set(entries) for split, entries in written(result.out).items()} == {
        "train": {f"train{number}.jpg" for number in (1, 2, 3, 4)},
        "valid": {"valid1.jpg"},
    }
    source, copy = tmp_path / "ds" / folder / "train4.jpg", result.out / "train" / "train4.jpg"
    assert copy.read_bytes() == source.read_bytes()
    elsewhere = [note for note in result.notes if "1 of 4 pictures are not in" in note]
    assert bool(elsewhere) == (folder != "train/more"), result.notes
    foreign = [note for note in result.notes if "lie in the folder of another split" in note]
    assert bool(foreign) == (folder == "valid"), result.notes


@pytest.mark.parametrize("other", ["valid", "test"])
def test_a_missing_picture_is_not_another_split_s_of_its_name(picture, text, tmp_path, other):
    """valid lists the name too; test has no document that could tell."""
    root = tmp_path / "ds"
    two_splits(root, picture, text, {"train": ["train1.jpg", "train2.jpg", "train3.jpg"], "valid": ["valid1.jpg"]})
    names = ["train1.jpg", "train2.jpg", "train3.jpg", "9.jpg"]
    text(root / "train/_annotations.coco.json", json.dumps(listed(names, [[1, 2, 9, 9]] * 4)))
    picture(root / other / "9.jpg")
    if other == "valid":
        text(root / "valid/_annotations.coco.json", json.dumps(listed(["valid1.jpg", "9.jpg"], [[1, 2, 9, 9]] * 2)))
    with pytest.raises(DataError, match=r"picture '9\.jpg' is missing in .*train: 3 of 4"):
        convert(root, tmp_path / "out", "coco")


def with_ids(picture, text, root, image_ids, links):
    """One train document of three pictures; the n-th box, at x = n, belongs to the n-th picture."""
    names = [f"{number}.jpg" for number in range(1, 4)]
    document = listed(names, [[number, 2, 9, 9] for number in range(1, 4)])
    for name, image, box, own, link in zip(
        names, document["images"], document["annotations"], image_ids, links, strict=True
    ):
        picture(root / "train" / name)
        image["id"], box["image_id"] = own, link
    text(root / "train/_annotations.coco.json", json.dumps(document))
    return document


@pytest.mark.parametrize(
    ("image_ids", "links", "note"),
    [
        (["001", "002", "003"], [1, 2, 3], "ids are text, as '001'"),
        ([1, 2, 3], ["001", "002", "03"], "ids are text, as '001'"),
        (["01", "02", "03"], ["1", "002", "3"], "ids are text"),
        ([2**63 + number for number in range(3)], [2**63 + number for number in range(3)], "larger than 64 bits hold"),
        ([2**63, 2, 3], [str(2**63), 2, 3], "larger than 64 bits hold"),
    ],
)
def test_ids_are_joined_by_their_number(picture, text, written, tmp_path, image_ids, links, note):
    with_ids(picture, text, tmp_path / "ds", image_ids, links)
    result = convert(tmp_path / "ds", tmp_path / "out", "coco", split=(0.5, 0.5))
    entries = {name: own for part in written(result.out).values() for name, (_, own) in part.items()}
    boxes = {name: [one["bbox"][0] for one in own] for name, own in entries.items()}
    assert boxes == {"1.jpg": [1], "2.jpg": [2], "3.jpg": [3]}
    assert any(note in one for one in result.notes), result.notes


def test_a_number_that_two_ids_spell_links_nothing(picture, text, tmp_path):
    with_ids(picture, text, tmp_path / "ds", ["01", "001", 3], ["01", "0001", 3])
    with pytest.raises(DataError, match=r"annotation id 2: picture id '0001' does not exist"):
        convert(tmp_path / "ds", tmp_path / "out", "coco")


def test_category_ids_are_joined_by_their_number(picture, text, categories, tmp_path):
    document = with_ids(picture, text, tmp_path / "ds", [1, 2, 3], [1, 2, 3])
    document["categories"] = [{"id": "01", "name": "fish"}, {"id": "02", "name": "crab"}]
    document["annotations"][2]["category_id"] = 2
    text(tmp_path / "ds/train/_annotations.coco.json", json.dumps(document))
    result = convert(tmp_path / "ds", tmp_path / "out", "coco", split=(0.5, 0.5))
    names = categories(result.out)
    held = [json.loads((result.out / part / "_annotations.coco.json").read_text()) for part in ("train", "valid")]
    classes = {one["bbox"][0]: names[one["category_id"]] for part in held for one in part["annotations"]}
    assert classes == {1: "fish", 2: "fish", 3: "crab"}


def test_one_class_in_two_unicode_forms_is_said(picture, text, tmp_path):
    document = with_ids(picture, text, tmp_path / "ds", [1, 2, 3], [1, 2, 3])
    document["categories"] = [{"id": 1, "name": "\u00e9"}, {"id": 2, "name": "e\u0301"}]
    text(tmp_path / "ds/train/_annotations.coco.json", json.dumps(document))
    with pytest.raises(DataError, match=r"category 2 is .* and so is 1, in another Unicode form"):
        convert(tmp_path / "ds", tmp_path / "out", "coco")


@pytest.mark.parametrize("folder", ["dev", "Evaluation", "development", "eval"])
def test_other_words_for_valid(picture, text, tmp_path, folder):
    for split in ("training", folder):
        picture(tmp_path / "ds" / split / f"{split}.jpg")
        text(tmp_path / "ds" / split / "labels.json", json.dumps(listed([f"{split}.jpg"], [[1, 2, 9, 9]])))
    assert list(convert(tmp_path / "ds", tmp_path / "out", "coco").splits) == ["train", "valid"]


def test_documents_of_unknown_splits_are_told_the_names(picture, text, tmp_path):
    for name in ("one", "two"):
        picture(tmp_path / "ds" / f"{name}.jpg")
        text(tmp_path / "ds" / f"{name}.json", json.dumps(listed([f"{name}.jpg"], [[1, 2, 9, 9]])))
    with pytest.raises(DataError, match=r"no name says which split it is.*after their splits: train, valid, test"):
        convert(tmp_path / "ds", tmp_path / "out", "coco")


def zipped(path, names):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"")


def test_pictures_that_are_still_packed_are_said(picture, text, tmp_path):
    root = tmp_path / "ds"
    zipped(root / "train/images.zip", ["train.jpg"])
    picture(root / "valid/valid.jpg")
    for split in ("train", "valid"):
        text(root / split / "_annotations.coco.json", json.dumps(listed([f"{split}.jpg"], [[1, 2, 9, 9]])))
    with pytest.raises(DataError, match=r"still packed.* unzip \S*/train/images\.zip -d \S*/ds/train$"):
        convert(root, tmp_path / "out", "coco")


@pytest.mark.parametrize("form", ["coco", None])
def test_splits_that_are_still_packed_are_said(tmp_path, form):
    for split in ("train", "valid"):
        zipped(tmp_path / "ds" / f"{split}.zip", ["_annotations.coco.json"])
    with pytest.raises(DataError, match=r"still packed.* unzip \S*/ds/train\.zip -d \S*/ds/train\b"):
        convert(tmp_path / "ds", tmp_path / "out", form)


def test_a_series_of_jpegs_is_read_as_its_first_picture(picture, text, written, tmp_path):
    root = tmp_path / "ds"
    for name in ("a.jpg", "b.jpg"):
        picture(root / name)
    (root / "a.jpg").rename(root / "a.MPO")
    text(root / "labels.json", json.dumps(listed(["a.MPO", "b.jpg"], [[1, 2, 9, 9], [3, 4, 9, 9]])))
    result = convert(root, tmp_path / "out", "coco")
    assert {name for part in written(result.out).values() for name in part} == {"a.MPO", "b.jpg"}


def test_files_of_the_working_folder_do_not_matter(picture, text, tmp_path, monkeypatch):
    """A listed name is looked up in the data set alone."""
    root = tmp_path / "ds"
    for name in ("a.jpg", "b.jpg"):
        picture(root / name)
    text(root / "labels.json", json.dumps(listed(["a.jpg", "b.jpg"], [[1, 2, 9, 9], [3, 4, 9, 9]])))
    text(tmp_path / "a.jpg", "GIF89a")
    monkeypatch.chdir(tmp_path)
    result = convert(root, tmp_path / "out", "coco")
    assert sum(counts.pictures for counts in result.splits.values()) == 2


@pytest.mark.parametrize(
    ("folder", "document"),
    [("valid", "train/_annotations.coco.json"), ("images/val2017", "annotations/instances_train2017.json")],
)
def test_a_folder_of_valid_without_a_document_is_not_left_out(picture, text, tmp_path, folder, document):
    root, train = tmp_path / "ds", folder.replace("valid", "train").replace("val", "train")
    for number in range(4):
        picture(root / train / f"{number}.jpg")
        picture(root / folder / f"v{number}.jpg")
    text(root / document, json.dumps(listed([f"{number}.jpg" for number in range(4)], [[1, 2, 9, 9]] * 4)))
    with pytest.raises(DataError, match=rf"{folder}: holds 4 pictures, and no COCO document lists them"):
        convert(root, tmp_path / "out", "coco")


@pytest.mark.parametrize("split", ["train", "valid"])
def test_pictures_of_the_same_names_do_not_hide_a_missing_document(picture, text, tmp_path, split):
    root, names = tmp_path / "ds", [f"{number}.jpg" for number in range(4)]
    for name in names:
        picture(root / "train" / name)
        picture(root / "valid" / name)
    text(root / split / "_annotations.coco.json", json.dumps(listed(names, [[1, 2, 9, 9]] * 4)))
    other = "valid" if split == "train" else "train"
    with pytest.raises(DataError, match=rf"{other}: holds 4 pictures, and no COCO document lists them"):
        convert(root, tmp_path / "out", "coco")


def test_a_list_of_results_named_as_a_document_is_no_reason_to_split_the_other(picture, text, tmp_path):
    root = tmp_path / "ds"
    for number in range(4):
        picture(root / "images" / f"{number}.jpg")
    names = [f"{number}.jpg" for number in range(4)]
    text(root / "annotations/instances_val2017.json", json.dumps(listed(names, [[1, 2, 9, 9]] * 4)))
    text(root / "annotations/instances_train2017.json", '[{"image_id": 1, "score": 0.5}]')
    with pytest.raises(DataError, match=r"instances_train2017\.json: not a COCO document"):
        convert(root, tmp_path / "out", "coco")


def test_results_beside_a_document_of_their_split_are_not_read(picture, text, tmp_path):
    """As COCO's own instances_val2014_fakebbox100_results.json."""
    root = tmp_path / "ds"
    for split in ("train", "val"):
        picture(root / "images" / f"{split}.jpg")
        text(root / f"annotations/instances_{split}.json", json.dumps(listed([f"{split}.jpg"], [[1, 2, 9, 9]])))
    text(root / "annotations/instances_val_fakebbox_results.json", '[{"image_id": 1, "score": 0.5}]')
    assert list(convert(root, tmp_path / "out", "coco").splits) == ["train", "valid"]
