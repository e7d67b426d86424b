"""Small sound data sets, and the ways in which people's folders differ from them without a box being wrong.

Every annotation carries a ``mark``, so that it is known again in a repaired or converted copy. ``Folder.truth`` says
where each marked box lies on its upright picture.
"""

from __future__ import annotations

import copy
import json
import random
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from PIL import Image

from boxwright.data import ANNOTATIONS
from boxwright.data.repair import turn_box
from support.broken import CATEGORIES, draw

SIZE = (64, 48)
NAMES = ("a b", "Größe", "shot (1)", "x.y", "IMG_7", "0", "café", "n_8")


@dataclass
class Folder:
    """A data set that is being made.

    Attributes:
        root: of the folder.
        documents: COCO documents by split.
        truth: by split and mark, x, y, width, height in pixels of the upright picture.
        doubtful: marks of which nothing is promised, by split.
    """

    root: Path
    documents: dict[str, dict[str, Any]]
    truth: dict[str, dict[int, tuple[float, ...]]]
    doubtful: dict[str, set[int]] = field(default_factory=lambda: {"train": set(), "valid": set()})

    def save(self) -> None:
        """Write the documents."""
        for split, document in self.documents.items():
            (self.root / split / ANNOTATIONS).write_text(json.dumps(document), encoding="utf-8")

    def sound(self, split: str) -> dict[int, tuple[float, ...]]:
        """The boxes that nothing may lose."""
        return {mark: box for mark, box in self.truth[split].items() if mark not in self.doubtful[split]}


def sound_folder(root: Path, generator: random.Random) -> Folder:
    """A data set without an error; its pictures and boxes are random, its file names those of people."""
    documents, truth = {}, {}
    for split, count in (("train", 6), ("valid", 4)):
        (root / split).mkdir(parents=True)
        images, annotations = [], []
        for number, name in enumerate(generator.sample(NAMES, count), start=1):
            file = f"{name}.jpg"
            draw(f"{root.name}{split}{name}", SIZE).save(root / split / file)
            images.append({"id": number, "file_name": file, "width": SIZE[0], "height": SIZE[1]})
            for _ in range(generator.randrange(1, 4)):
                annotations.append(_annotation(len(annotations) + 1, number, generator))
        documents[split] = {"images": images, "annotations": annotations, "categories": copy.deepcopy(CATEGORIES)}
        truth[split] = {one["mark"]: tuple(one["bbox"]) for one in annotations}
    folder = Folder(root, documents, truth)
    folder.save()
    return folder


def _annotation(number: int, picture: int, generator: random.Random) -> dict[str, Any]:
    x, y = generator.randrange(2, 40), generator.randrange(2, 30)
    box = [x, y, generator.randrange(5, SIZE[0] - x), generator.randrange(5, SIZE[1] - y)]
    return {
        "id": number, "image_id": picture, "category_id": 1 + number % 2, "bbox": box, "area": box[2] * box[3],
        "iscrowd": 0, "segmentation": [], "mark": 1000 + number,
    }  # fmt: skip


UNDECIDED = {"exif_ignored_by_the_tool", "exif_turned", "swapped_sizes", "unknown_sizes"}
"""Two of these together, and nobody can say from the folder where its boxes lie."""

LAST = ("zeros_behind", "no_end_markers", "a_broken_picture")
"""What is done to the files themselves comes after what writes them anew."""

Mutation = Callable[[Folder, str, random.Random], None]
MUTATIONS: dict[str, Mutation] = {}
"""Ways in which a sound folder may look; every box stays right."""


def mutation(function: Mutation) -> Mutation:
    """Register one."""
    MUTATIONS[function.__name__] = function
    return function


def _rename(folder: Folder, split: str, written: Callable[[str], str]) -> None:
    for image in folder.documents[split]["images"]:
        image["file_name"] = written(image["file_name"])


@mutation
def windows_folders(folder, split, generator):
    _move(folder, split, "images")
    _rename(folder, split, lambda name: f"images\\{name}")


@mutation
def percent_encoded(folder, split, generator):
    _rename(folder, split, quote)


@mutation
def other_normal_form(folder, split, generator):
    _rename(folder, split, lambda name: unicodedata.normalize("NFD", name))


@mutation
def upper_case(folder, split, generator):
    _rename(folder, split, lambda name: name.removesuffix(".jpg") + ".JPG")


@mutation
def another_machine(folder, split, generator):
    prefix = generator.choice(["/content/data/train/", "D:\\sets\\", "..\\..\\media\\upload\\4\\", "https://host/f/"])
    _rename(folder, split, lambda name: prefix + name)


@mutation
def own_absolute_path(folder, split, generator):
    _rename(folder, split, lambda name: str((folder.root / split / name).absolute()))


@mutation
def a_folder_deeper(folder, split, generator):
    _move(folder, split, "images")


@mutation
def a_folder_too_many(folder, split, generator):
    _rename(folder, split, lambda name: f"images/{name}")


def _move(folder: Folder, split: str, into: str) -> None:
    (folder.root / split / into).mkdir(exist_ok=True)
    for path in list((folder.root / split).glob("*.jpg")):
        path.rename(folder.root / split / into / path.name)


@mutation
def swapped_sizes(folder, split, generator):
    for image in folder.documents[split]["images"]:
        image["width"], image["height"] = image["height"], image["width"]


@mutation
def unknown_sizes(folder, split, generator):
    for image in folder.documents[split]["images"]:
        image |= generator.choice([{"width": 0, "height": 0}, {"width": "?"}, {"height": None}, {"width": -1}])


@mutation
def sizes_as_text(folder, split, generator):
    for image in folder.documents[split]["images"]:
        image |= {"width": str(image["width"]), "height": str(image["height"])}


@mutation
def large_ids(folder, split, generator):
    _renumber(folder.documents[split], lambda number: 2**62 + number)


@mutation
def ids_as_text(folder, split, generator):
    _renumber(folder.documents[split], lambda number: f"picture-{number}")


def _renumber(document: dict[str, Any], change: Callable[[int], Any]) -> None:
    if any(isinstance(image["id"], str) for image in document["images"]):
        return  # another mutation was there first
    for image in document["images"]:
        image["id"] = change(image["id"])
    for annotation in document["annotations"]:
        annotation["image_id"] = change(annotation["image_id"])


def _turn(folder: Folder, split: str, generator: random.Random, drawn_upright: bool) -> None:
    """Store a picture turned, its EXIF tag undoing that; its boxes are drawn on the one or the other."""
    images = [
        image for image in folder.documents[split]["images"] if (folder.root / split / image["file_name"]).exists()
    ]
    if not images or any(image.get("width") != SIZE[0] for image in images):
        return  # another mutation was there first
    image = generator.choice(images)
    turn = generator.choice([5, 6, 7, 8])
    path = folder.root / split / image["file_name"]
    exif = Image.Exif()
    exif[0x0112] = turn
    Image.open(path).save(path, exif=exif)
    if drawn_upright:
        image["width"], image["height"] = SIZE[1], SIZE[0]
    for annotation in folder.documents[split]["annotations"]:
        if annotation["image_id"] == image["id"]:
            upright = turn_box(tuple(annotation["bbox"]), SIZE, turn)
            folder.truth[split][annotation["mark"]] = upright
            if drawn_upright:
                annotation["bbox"] = list(upright)


@mutation
def exif_turned(folder, split, generator):
    _turn(folder, split, generator, drawn_upright=True)


@mutation
def exif_ignored_by_the_tool(folder, split, generator):
    _turn(folder, split, generator, drawn_upright=False)


@mutation
def outlines(folder, split, generator):
    for annotation in folder.documents[split]["annotations"]:
        x, y, width, height = annotation["bbox"]
        polygon = [x, y, x + width, y, x + width, y + height, x, y + height]
        rle = {"counts": [10, 5, SIZE[0] * SIZE[1] - 15], "size": [SIZE[1], SIZE[0]]}
        annotation["segmentation"] = generator.choice([[polygon], polygon, [polygon, polygon], [], None, rle])


@mutation
def odd_outlines(folder, split, generator):
    for annotation in folder.documents[split]["annotations"]:
        annotation["segmentation"] = generator.choice(
            ["1 2 3 4", 7, [[]], [[1, 2]], ["x"], True, {"a": 1}, [[None] * 6]]
        )


@mutation
def not_a_number_beside(folder, split, generator):
    for annotation in folder.documents[split]["annotations"]:
        annotation["confidence"] = generator.choice([float("nan"), float("inf"), 0.5])
    folder.documents[split]["info"] = {"version": float("nan")}


@mutation
def files_of_systems(folder, split, generator):
    for name in ("._a.jpg", ".DS_Store", "Thumbs.db"):
        (folder.root / split / name).write_bytes(b"\0\5\x16\7")


@mutation
def no_end_markers(folder, split, generator):
    for path in (folder.root / split).rglob("*.jpg"):
        if not path.name.startswith("."):
            path.write_bytes(path.read_bytes().removesuffix(b"\xff\xd9"))


@mutation
def zeros_behind(folder, split, generator):
    for path in (folder.root / split).rglob("*.jpg"):
        path.write_bytes(path.read_bytes() + bytes(100))


@mutation
def names_with_joiners(folder, split, generator):
    folder.documents[split]["categories"][1]["name"] = "fish\u200d\u00a0🐟"
    for other in folder.documents.values():
        other["categories"][1]["name"] = folder.documents[split]["categories"][1]["name"]


@mutation
def keys_of_tools(folder, split, generator):
    for annotation in folder.documents[split]["annotations"]:
        annotation["attributes"] = {"occluded": False, "rotation": 0.0}
    for image in folder.documents[split]["images"]:
        image |= {"license": 1, "coco_url": "", "date_captured": None}


@mutation
def a_bad_neighbour(folder, split, generator):
    """One annotation is spoilt; the others are as sound as before."""
    annotation = generator.choice(folder.documents[split]["annotations"])
    annotation |= generator.choice([
        {"bbox": [1, 2, float("nan"), 4]}, {"bbox": None}, {"bbox": [900, 900, 5, 5]}, {"bbox": [5, 5, 0, 5]},
        {"category_id": 99}, {"image_id": 99}, {"iscrowd": "no"}, {"bbox": [1, 1, 500, 500]},
    ])  # fmt: skip
    folder.doubtful[split].add(annotation["mark"])


@mutation
def a_broken_picture(folder, split, generator):
    """One picture's file is cut in half."""
    paths = sorted(path for path in (folder.root / split).rglob("*.jpg") if not path.name.startswith("."))
    path = generator.choice(paths)
    path.write_bytes(path.read_bytes()[:400])
    stem = unicodedata.normalize("NFC", path.stem)
    document = folder.documents[split]
    images = [one["id"] for one in document["images"] if _same_picture(one["file_name"], stem)]
    assert images, (path, [one["file_name"] for one in document["images"]])
    owned = [one["mark"] for one in document["annotations"] if one["image_id"] in images]
    folder.doubtful[split].update(owned)


def _same_picture(written: str, stem: str) -> bool:
    name = unicodedata.normalize("NFC", written).replace("\\", "/").rsplit("/", 1)[-1].rsplit(".", 1)[0]
    return stem in (name, *(one for one in NAMES if quote(one) == name))
