"""Annotated pictures to measure by, from a folder and from a file alone."""

import json

import pytest
from PIL import Image

from boxwright.data import ANNOTATIONS, read_split, read_truth
from boxwright.runtime import ClassEntry, ContractError, DataError
from support.broken import document, draw, write_data
from support.results_files import truth_document, write

CLASSES = (ClassEntry(1, "fish"), ClassEntry(2, "ray"))


def test_a_folder_gives_the_records_that_training_uses(tmp_path):
    content = document(4)
    content["annotations"][0]["bbox"] = [50.5, 4, 14, 20]  # half a pixel over the edge
    data = write_data(tmp_path, train=content, valid=content)
    truth, own = read_truth(data), read_split(data, "valid", CLASSES)
    assert [one.boxes.tolist() for one in truth.split.pictures] == [one.boxes.tolist() for one in own.pictures]
    assert truth.split.pictures[0].boxes.tolist() == [[50.5, 4, 64, 24]]
    assert truth.classes == CLASSES
    assert truth.others == {0: "animals"}
    assert truth.file_names == tuple(f"{number}.jpg" for number in range(5))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_folder_may_hold_the_largest_picture_that_is_read_at_all(tmp_path):
    data = write_data(tmp_path, train=document(1), valid=document(1) | {"images": [{"id": 0, "file_name": "0.jpg"}]})
    Image.new("1", (12_000, 9_000)).save(data / "valid" / "0.jpg", "PNG")
    assert read_truth(data).split.pictures[0].width == 12_000


def test_a_file_is_taken_as_it_is_written(tmp_path):
    content = truth_document(3)
    content["annotations"][0] |= {"bbox": [600, 4, 90, 20], "area": 0}
    truth = read_truth(write(tmp_path / "gt.json", content))
    assert [one.id for one in truth.split.pictures] == [40, 43, 46]
    assert truth.split.name == "gt"
    last = truth.split.pictures[2]
    assert last.boxes[0].tolist() == [600, 4, 690, 24]
    assert last.area.tolist() == [0, content["annotations"][1]["area"]]
    assert [(one.id, one.name) for one in truth.classes] == [(2, "fish"), (3, "ray"), (7, "star")]


def test_pictures_need_not_be_there_and_their_names_may_lead_anywhere(tmp_path):
    content = truth_document(3)
    for image, name in zip(content["images"], ("../a.jpg", "/x/b.jpg", "c\\d.jpg"), strict=True):
        image["file_name"] = name
    truth = read_truth(write(tmp_path / "gt.json", content))
    assert truth.file_names == ("c\\d.jpg", "/x/b.jpg", "../a.jpg")


def test_sizes_come_from_the_file_else_from_the_picture_beside_it(tmp_path):
    content = truth_document(3)
    for image in content["images"][:2]:
        del image["width"]
    draw("a", (100, 50)).save(tmp_path / content["images"][0]["file_name"])
    pictures = read_truth(write(tmp_path / "gt.json", content)).split.pictures
    assert [(one.width, one.height) for one in pictures] == [(640, 480), (0, 0), (100, 50)]


def broken(part, at, **values):
    content = truth_document(3)
    content[part][at] |= values
    return content


WRONG = {
    "unknown picture": (broken("annotations", 1, image_id=5), "annotation id 1: picture id 5 does not exist"),
    "unknown category": (broken("annotations", 1, category_id=5), "category id 5 is not a class"),
    "picture id twice": (broken("images", 1, id=40), "picture id 40 is used twice"),
    "category id twice": (broken("categories", 1, id=3), "category id 3 is used twice"),
    "category name twice": (broken("categories", 1, name="ray"), "category name 'ray' is used twice"),
    "NaN": (broken("annotations", 1, bbox=[1, float("nan"), 3, 4]), "is not four finite numbers"),
    "negative side": (broken("annotations", 1, bbox=[1, 2, -3, 4]), "has a negative side"),
    "no pictures": ({**truth_document(0)}, "the file lists no pictures"),
    "no categories": ({"images": [], "annotations": []}, "'categories' is missing"),
    "a list": ([], "is not a COCO document"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_cannot_be_measured_by_is_named(tmp_path, kind):
    content, words = WRONG[kind]
    with pytest.raises(DataError, match=rf"gt\.json: .*{words}"):
        read_truth(write(tmp_path / "gt.json", content))


def test_annotated_boxes_that_are_corners_are_recognised(tmp_path):
    content = truth_document(6)
    for one in content["annotations"]:
        x, y, width, height = one["bbox"]
        one |= {"bbox": [x, y, x + width, y + height], "area": width * height}
    with pytest.raises(DataError, match=r"the boxes fit as left, top, right, bottom \(xyxy\)"):
        read_truth(write(tmp_path / "gt.json", content))


def test_a_models_classes_must_be_those_of_the_folder(tmp_path):
    data = write_data(tmp_path, train=document(), valid=document())
    with pytest.raises(ContractError, match="category 2 is 'ray'; in the model it is 'cat'"):
        read_truth(data, "valid", (CLASSES[0], ClassEntry(2, "cat")))
    with pytest.raises(DataError, match="There is no split 'trial'"):
        read_truth(data, "trial")


def test_other_tools_names_of_splits_are_understood(tmp_path):
    data = write_data(tmp_path, train=document(), valid=document())
    assert read_truth(data, "val").source == read_truth(data, "validation").source == data / "valid" / ANNOTATIONS
    assert read_truth(data, "training").folder == data / "train"


def test_a_folder_that_trains_is_checked_as_for_training(tmp_path):
    data = write_data(tmp_path, train=document(), valid=document())
    path = data / "valid" / "_annotations.coco.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["category_id"] = 9
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="category id 9 is not a class"):
        read_truth(data)
