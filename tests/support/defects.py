"""Every way to break a clean data set, with the code that the check must give."""

import json
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from boxwright.data import ANNOTATIONS
from support.broken import draw


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


@defect("test-unannotated", split="test", file=ANNOTATIONS)
def pictures_to_predict(broken):
    content = json.loads((broken.root / "test" / ANNOTATIONS).read_text())
    del content["annotations"]
    (broken.root / "test" / ANNOTATIONS).write_text(json.dumps(content))


@defect("picture-format")
def a_phones_picture(broken):
    (broken.folder / "IMG_1.HEIC").write_bytes(b"ftypheic")


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


@defect("size-missing", file="3.jpg")
def width_in_words(broken):
    broken.images[3]["width"] = "wide"


@defect("id-text", file=ANNOTATIONS)
def ids_as_text(broken):
    for entry in broken.images:
        entry["id"] = f"picture {entry['id']}"
    for entry in broken.annotations:
        entry["image_id"] = f"picture {entry['image_id']}"


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


@defect("file-name-guessed", file="sub/A b.JPG")
def other_spelling(broken):
    (broken.folder / "sub").mkdir()
    (broken.folder / "3.jpg").rename(broken.folder / "sub" / "A b.JPG")
    broken.images[3]["file_name"] = r"C:\data\sub\a%20b.jpg"


@defect("file-name-unclear", "stray-folder", file="z.jpg")
def two_candidates(broken):
    for folder in ("one", "two"):
        (broken.folder / folder).mkdir()
    (broken.folder / "3.jpg").rename(broken.folder / "one" / "z.jpg")
    (broken.folder / "4.jpg").rename(broken.folder / "two" / "z.jpg")
    broken.images[3]["file_name"] = "z.jpg"
    broken.images[4]["file_name"] = "one/../two/z.jpg"


@defect("pictures-absent")
def most_pictures_elsewhere(broken):
    for number in range(16):
        (broken.folder / f"{number}.jpg").unlink()


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
    broken.picture("3.jpg", Image.new("1", (11_000, 10_000)), format="PNG")


@defect("picture-pointer", file="3.jpg")
def a_pointer(broken):
    (broken.folder / "3.jpg").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")


@defect("picture-end", file="3.jpg")
def no_end_marker(broken):
    whole = (broken.folder / "3.jpg").read_bytes()
    (broken.folder / "3.jpg").write_bytes(whole.removesuffix(b"\xff\xd9"))


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


@defect("animated")
def animated(broken):
    frames = [draw("second frame"), draw("third frame")]
    broken.picture("3.jpg", draw("moving"), format="PNG", save_all=True, append_images=frames)


@defect("no-objects")
def without_objects(broken):
    del broken.annotations[5]


@defect("same-picture", "same-picture-boxes", file="3.jpg")
def copied_inside(broken):
    shutil.copyfile(broken.folder / "3.jpg", broken.folder / "4.jpg")


@defect("same-picture-boxes", "same-picture", file="3.jpg")
def annotated_twice(broken):
    shutil.copyfile(broken.folder / "3.jpg", broken.folder / "5.jpg")
    broken.annotations[5]["bbox"] = [30, 4, 20, 20]


@defect("leak", "same-picture-boxes", file="3.jpg")
def copied_across(broken):
    shutil.copyfile(broken.folder / "3.jpg", broken.root / "test" / "4.jpg")


@defect("copies")
def roboflow_augmented(broken):
    for number in (3, 4):
        name = f"a.rf.{number}{'0' * 31}.jpg"
        (broken.folder / f"{number}.jpg").rename(broken.folder / name)
        broken.images[number]["file_name"] = name


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


@defect("boxes-reading", "box-outside")
def corners(broken):
    for annotation in broken.annotations:
        x, y, width, height = annotation["bbox"]
        annotation |= {"bbox": [x + 20, y + 20, x + 20 + width, y + 20 + height], "area": width * height}


@defect("boxes-reading", "box-tiny")
def shares(broken):
    for annotation in broken.annotations:
        annotation["bbox"] = [0.1, 0.1, 0.3, 0.4]


@defect("boxes-disagree", "box-outside", annotation=1)
def some_corners(broken):
    for annotation in broken.annotations:
        annotation["area"] = 400
    for annotation in broken.annotations[:4]:
        annotation["bbox"] = [20, 20, 40, 40]


@defect("boxes-missing")
def outlines_alone(broken):
    for annotation in broken.annotations[:4]:
        annotation |= {"bbox": [], "segmentation": [[4, 4, 24, 4, 24, 24]]}


@defect("boxes-turned", annotation=4)
def turned_box(broken):
    broken.annotations[3]["attributes"] = {"occluded": False, "rotation": 30.5}


@defect("area-wrong", annotation=4)
def negative_area(broken):
    broken.annotations[3]["area"] = -5


@defect("area-wrong", annotation=4)
def vast_area(broken):
    broken.annotations[3]["area"] = 1e9


@defect("box-empty", annotation=4, file="3.jpg")
def no_width_of_a_box(broken):
    broken.box(5, 5, 0, 5)


@defect("box-empty", annotation=4, file="3.jpg")
def negative_height(broken):
    broken.box(5, 20, 5, -5)


@defect("box-tiny", annotation=4, file="3.jpg")
def sliver(broken):
    broken.box(5, 5, 1.5, 20)


@defect("boxes-small")
def large_pictures(broken):
    for image in broken.images:
        with Image.open(broken.folder / image["file_name"]) as picture:
            broken.picture(image["file_name"], picture.resize((1280, 960)))
        image |= {"width": 1280, "height": 960}


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


@defect("test-missing", split="test")
def test_folder_without_json(broken):
    (broken.root / "test" / ANNOTATIONS).unlink()


@defect("picture-unreadable", "symbolic-link", file="3.jpg")
def a_file_that_gives_an_error_when_read(broken):
    (broken.folder / "3.jpg").unlink()
    (broken.folder / "3.jpg").symlink_to("/proc/self/mem")


@defect("symbolic-link", file="train")
def linked_split(broken):
    broken.folder.rename(broken.root / "elsewhere")
    broken.folder.symlink_to(broken.root / "elsewhere")


@defect("annotation-id-missing", file="3.jpg")
def unnumbered(broken):
    del broken.annotations[3]["id"]


@defect("annotation-id-twice", annotation=5.0)
def the_same_number_written_otherwise(broken):
    broken.annotations[5]["id"] = 5.0


@defect("category-unlisted", "class-absent", split="valid")
def not_listed_in_validation(broken):
    for annotation in broken.annotations:
        annotation["category_id"] = 1
    category = broken.categories.pop()
    broken.save("valid")
    broken.categories.append(category)
    for position, annotation in enumerate(broken.annotations):
        annotation["category_id"] = 1 + position % 2


@defect("category-name-twice")
def an_annotated_parent_of_the_same_name(broken):
    for position, annotation in enumerate(broken.annotations):
        annotation["category_id"] = position % 3
    for split, name in (("valid", "fish"), ("test", "fish"), ("train", "fish")):
        broken.categories[0]["name"] = name
        broken.categories[1]["supercategory"] = name
        broken.save(split)


@defect("picture-size", "size-missing", file="3.jpg")
def one_side_and_that_wrong(broken):
    broken.images[3]["width"] = 50
    del broken.images[3]["height"]


@defect("exif-orientation")
def on_its_side_and_no_size_to_compare(broken):
    broken.picture("3.jpg", draw("turned"), exif=exif(6))
    del broken.images[3]["width"], broken.images[3]["height"]


@defect("file-name-twice", "picture-unlisted", file="3.jpg")
def same_file_name_written_otherwise(broken):
    broken.images[4]["file_name"] = ".//3.jpg"


@defect("annotation-twice", annotation=99, file="3.jpg")
def copied_annotation_in_other_digits(broken):
    box = [float(side) for side in broken.annotations[3]["bbox"]]
    broken.annotations.append({**broken.annotations[3], "id": 99, "bbox": box})


@defect("leak", "leak-similar", "same-picture-boxes", file="3.jpg")
def a_copy_and_a_look_alike(broken):
    shutil.copyfile(broken.folder / "3.jpg", broken.root / "test" / "4.jpg")
    Image.open(broken.folder / "3.jpg").save(broken.root / "valid" / "8.jpg", quality=60)
