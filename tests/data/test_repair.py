import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from boxwright.data import ANNOTATIONS, CODES, inspect_folder, read_folder
from boxwright.data.documents import null_for_nan
from boxwright.data.repair import REPAIRS, repair, turn_box, turn_polygons
from boxwright.runtime import ConfigError, DataError, decode
from support.broken import clean_document, draw, write_data
from support.defects import DEFECTS, Broken


@pytest.fixture
def clean(tmp_path):
    return write_data(tmp_path / "data", train=clean_document(), valid=clean_document())


def save(root, content, split="train"):
    (root / split / ANNOTATIONS).write_text(json.dumps(content))


def repaired(root, out):
    """The repaired training split's document and the codes left in the copy."""
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    repair(inspect_folder(root), out)
    assert before == {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    left = {finding.code for finding in inspect_folder(out).findings if finding.level != "note"}
    return json.loads((out / "train" / ANNOTATIONS).read_text()), left


def test_a_clean_set_is_copied_as_it_is(clean, tmp_path):
    content, left = repaired(clean, tmp_path / "out")
    assert left == set()
    assert content == clean_document()
    for path in clean.rglob("*.jpg"):
        assert (tmp_path / "out" / path.relative_to(clean)).read_bytes() == path.read_bytes()


def test_what_needs_no_guess_is_repaired(clean, tmp_path):
    content = clean_document()
    extra = [
        {"id": 1, "image_id": 5, "category_id": 1, "bbox": [50, 30, 30, 10], "iscrowd": 0},  # over the edge, id used
        {"id": 0, "image_id": 5, "category_id": 1, "bbox": [1, 1, 5, 5], "note": "kept"},
        {"id": 52, "image_id": 5, "category_id": 1, "bbox": [1, 1, 0, 5]},
        {"id": 53, "image_id": 5, "category_id": 1, "bbox": [90, 1, 5, 5]},
        {**content["annotations"][6], "id": 54},
        {"id": 55, "image_id": 999, "category_id": 1, "bbox": [1, 1, 5, 5]},
        {"id": 56, "image_id": 3, "category_id": 1, "bbox": [1, 1, 5, 5]},
    ]
    content["annotations"] += extra
    content["images"].append({"id": 77, "file_name": "7.jpg", "width": 64, "height": 48})
    content["annotations"].append({"id": 57, "image_id": 77, "category_id": 2, "bbox": [30, 30, 5, 5]})
    del content["images"][8]["width"]
    save(clean, content)
    (clean / "train" / "3.jpg").unlink()
    (clean / "train" / "4.jpg").write_bytes(b"broken")
    (clean / "train" / "more.jpg").write_bytes((clean / "valid" / "3.jpg").read_bytes())
    (clean / "train" / "labels").mkdir()
    content, left = repaired(clean, tmp_path / "out")
    assert left == set()
    names = {image["file_name"] for image in content["images"]}
    assert names == {f"{number}.jpg" for number in range(31)} - {"3.jpg", "4.jpg"}
    assert len(content["images"]) == len(names)
    assert content["images"][6]["width"] == 64
    boxes = {one["id"]: one for one in content["annotations"]}
    assert len(boxes) == len(content["annotations"]) == 30 - 2 + 2 + 1
    clipped = next(one for one in boxes.values() if one["bbox"][0] == 50)
    assert clipped["bbox"] == [50, 30, 14, 10]
    assert clipped["area"] == 140
    assert next(one for one in boxes.values() if one.get("note"))["id"] > 57
    assert boxes[57]["image_id"] == 7
    assert sorted(path.name for path in (tmp_path / "out" / "train").iterdir()) == sorted([*names, ANNOTATIONS])


def test_what_needs_a_guess_is_left(clean, tmp_path):
    content = clean_document()
    content["annotations"][3]["category_id"] = 99
    content["annotations"][4]["bbox"] = [0, 0, 640, 480]
    content["images"][5]["width"] = 70
    save(clean, content)
    after, left = repaired(clean, tmp_path / "out")
    assert left == {"unknown-category", "box-larger", "picture-size"}
    assert after == content


def test_links_become_files(clean, tmp_path):
    (clean / "train" / "3.jpg").rename(tmp_path / "3.jpg")
    (clean / "train" / "3.jpg").symlink_to(tmp_path / "3.jpg")
    _, left = repaired(clean, tmp_path / "out")
    assert left == set()
    assert not (tmp_path / "out" / "train" / "3.jpg").is_symlink()


@pytest.mark.parametrize("turn", [5, 6, 7, 8])
def test_boxes_drawn_on_the_stored_picture_are_turned_with_it(clean, tmp_path, turn):
    """A white patch is where the box says, before on the stored picture and after on the upright one."""
    image = draw("dark").point(lambda value: value // 3)
    image.paste("white", (10, 6, 30, 14))
    exif = Image.Exif()
    exif[0x0112] = turn
    image.save(clean / "train" / "3.jpg", quality=95, exif=exif)
    content = clean_document()
    content["annotations"][3]["bbox"] = [10, 6, 20, 8]
    content["annotations"][3]["segmentation"] = [[10, 6, 30, 6, 30, 14]]
    save(clean, content)
    assert [finding.code for finding in inspect_folder(clean).of("error")] == ["picture-rotated"]
    _, left = repaired(clean, tmp_path / "out")
    assert left == set()
    record = read_folder(tmp_path / "out").splits["train"].pictures[3]
    assert (record.width, record.height) == (48, 64)
    left_edge, top, right, bottom = record.boxes[0].astype(int)
    pixels = np.asarray(decode(record.path).convert("L"))
    assert pixels[top + 2 : bottom - 2, left_edge + 2 : right - 2].min() > 200
    pixels = pixels.copy()
    pixels[top - 2 : bottom + 2, left_edge - 2 : right + 2] = 0
    assert pixels.max() < 150
    polygon = json.loads((tmp_path / "out" / "train" / ANNOTATIONS).read_text())["annotations"][3]["segmentation"][0]
    assert min(polygon[::2]) == left_edge
    assert max(polygon[1::2]) == bottom


UNDO = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}
sides = st.integers(0, 400)


@given(box=st.tuples(sides, sides, sides, sides), turn=st.sampled_from(sorted(UNDO)))
def test_turning_back_is_the_identity(box, turn):
    stored = (640, 480)
    upright = (480, 640) if turn > 4 else stored
    assert turn_box(turn_box(box, stored, turn), upright, UNDO[turn]) == box
    polygon = [float(side) for side in box]
    assert turn_polygons(turn_polygons([polygon], stored, turn), upright, UNDO[turn]) == [polygon]


def test_the_copy_never_lands_on_other_files(clean, tmp_path):
    inspection = inspect_folder(clean)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="not empty"):
        repair(inspection, tmp_path / "full")
    with pytest.raises(ConfigError, match="inside"):
        repair(inspection, clean / "out")
    assert not (clean / "out").exists()


def test_a_file_that_cannot_be_read_cannot_be_repaired(clean, tmp_path):
    (clean / "valid" / ANNOTATIONS).write_text("{")
    with pytest.raises(DataError, match="valid"):
        repair(inspect_folder(clean), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_every_code_with_a_repair_has_one():
    assert set(REPAIRS) == {code for code, row in CODES.items() if row.repair}


def check_that_nothing_else_changed(root, out, done):
    """Every annotation of the copy is the original's, unless a repair names it or its picture."""
    before = json.loads((root / "train" / ANNOTATIONS).read_text())
    after = json.loads((out / "train" / ANNOTATIONS).read_text())
    named = {finding.annotation_id for finding in done}
    files = {finding.file for finding in done}
    names = ((one.get("id"), one.get("file_name", "")) for one in before["images"])
    pictures = {number for number, name in names if files & {name, name.strip("./")}}
    kept = {json.dumps(one, sort_keys=True) for one in after["annotations"]}
    for annotation in null_for_nan(before["annotations"]):
        if annotation.get("id") not in named and annotation.get("image_id") not in pictures:
            assert json.dumps(annotation, sort_keys=True) in kept, annotation


@pytest.mark.parametrize("name", DEFECTS)
def test_what_a_repair_does_is_what_it_says(clean, tmp_path, name):
    """For every defect: what is said to be repaired is gone, what is not is still there, nothing else changed."""
    (clean / "test").mkdir(exist_ok=True)
    write_data(clean, test=clean_document())
    broken = Broken(clean)
    DEFECTS[name][0](broken)
    broken.save()
    before = inspect_folder(clean)
    try:
        done = repair(before, tmp_path / "out")
    except DataError:
        assert {one.code for one in before.findings} & {
            "json-broken",
            "json-incomplete",
            "picture-unreadable",
            "pictures-absent",
        }
        return
    after = Counter(finding.code for finding in inspect_folder(tmp_path / "out").findings if finding.level != "note")
    before_codes = Counter(finding.code for finding in before.findings if finding.level != "note")
    repaired = Counter(finding.code for finding in done if finding.level != "note")
    assert all(after[code] == count - repaired[code] for code, count in before_codes.items() if CODES[code].repair)
    if not (clean / "train").is_symlink():
        check_that_nothing_else_changed(clean, tmp_path / "out", done)


def test_ids_of_several_pictures_are_not_untangled(clean, tmp_path):
    """Two entries of one file, and an id that one of them shares with another file: whose boxes are whose?"""
    content = clean_document()
    content["images"][4]["file_name"] = "3.jpg"
    content["images"][5]["id"] = content["annotations"][5]["image_id"] = content["images"][4]["id"]
    save(clean, content)
    before = json.loads((clean / "train" / ANNOTATIONS).read_text())
    after, left = repaired(clean, tmp_path / "out")
    assert {"picture-id-twice", "file-name-twice"} <= left
    assert after == before


def test_boxes_of_a_picture_of_another_size_are_left(clean, tmp_path):
    content = clean_document()
    content["images"][5] |= {"width": 128, "height": 96}
    content["annotations"][5]["bbox"] = [60, 20, 60, 20]
    content["annotations"][6]["image_id"] = 5
    content["annotations"][6]["bbox"] = [100, 70, 60, 20]
    save(clean, content)
    after, left = repaired(clean, tmp_path / "out")
    assert {"picture-size", "box-outside"} <= left
    assert after == content


def test_unusable_annotations_are_not_taken_for_copies(clean, tmp_path):
    content = clean_document()
    for number in (3, 4, 5):
        del content["annotations"][number]["bbox"]
        content["annotations"][number] |= {"image_id": 3, "category_id": 1, "segmentation": [[number, 1, 2, 3, 4, 5]]}
    content["annotations"][7] |= {"image_id": 6, "category_id": 1, "bbox": [50, 5, 60, 20]}
    content["annotations"][6] |= {"image_id": 6, "category_id": 1, "bbox": [50, 5, 50, 20]}
    save(clean, content)
    after, _ = repaired(clean, tmp_path / "out")
    assert len(after["annotations"]) == len(content["annotations"])


def test_names_with_dots_and_deep_documents_survive(clean, tmp_path):
    content = clean_document()
    content["images"][3]["file_name"] = "photo..jpg"
    (clean / "train" / "3.jpg").rename(clean / "train" / "photo..jpg")
    content["info"] = json.loads("[" * 500 + "]" * 500)
    save(clean, content)
    after, left = repaired(clean, tmp_path / "out")
    assert left == set()
    assert after == content


def test_what_cannot_be_turned_is_left(clean, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    draw("turned").save(clean / "train" / "3.jpg", exif=exif)
    content = clean_document()
    content["annotations"][3]["segmentation"] = {"counts": "abc", "size": [48, 64]}
    save(clean, content)
    after, left = repaired(clean, tmp_path / "out")
    assert left == {"picture-rotated"}
    assert after == content


def test_a_clipped_box_leaves_the_area_of_its_mask(clean, tmp_path):
    content = clean_document()
    content["annotations"][3] |= {"bbox": [50, 5, 40, 20], "area": 111, "segmentation": [[50, 5, 60, 5, 60, 9]]}
    save(clean, content)
    after, _ = repaired(clean, tmp_path / "out")
    assert after["annotations"][3]["bbox"] == [50, 5, 14, 20]
    assert after["annotations"][3]["area"] == 111


def left_alone(root, out):
    """Whether a repair changed no entry of the training split."""
    before = json.loads((root / "train" / ANNOTATIONS).read_text())
    repair(inspect_folder(root), out)
    return json.loads((out / "train" / ANNOTATIONS).read_text()) == before


def test_boxes_that_mostly_leave_their_pictures_are_not_clipped(clean, tmp_path):
    """They were drawn on pictures of another size."""
    content = clean_document()
    for number, annotation in enumerate(content["annotations"]):
        annotation["bbox"] = [4 + 3 * number, 4 + number, 40, 40]
    save(clean, content)
    assert left_alone(clean, tmp_path / "out")


def test_files_that_a_name_may_mean_are_copied(clean, tmp_path):
    content = clean_document()
    for folder in ("a", "b"):
        (clean / "train" / folder).mkdir()
        draw(folder).save(clean / "train" / folder / "z.jpg")
    (clean / "train" / "3.jpg").unlink()
    content["images"][3]["file_name"] = "z.jpg"
    save(clean, content)
    assert left_alone(clean, tmp_path / "out")
    assert (tmp_path / "out" / "train" / "b" / "z.jpg").is_file()
    assert left_alone(tmp_path / "out", tmp_path / "again")


def test_boxes_of_a_picture_whose_id_is_wrong_stay(clean, tmp_path):
    content = clean_document()
    content["images"][3]["id"] = None
    save(clean, content)
    assert left_alone(clean, tmp_path / "out")


def test_a_picture_that_is_there_outside_its_split_stays_listed(clean, tmp_path):
    content = clean_document()
    (clean / "train" / "3.jpg").rename(clean / "3.jpg")
    content["images"][3]["file_name"] = "../3.jpg"
    save(clean, content)
    assert left_alone(clean, tmp_path / "out")


def test_two_spellings_of_one_file_are_merged(clean, tmp_path):
    content = clean_document()
    content["images"].append({"id": 99, "file_name": "3.JPG", "width": 64, "height": 48})
    content["annotations"].append({"id": 99, "image_id": 99, "category_id": 1, "bbox": [30, 30, 9, 9], "iscrowd": 0})
    save(clean, content)
    after, left = repaired(clean, tmp_path / "out")
    assert left == set()
    assert [one["bbox"] for one in after["annotations"] if one["image_id"] == 3] == [[4, 4, 20, 20], [30, 30, 9, 9]]


def test_pictures_that_hold_all_boxes_are_not_dropped(clean, tmp_path):
    content = clean_document()
    content["annotations"] = content["annotations"][:3]
    save(clean, content)
    for number in range(3):
        (clean / "train" / f"{number}.jpg").unlink()
    assert left_alone(clean, tmp_path / "out")


def test_boxes_that_fit_only_the_stored_picture_are_turned_though_the_json_gives_no_size(clean, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    content = clean_document()
    for number in (3, 4):
        draw(f"turned {number}").save(clean / "train" / f"{number}.jpg", exif=exif)
        del content["images"][number]["width"], content["images"][number]["height"]
    content["annotations"][3]["bbox"] = [40, 4, 20, 8]
    save(clean, content)
    assert [finding.code for finding in inspect_folder(clean).of("error")] == ["picture-rotated"] * 2
    after, left = repaired(clean, tmp_path / "out")
    assert left == set()
    assert after["annotations"][3]["bbox"] == list(turn_box((40, 4, 20, 8), (64, 48), 6))
    assert [after["images"][3][side] for side in ("width", "height")] == [48, 64]
