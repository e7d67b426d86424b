"""The sound folders of ``support.mutations`` as YOLO and Pascal VOC data sets, as people have them."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from support.mutations import SIZE, Folder

CLASSES = ("fish", "ray")
SPLITS = {"train": "train", "valid": "val"}

Rows = dict[str, dict[str, list[tuple[int, tuple[float, ...]]]]]


def rows_of(folder: Folder) -> Rows:
    """By split and file name, class index and x, y, width, height of every box."""
    rows: Rows = {}
    for split, document in folder.documents.items():
        names = {image["id"]: image["file_name"] for image in document["images"]}
        rows[split] = {name: [] for name in names.values()}
        for one in document["annotations"]:
            rows[split][names[one["image_id"]]].append((one["category_id"] - 1, tuple(one["bbox"])))
    return rows


def write_yolo(folder: Folder, root: Path, generator: random.Random) -> list[str]:
    """Write the data set and one to three peculiarities; returns their names."""
    rows = rows_of(folder)
    for split, name in SPLITS.items():
        for kind in ("images", "labels"):
            (root / kind / name).mkdir(parents=True)
        for file, boxes in rows[split].items():
            (root / "images" / name / file).write_bytes((folder.root / split / file).read_bytes())
            lines = "".join(_line(index, box) + "\n" for index, box in boxes)
            (root / "labels" / name / f"{file.removesuffix('.jpg')}.txt").write_text(lines, encoding="utf-8")
    config = "path: .\ntrain: images/train\nval: images/val\nnames: [fish, ray]\n"
    (root / "data.yaml").write_text(config, encoding="utf-8")
    return _spice(YOLO, root, generator)


def _line(index: int, box: tuple[float, ...]) -> str:
    x, y, width, height = box
    numbers = ((x + width / 2) / SIZE[0], (y + height / 2) / SIZE[1], width / SIZE[0], height / SIZE[1])
    return " ".join([str(index), *(f"{number:.9f}" for number in numbers)])


def write_voc(folder: Folder, root: Path, generator: random.Random) -> list[str]:
    """Write the data set and one to three peculiarities; returns their names."""
    for kind in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / kind).mkdir(parents=True)
    for split, files in rows_of(folder).items():
        stems = []
        for file, boxes in files.items():
            stem = f"{split} {file.removesuffix('.jpg')}"
            stems.append(stem)
            (root / "JPEGImages" / f"{stem}.jpg").write_bytes((folder.root / split / file).read_bytes())
            (root / "Annotations" / f"{stem}.xml").write_text(_xml(f"{stem}.jpg", boxes), encoding="utf-8")
        listed = "".join(f"{stem}\n" for stem in stems)
        (root / "ImageSets" / "Main" / f"{SPLITS[split]}.txt").write_text(listed, encoding="utf-8")
    return _spice(VOC, root, generator)


def _xml(file: str, boxes: list[tuple[int, tuple[float, ...]]]) -> str:
    """Edges counted from 0, for ``--voc-origin 0``."""
    objects = "".join(
        f"<object><name>{CLASSES[index]}</name><bndbox><xmin>{x}</xmin><ymin>{y}</ymin>"
        f"<xmax>{x + width}</xmax><ymax>{y + height}</ymax></bndbox></object>"
        for index, (x, y, width, height) in boxes
    )
    size = f"<size><width>{SIZE[0]}</width><height>{SIZE[1]}</height><depth>3</depth></size>"
    return f"<annotation><filename>{escape(file)}</filename>{size}{objects}</annotation>"


Peculiarity = Callable[[Path, random.Random], Any]
YOLO: dict[str, Peculiarity] = {}
VOC: dict[str, Peculiarity] = {}


def _spice(kinds: dict[str, Peculiarity], root: Path, generator: random.Random) -> list[str]:
    names = generator.sample(sorted(kinds), generator.randrange(1, 4))
    for name in names:
        kinds[name](root, generator)
    return names


def peculiarity(*kinds: dict[str, Peculiarity]) -> Callable[[Peculiarity], Peculiarity]:
    """Register one for these formats."""

    def register(function: Peculiarity) -> Peculiarity:
        for kind in kinds:
            kind[function.__name__] = function
        return function

    return register


def _each(root: Path, pattern: str, change: Callable[[str], str | bytes]) -> None:
    for path in sorted(root.rglob(pattern)):
        with suppress(UnicodeDecodeError):  # hidden files, and those that have another encoding already
            changed = change(path.read_bytes().decode("utf-8-sig"))
            path.write_bytes(changed if isinstance(changed, bytes) else changed.encode("utf-8"))


@peculiarity(YOLO)
def windows_paths(root, generator):
    _each(root, "data.yaml", lambda text: text.replace("images/", "images\\"))


@peculiarity(YOLO)
def a_path_of_another_machine(root, generator):
    prefix = generator.choice(["/content/drive/set", "D:/sets/mine", "../datasets/mine"])
    _each(root, "data.yaml", lambda text: text.replace("path: .", f"path: {prefix}"))


@peculiarity(YOLO)
def lists_of_pictures(root, generator):
    for name in SPLITS.values():
        names = [f"images/{name}/{path.name}" for path in sorted((root / "images" / name).glob("*.[jJ][pP][gG]"))]
        lines = [generator.choice([one, f"./{one}", one.replace("/", "\\"), f"/content/x/{one}"]) for one in names]
        (root / f"{name}.txt").write_text("\n".join(lines), encoding="utf-8")
        _each(
            root, "data.yaml", lambda text, name=name: text.replace(f"{name}: images/{name}\n", f"{name}: {name}.txt\n")
        )


@peculiarity(YOLO)
def lines_of_windows(root, generator):
    _each(root, "labels/**/*.txt", lambda text: b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())


@peculiarity(YOLO)
def blank_lines_and_spaces(root, generator):
    _each(root, "labels/**/*.txt", lambda text: "\n" + text.replace("\n", " \n\n").replace(" ", "  "))


@peculiarity(YOLO, VOC)
def capital_suffixes(root, generator):
    for path in sorted(root.rglob("*.jpg")):
        if not path.name.startswith("."):
            path.rename(path.with_suffix(".JPG"))


@peculiarity(YOLO, VOC)
def hidden_files(root, generator):
    for folder in [path for path in root.rglob("*") if path.is_dir()]:
        for name in ("._a.jpg", "._a.txt", "._a.xml", ".DS_Store", "Thumbs.db"):
            (folder / name).write_bytes(b"\0\5\x16\7")


@peculiarity(YOLO)
def labels_beside_the_pictures(root, generator):
    for path in sorted((root / "labels").rglob("*.txt")):
        if not path.name.startswith("."):
            path.rename(root / "images" / path.relative_to(root / "labels"))


@peculiarity(YOLO, VOC)
def pictures_that_are_not_read(root, generator):
    folder = next(path for path in sorted(root.rglob("*")) if path.is_dir() and list(path.glob("*.[jJ][pP][gG]")))
    (folder / "IMG_1.HEIC").write_bytes(b"ftypheic")


@peculiarity(VOC)
def declared_encoding(root, generator):
    _each(root, "*.xml", lambda text: f'<?xml version="1.0" encoding="gb18030"?>{text}'.encode("gb18030"))


@peculiarity(VOC)
def names_with_suffixes_in_lists(root, generator):
    _each(root, "ImageSets/Main/*.txt", lambda text: text.replace("\n", ".jpg\n"))


@peculiarity(VOC)
def fractions_of_pixels(root, generator):
    _each(root, "*.xml", lambda text: text if "encoding" in text else text.replace("</xmin>", ".0</xmin>"))


@peculiarity(VOC)
def pictures_deeper(root, generator):
    (root / "JPEGImages" / "part").mkdir()
    for path in sorted((root / "JPEGImages").glob("*.[jJ][pP][gG]")):
        if not path.name.startswith("."):
            path.rename(path.parent / "part" / path.name)


def spoil(root: Path, generator: random.Random) -> None:
    """Change a few bytes of one text file."""
    path = generator.choice(sorted(path for path in root.rglob("*") if path.suffix in (".txt", ".xml", ".yaml")))
    data = bytearray(path.read_bytes() or b"\0")
    for _ in range(generator.randrange(1, 4)):
        at = generator.randrange(len(data))
        data[at : at + generator.randrange(3)] = bytes(generator.randrange(256) for _ in range(generator.randrange(3)))
        data = data or bytearray(b"\0")
    path.write_bytes(bytes(data))
