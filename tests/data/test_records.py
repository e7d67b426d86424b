import json
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from boxwright.data import ANNOTATIONS, fingerprint, read_folder, read_split
from boxwright.runtime import BoxwrightError, ClassEntry, ContractError, DataError
from support.broken import document, write_data


@pytest.fixture
def clean(tmp_path):
    return write_data(tmp_path, train=document(), valid=document())


def test_a_clean_folder_is_read_whole(clean):
    folder = read_folder(clean)
    assert [one.name for one in folder.classes] == ["fish", "ray"]
    assert set(folder.splits) == {"train", "valid"}
    train = folder.splits["train"]
    assert [len(picture.labels) for picture in train.pictures] == [1, 1, 0]  # the one without objects stays
    assert train.pictures[1].labels.tolist() == [1]
    assert train.pictures[0].boxes.tolist() == [[4, 4, 24, 24]]


def change(split_document, path, value):
    target = split_document
    for key in path[:-1]:
        target = target[key]
    if value is None:
        del target[path[-1]]
    else:
        target[path[-1]] = value


@pytest.mark.parametrize(
    ("path", "value", "culprits"),
    [
        (["annotations", 1, "category_id"], 9, ["annotation id 1", "'1.jpg'", "category id 9"]),
        (["annotations", 1, "category_id"], [1], ["annotation id 1", "category_id = [1]"]),
        (["annotations", 0, "image_id"], 77, ["annotation id 0", "picture id 77"]),
        (["annotations", 0, "bbox"], [1, 2, 3], ["annotation id 0", "'0.jpg'", "four finite"]),
        (["annotations", 0, "bbox"], [1, 2, 3, float("nan")], ["annotation id 0", "four finite"]),
        (["annotations", 0, "bbox"], ["a", 2, 3, 4], ["annotation id 0", "four finite"]),
        (["annotations", 0, "image_id"], None, ["annotation id 0", "image_id"]),
        (["images", 1, "id"], 0, ["picture id 0", "twice"]),
        (["images", 1, "file_name"], None, ["picture id 1", "file_name"]),
        (["images", 1, "file_name"], "../0.jpg", ["'../0.jpg'", "leads outside"]),
        (["images", 1, "file_name"], "no.jpg", ["'no.jpg'", "missing"]),
        (["images", 1, "width"], 48, ["'1.jpg'", "64 x 48", "48 x 48"]),
        (["images"], [], ["empty"]),
        (["images"], None, ["'images'"]),
        (["annotations"], {"a": 1}, ["'annotations'"]),
        (["categories", 1, "id"], 2, ["category id 2", "twice"]),
        (["categories", 1, "name"], "ray", ["category name 'ray'", "twice"]),
        (["categories", 1, "name"], None, ["category 1", "has no name"]),
        (["categories"], [], ["is not a class"]),
        (["categories", 1, "name"], "score", ["'score'", "rename"]),
        (["categories", 1, "name"], "\ud800", ["category 1"]),
        (["annotations", 0, "iscrowd"], "no", ["annotation id 0", "iscrowd = 'no'"]),
        (["annotations", 0, "bbox"], [1, 2, 3, 10**400], ["annotation id 0", "four finite"]),
    ],
)
def test_one_clear_error_names_the_culprit(clean, path, value, culprits):
    file = clean / "train" / ANNOTATIONS
    content = document()
    change(content, path, value)
    file.write_text(json.dumps(content))
    with pytest.raises(DataError) as caught:
        read_folder(clean)
    assert all(culprit in str(caught.value) for culprit in culprits), str(caught.value)
    assert "train" in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "nul", "\x00", '{"images": 3}', "[" * 100000])
def test_broken_json_is_one_error(clean, text):
    (clean / "valid" / ANNOTATIONS).write_text(text)
    with pytest.raises(DataError, match="valid"):
        read_folder(clean)


def test_missing_parts_are_named(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        read_folder(tmp_path / "nothing")
    write_data(tmp_path, train=document())
    with pytest.raises(DataError, match="has no folder 'valid'"):
        read_folder(tmp_path)


def test_a_wrong_folder_is_understood(clean, tmp_path_factory):
    with pytest.raises(DataError, match="Give the folder above"):
        read_folder(clean / "train")
    yolo = tmp_path_factory.mktemp("yolo")
    (yolo / "data.yaml").write_text("names: [fish]")
    with pytest.raises(DataError, match=r"to convert it: .*data.yaml: neither train, val nor test names a picture"):
        read_folder(yolo)
    (yolo / "data.yaml").write_text("names: [fish]\ntrain: images")
    shutil.copytree(clean / "train", yolo / "images", ignore=shutil.ignore_patterns("*.json"))
    (yolo / "images" / "0.txt").write_text("0 .5 .5 .2 .2")
    with pytest.raises(DataError, match=r"looks like a YOLO export.*boxwright convert"):
        read_folder(yolo)


def test_boxes_are_clipped_and_those_without_area_left_out_and_said(clean):
    content = document()
    content["annotations"] += [
        {"id": 10, "image_id": 2, "category_id": 1, "bbox": [-5, 40, 20, 20]},
        {"id": 11, "image_id": 2, "category_id": 1, "bbox": [10, 10, 0, 5]},
        {"id": 12, "image_id": 2, "category_id": 1, "bbox": [70, 10, 5, 5]},
    ]
    (clean / "train" / ANNOTATIONS).write_text(json.dumps(content))
    folder = read_folder(clean)
    assert folder.splits["train"].pictures[2].boxes.tolist() == [[0, 40, 15, 48]]
    found = {finding.annotation_id: finding.code for finding in folder.inspection.of("warning")}
    assert found[10] == "box-outside"
    assert found[11] == "box-empty"
    assert found[12] == "box-off-picture"


def test_a_split_without_a_usable_box_cannot_be_trained_on(clean):
    content = document()
    for annotation in content["annotations"]:
        annotation["iscrowd"] = 1
    (clean / "train" / ANNOTATIONS).write_text(json.dumps(content))
    with pytest.raises(DataError, match="nothing to learn"):
        read_folder(clean)


def test_a_rotated_picture_with_the_stored_size_is_refused(clean):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (64, 48)).save(clean / "train" / "0.jpg", exif=exif)
    with pytest.raises(DataError, match="48 x 64 pixels upright"):
        read_folder(clean)


def test_a_broken_picture_is_found_before_training(clean):
    (clean / "valid" / "1.jpg").write_bytes(b"not a picture")
    with pytest.raises(DataError, match=r"1\.jpg"):
        read_folder(clean)


def test_truncated_pixels_are_found_unless_only_headers_are_asked_for(clean):
    whole = (clean / "valid" / "1.jpg").read_bytes()
    (clean / "valid" / "1.jpg").write_bytes(whole[: len(whole) * 3 // 4])
    assert read_folder(clean, pixels=False).splits["valid"]
    with pytest.raises(DataError, match=r"1\.jpg.*truncated"):
        read_folder(clean)


def test_unused_classes_stay_with_a_warning_and_parents_go(tmp_path):
    content = document()
    content["categories"].append({"id": 3, "name": "shark", "supercategory": "animals"})
    folder = read_folder(write_data(tmp_path, train=content, valid=content))
    assert [one.name for one in folder.classes] == ["fish", "ray", "shark"]
    assert "'shark'" in next(str(one) for one in folder.inspection.findings if one.code == "class-unused")


def test_a_project_of_one_class_may_bear_the_parents_name(tmp_path):
    content = document()
    content["categories"] = [
        {"id": 0, "name": "fish", "supercategory": "none"},
        {"id": 1, "name": "fish", "supercategory": "fish"},
        {"id": 2, "name": "ray", "supercategory": "ray"},
    ]
    folder = read_folder(write_data(tmp_path, train=content, valid=content))
    assert [(one.id, one.name) for one in folder.classes] == [(1, "fish"), (2, "ray")]


def test_validation_without_a_box_cannot_choose_a_threshold(tmp_path):
    empty = {**document(), "annotations": []}
    with pytest.raises(DataError, match="nothing to measure by"):
        read_folder(write_data(tmp_path, train=document(), valid=empty))


def test_an_annotated_parent_is_a_class(tmp_path):
    content = document()
    content["annotations"][0]["category_id"] = 0
    folder = read_folder(write_data(tmp_path, train=content, valid=content))
    assert [one.id for one in folder.classes] == [0, 1, 2]


def test_splits_that_disagree_are_refused(tmp_path):
    other = document()
    other["categories"][1]["name"] = "shark"
    with pytest.raises(DataError, match=r"valid: category 1 is 'shark', in train it is 'fish'"):
        read_folder(write_data(tmp_path, train=document(), valid=other))


def test_a_split_is_held_to_the_models_classes(clean):
    own = read_folder(clean).classes
    assert read_split(clean, "valid", own).boxes == 2
    with pytest.raises(ContractError, match="category 1 is 'fish'; in the model it is 'cod'"):
        read_split(clean, "valid", (ClassEntry(1, "cod"), ClassEntry(2, "ray")))


def test_the_fingerprint_follows_the_data(clean):
    before = fingerprint(read_folder(clean))
    assert fingerprint(read_folder(clean)) == before
    content = document()
    content["annotations"][0]["bbox"][0] = 5
    (clean / "train" / ANNOTATIONS).write_text(json.dumps(content))
    assert fingerprint(read_folder(clean)) != before


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@given(data=st.data())
def test_no_mutation_of_the_file_gives_another_error(tmp_path_factory, data):
    content = document()
    key = data.draw(st.sampled_from(["images", "annotations", "categories"]))
    entry = data.draw(st.sampled_from(content[key]))
    entry[data.draw(st.sampled_from(sorted(entry)))] = data.draw(JSON)
    root = write_data(tmp_path_factory.mktemp("fuzz"), train=document(), valid=document())
    (root / "train" / ANNOTATIONS).write_text(json.dumps(content))
    try:
        assert read_folder(root).classes
    except BoxwrightError as error:
        assert str(error)


@pytest.mark.parametrize(
    ("name", "pictures", "classes"), [("aquarium", 448, 7), ("chess", 202, 13), ("oxford_pets", 237, 2)]
)
def test_real_data_is_read(real_data, name, pictures, classes):
    folder = read_folder(real_data / name)
    assert len(folder.splits["train"].pictures) == pictures
    assert len(folder.classes) == classes
    assert all(np.isfinite(picture.boxes).all() for picture in folder.splits["train"].pictures)


def test_a_real_picture_in_another_folder_is_found(real_data):
    """Its JSON names a file that lies in ``images/`` alone."""
    split = read_folder(real_data / "fish_tiny").splits["train"]
    places = {record.path.parent.name for record in split.pictures}
    assert places == {"train", "images"}
    assert [len(record.boxes) for record in split.pictures if record.path.parent.name == "images"] == [3]
