import os
from pathlib import Path

import pytest
from PIL import Image

from boxwright.data import CODES, inspect_folder
from boxwright.runtime import DataError
from support.broken import clean_document, write_data
from support.defects import DEFECTS, Broken, missing, orphan, unlisted


@pytest.fixture
def clean(tmp_path) -> Path:
    return write_data(tmp_path / "data", train=clean_document(), valid=clean_document(), test=clean_document())


def test_every_code_has_a_defect_that_gives_it():
    assert {code for _, code, *_ in DEFECTS.values()} == set(CODES)


@pytest.mark.parametrize("name", DEFECTS)
def test_each_defect_gives_its_code_and_no_other(clean, name):
    function, code, expected, split, file, annotation = DEFECTS[name]
    broken = Broken(clean)
    function(broken)
    broken.save()
    found = inspect_folder(clean).findings
    mine = [finding for finding in found if finding.code == code]
    assert mine, sorted({finding.code for finding in found})
    graver = {finding.code for finding in found if finding.level != "note"}
    assert graver == {one for one in expected if CODES[one].level != "note"}
    assert mine[0].split == split
    if file is not None:
        assert mine[0].file == file
    if annotation is not None:
        assert mine[0].annotation_id == annotation


def test_a_clean_set_gives_no_error_and_no_warning(clean):
    inspection = inspect_folder(clean)
    assert inspection.of("error") == []
    assert inspection.of("warning") == []
    assert {finding.code for finding in inspection.findings} == {"category-parent", "no-objects"}
    assert inspection.to_document()["summary"] == {"errors": 0, "warnings": 0, "notes": 4}


def test_everything_is_reported_at_once(clean):
    broken = Broken(clean)
    for name in (missing, unlisted, orphan):
        name(broken)
    broken.annotations[5]["bbox"] = [0, 0, 0, 0]
    broken.save()
    found = {finding.code for finding in inspect_folder(clean).findings}
    assert {"picture-missing", "picture-unlisted", "unknown-picture", "box-empty"} <= found


def test_that_there_is_no_class_is_said(clean):
    document = clean_document()
    write_data(clean, train={**document, "categories": []})
    messages = {one.message for one in inspect_folder(clean).findings if one.code == "unknown-category"}
    assert messages
    assert all(message.endswith(" is not a class; none is listed") for message in messages)


def test_a_rounding_error_at_the_edge_is_no_finding(clean):
    broken = Broken(clean)
    broken.box(0, -0.5, 64.4, 48.9)
    broken.save()
    assert inspect_folder(clean).of("warning") == []


def test_blank_pictures_do_not_look_alike(clean):
    broken = Broken(clean)
    broken.picture("3.jpg", Image.new("RGB", (64, 48), "white"))
    broken.picture("4.jpg", Image.new("RGB", (64, 48), "grey"))
    assert inspect_folder(clean).of("warning") == []


def test_nothing_to_check_is_one_clear_error(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        inspect_folder(tmp_path / "nothing")
    with pytest.raises(DataError, match="missing"):
        inspect_folder(tmp_path)
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    Image.new("RGB", (64, 48)).save(tmp_path / "images/a.jpg")
    (tmp_path / "labels/a.txt").write_text("0 0.5 0.5 0.5 0.5")
    (tmp_path / "data.yaml").write_text("train: images\nnames: [x]")
    with pytest.raises(DataError, match=r"this looks like a YOLO export.* boxwright convert .* --from yolo"):
        inspect_folder(tmp_path)


def test_a_link_that_leads_to_itself_is_no_picture(clean):
    (clean / "train" / "loop.jpg").symlink_to("loop.jpg")
    assert inspect_folder(clean).of("error") == []


def test_a_pipe_is_not_waited_for(clean):
    (clean / "train" / "3.jpg").unlink()
    os.mkfifo(clean / "train" / "3.jpg")
    assert [finding.code for finding in inspect_folder(clean).of("error")] == ["picture-missing"]


def test_a_set_from_one_camera_is_one_short_finding(tmp_path):
    content = clean_document()
    root = write_data(tmp_path, train=content, valid=content)
    same = (root / "train" / "0.jpg").read_bytes()
    for number in range(31):
        (root / "train" / f"{number}.jpg").write_bytes(same + bytes([number]))  # other bytes, the same picture
    found = [finding for finding in inspect_folder(root).findings if finding.code == "similar-pictures"]
    assert len(found) == 1
    assert len(str(found[0])) < 300


REAL = {
    "aquarium": {
        ("box-tiny", "train", "IMG_8580_jpg.rf.9b5f56c09ea8a7933c2c575f7e9a3f14.jpg"),
        ("no-objects", "train", None),
    },
    "chess": {
        ("annotation-twice", "train", "26d663ab5ffbec49f9dc8e592982cfd4_jpg.rf.b18d279ba4125fd80a1d12ac0e771a97.jpg"),
        ("class-rare", "train", None),
        ("no-objects", "test", None),
    },
    "oxford_pets": {("leak-similar", "train", "Abyssinian_11.jpg")},
    "fish_tiny": {
        (
            "file-name-guessed",
            "train",
            "images/Screenshot-2025-10-10-at-11_31_07-AM_png.rf.932c761cc0b2dbcfbba345f37ba2fe70.jpg",
        ),
        ("stray-folder", "train", "labels/"),
        ("stray-folder", "valid", "images/"),
        ("stray-folder", "valid", "labels/"),
    },
}


@pytest.mark.parametrize("name", REAL)
def test_real_data_has_what_it_really_has(real_data, name):
    inspection = inspect_folder(real_data / name)
    found = {(finding.code, finding.split, finding.file) for finding in inspection.findings}
    assert REAL[name] <= found
    assert inspection.of("error") == []


def test_the_single_box_of_a_class_is_named(real_data):
    messages = [str(finding) for finding in inspect_folder(real_data / "chess").findings]
    assert any("class 'bishop' has few boxes (train 1" in message for message in messages)
