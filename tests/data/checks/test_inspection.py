import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from broken import clean_document, draw, write_data
from PIL import Image

from boxwright.data import ANNOTATIONS, CODES, inspect_folder
from boxwright.runtime import DataError


@pytest.fixture
def clean(tmp_path) -> Path:
    return write_data(tmp_path / "data", train=clean_document(), valid=clean_document(), test=clean_document())


class Broken:
    """A clean data set and the ways to break its training split."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "train"
        self.file = self.folder / ANNOTATIONS
        self.document = json.loads(self.file.read_text())
        self.images, self.annotations = self.document["images"], self.document["annotations"]
        self.categories = self.document["categories"]

    def save(self, split: str = "train") -> None:
        (self.root / split / ANNOTATIONS).write_text(json.dumps(self.document))

    def box(self, *sides: float) -> None:
        self.annotations[3]["bbox"] = list(sides)

    def picture(self, name: str, image: Image.Image, **options: object) -> None:
        image.save(self.folder / name, **options)


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def noise(size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3)).astype(np.uint8))


DEFECTS = {}


def defect(code: str, *also: str, split: str | None = "train", file: str | None = None, annotation: object = None):
    """A way to break a clean set, with the code it must give, those that come with it, and where."""

    def register(function):
        DEFECTS[f"{code}: {function.__name__}"] = (function, code, {code, *also}, split, file, annotation)
        return function

    return register


@defect("split-missing", split="valid")
def no_annotation_file(broken):
    (broken.root / "valid" / ANNOTATIONS).unlink()


@defect("split-missing", split="valid")
def another_name(broken):
    (broken.root / "valid").rename(broken.root / "val")


@defect("stray-folder", file="labels/")
def yolo_folder(broken):
    (broken.folder / "labels").mkdir()
    (broken.folder / "labels" / "0.txt").write_text("0 .5 .5 .1 .1")


@defect("picture-unlisted", file="more.jpg")
def unlisted(broken):
    broken.picture("more.jpg", draw("more"))


@defect("symbolic-link", file="3.jpg")
def link(broken):
    (broken.folder / "3.jpg").rename(broken.root / "elsewhere.jpg")
    (broken.folder / "3.jpg").symlink_to(broken.root / "elsewhere.jpg")


@defect("symbolic-link", file="sub/3.jpg")
def linked_folder(broken):
    (broken.root / "elsewhere").mkdir()
    (broken.folder / "3.jpg").rename(broken.root / "elsewhere" / "3.jpg")
    (broken.folder / "sub").symlink_to(broken.root / "elsewhere")
    broken.images[3]["file_name"] = "sub/3.jpg"


@defect("json-broken", split="train", file=ANNOTATIONS)
def half_a_file(broken):
    broken.save = lambda: broken.file.write_text(json.dumps(broken.document)[:-30])


@defect("json-broken", split="train", file=ANNOTATIONS)
def no_text(broken):
    broken.save = lambda: broken.file.write_bytes(b"\xff\xfe\x00{")


@defect("json-incomplete", split="train", file=ANNOTATIONS)
def no_categories(broken):
    del broken.document["categories"]


@defect("split-empty", "class-absent", "picture-unlisted", "split-without-boxes")
def no_pictures(broken):
    broken.images.clear()
    broken.annotations.clear()


@defect("split-without-boxes", "class-absent")
def no_boxes(broken):
    broken.annotations.clear()


@defect("picture-key", file="3.jpg")
def picture_without_id(broken):
    broken.images[3]["id"] = None
    del broken.annotations[3]


@defect("picture-key", "picture-unlisted", file=None)
def picture_without_name(broken):
    del broken.images[3]["file_name"]


@defect("picture-key", file="3.jpg")
def wrong_width(broken):
    broken.images[3]["width"] = "64"


@defect("picture-id-twice")
def same_picture_id(broken):
    broken.images[30]["id"] = 3


@defect("file-name-twice", "picture-unlisted", file="3.jpg")
def same_file_name(broken):
    broken.images[4]["file_name"] = "3.jpg"


@defect("path-traversal", file="../elsewhere.jpg")
def parent_folder(broken):
    (broken.folder / "3.jpg").rename(broken.root / "elsewhere.jpg")
    broken.images[3]["file_name"] = "../elsewhere.jpg"


@defect("path-traversal", file="C:\\elsewhere.jpg")
def windows_path(broken):
    (broken.folder / "3.jpg").unlink()
    broken.images[3]["file_name"] = "C:\\elsewhere.jpg"


@defect("path-traversal", file="/etc/3.jpg")
def absolute_path(broken):
    (broken.folder / "3.jpg").unlink()
    broken.images[3]["file_name"] = "/etc/3.jpg"


@defect("picture-missing", file="3.jpg")
def missing(broken):
    (broken.folder / "3.jpg").unlink()


@defect("picture-missing", "picture-unlisted", file="x" * 300)
def endless_name(broken):
    broken.images[3]["file_name"] = "x" * 300


@defect("picture-unsupported", file="3.jpg")
def a_gif(broken):
    broken.picture("3.jpg", draw("gif"), format="GIF")


@defect("picture-unsupported", file="3.jpg")
def a_text(broken):
    (broken.folder / "3.jpg").write_text("hello")


@defect("picture-too-large", file="3.jpg")
def a_bomb(broken):
    broken.picture("3.jpg", Image.new("L", (8000, 7000)), format="PNG")


@defect("picture-broken", file="3.jpg")
def truncated_jpeg(broken):
    whole = (broken.folder / "3.jpg").read_bytes()
    (broken.folder / "3.jpg").write_bytes(whole[: len(whole) // 2])


@defect("picture-broken", file="3.jpg")
def truncated_png(broken):
    broken.picture("3.jpg", noise((64, 48)), format="PNG")
    whole = (broken.folder / "3.jpg").read_bytes()
    (broken.folder / "3.jpg").write_bytes(whole[: len(whole) // 2])


@defect("picture-broken", file="3.jpg")
def header_only(broken):
    (broken.folder / "3.jpg").write_bytes((broken.folder / "3.jpg").read_bytes()[:100])


@defect("picture-size", file="3.jpg")
def wrong_size(broken):
    broken.images[3]["width"] = 65


@defect("picture-rotated", file="3.jpg")
def turned_on_its_side(broken):
    broken.picture("3.jpg", draw("turned"), exif=exif(6))


@defect("size-missing", file="3.jpg")
def no_width(broken):
    del broken.images[3]["width"]


@defect("exif-orientation")
def upside_down(broken):
    broken.picture("3.jpg", draw("turned"), exif=exif(3))


@defect("colour-mode")
def grey(broken):
    broken.picture("3.jpg", draw("grey").convert("L"))


@defect("colour-mode")
def cmyk(broken):
    broken.picture("3.jpg", draw("cmyk").convert("CMYK"))


@defect("colour-mode")
def transparent(broken):
    broken.picture("3.jpg", draw("clear").convert("RGBA"), format="PNG")


@defect("no-objects")
def without_objects(broken):
    del broken.annotations[5]


@defect("same-picture", file="3.jpg")
def copied_inside(broken):
    shutil.copyfile(broken.folder / "3.jpg", broken.folder / "4.jpg")


@defect("leak", file="3.jpg")
def copied_across(broken):
    shutil.copyfile(broken.folder / "3.jpg", broken.root / "test" / "4.jpg")


@defect("similar-pictures", file="3.jpg")
def nearly_copied_inside(broken):
    broken.picture("4.jpg", Image.open(broken.folder / "3.jpg"), quality=60)


@defect("leak-similar", file="3.jpg")
def nearly_copied_across(broken):
    lighter = Image.open(broken.folder / "3.jpg").point(lambda value: min(255, value + 4))
    lighter.save(broken.root / "valid" / "8.jpg", quality=70)


@defect("leak-source", file=f"a.rf.{'0' * 32}.jpg")
def roboflow_copies(broken):
    for split, digit in (("train", "0"), ("valid", "1")):
        name = f"a.rf.{digit * 32}.jpg"
        (broken.root / split / "3.jpg").rename(broken.root / split / name)
        broken.images[3]["file_name"] = name
        broken.save(split)
    broken.images[3]["file_name"] = f"a.rf.{'0' * 32}.jpg"


@defect("annotation-key", annotation=4)
def no_owner(broken):
    del broken.annotations[3]["image_id"]


@defect("annotation-key", annotation=4, file="3.jpg")
def category_in_words(broken):
    broken.annotations[3]["category_id"] = "fish"


@defect("annotation-key", annotation=4, file="3.jpg")
def crowd_in_words(broken):
    broken.annotations[3]["iscrowd"] = "no"


@defect("annotation-id-twice", annotation=5)
def same_annotation_id(broken):
    broken.annotations[3]["id"] = 5


@defect("annotation-id-zero", annotation=0, file="3.jpg")
def annotation_id_zero(broken):
    broken.annotations[3]["id"] = 0


@defect("unknown-picture", annotation=4)
def orphan(broken):
    broken.annotations[3]["image_id"] = 999


@defect("unknown-category", annotation=4, file="3.jpg")
def unknown_category(broken):
    broken.annotations[3]["category_id"] = 99


@defect("box-invalid", annotation=4, file="3.jpg")
def not_a_number(broken):
    broken.box(1, 2, float("nan"), 4)


@defect("box-invalid", annotation=4, file="3.jpg")
def endless(broken):
    broken.box(1, 2, float("inf"), 4)


@defect("box-invalid", annotation=4, file="3.jpg")
def three_sides(broken):
    broken.box(1, 2, 3)


@defect("box-empty", annotation=4, file="3.jpg")
def no_width_of_a_box(broken):
    broken.box(5, 5, 0, 5)


@defect("box-empty", annotation=4, file="3.jpg")
def negative_height(broken):
    broken.box(5, 20, 5, -5)


@defect("box-tiny", annotation=4, file="3.jpg")
def sliver(broken):
    broken.box(5, 5, 1.5, 20)


@defect("box-off-picture", annotation=4, file="3.jpg")
def right_of_it(broken):
    broken.box(64, 5, 5, 5)


@defect("box-larger", annotation=4, file="3.jpg")
def larger(broken):
    broken.box(0, 0, 640, 480)


@defect("box-outside", annotation=4, file="3.jpg")
def over_the_edge(broken):
    broken.box(50, 5, 20, 5)


@defect("annotation-twice", annotation=99, file="3.jpg")
def copied_annotation(broken):
    broken.annotations.append({**broken.annotations[3], "id": 99})


@defect("annotation-contradiction", annotation=99, file="3.jpg")
def two_classes(broken):
    broken.annotations.append({**broken.annotations[3], "id": 99, "category_id": 1})


@defect("crowd")
def a_crowd(broken):
    broken.annotations.append({"id": 99, "image_id": 3, "category_id": 1, "bbox": [30, 30, 9, 9], "iscrowd": 1})


@defect("mask-rle")
def run_lengths(broken):
    broken.annotations[3]["segmentation"] = {"counts": "abc", "size": [48, 64]}


@defect("category-key")
def nameless(broken):
    broken.categories.append({"id": 7})


@defect("category-key")
def named_score(broken):
    broken.categories.append({"id": 7, "name": "score"})
    broken.annotations[3]["category_id"] = 7


@defect("category-id-twice")
def same_category_id(broken):
    broken.categories.append({"id": 2, "name": "eel", "supercategory": "animals"})
    for split in ("valid", "test"):
        broken.save(split)


@defect("category-name-twice", "class-unused", split="train")
def same_category_name(broken):
    broken.categories.append({"id": 7, "name": "fish", "supercategory": "animals"})


@defect("category-name-similar", "class-unused")
def nearly_the_same_name(broken):
    broken.categories.append({"id": 7, "name": " Fish", "supercategory": "animals"})


@defect("categories-differ", split="test")
def other_name_elsewhere(broken):
    broken.categories[2]["name"] = "skate"
    broken.save("test")
    broken.categories[2]["name"] = "ray"


@defect("categories-differ", split="test")
def one_more_elsewhere(broken):
    broken.categories.append({"id": 7, "name": "eel", "supercategory": "animals"})
    broken.save("test")
    broken.categories.pop()


@defect("category-parent", split=None)
def a_parent(broken):
    pass  # as Roboflow writes every data set


@defect("class-unused", split=None)
def never_annotated(broken):
    broken.categories.append({"id": 7, "name": "eel", "supercategory": "animals"})


@defect("class-absent", split="valid")
def not_in_validation(broken):
    for annotation in broken.annotations:
        annotation["category_id"] = 1
    broken.save("valid")
    for position, annotation in enumerate(broken.annotations):
        annotation["category_id"] = 1 + position % 2


@defect("class-rare")
def few_rays(broken):
    for annotation in broken.annotations[2:]:
        annotation["category_id"] = 1


@defect("class-imbalance", "class-rare")
def many_fish(broken):
    few_rays(broken)
    for number in range(100, 190):
        more = {"id": number, "image_id": 0, "category_id": 1, "bbox": [number / 10, 5, 9, 9]}
        broken.annotations.append(more)


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
    (tmp_path / "annotations").mkdir()
    with pytest.raises(DataError, match="boxwright convert"):
        inspect_folder(tmp_path)


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
            "picture-missing",
            "train",
            "Screenshot-2025-10-10-at-11_31_07-AM_png.rf.932c761cc0b2dbcfbba345f37ba2fe70.jpg",
        ),
        ("stray-folder", "train", "images/"),
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
    assert len(inspection.of("error")) == (1 if name == "fish_tiny" else 0)


def test_the_single_box_of_a_class_is_named(real_data):
    messages = [str(finding) for finding in inspect_folder(real_data / "chess").findings]
    assert any("class 'bishop' has few boxes (train 1" in message for message in messages)
