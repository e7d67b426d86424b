"""Draws a small COCO data set: shapes on textured backgrounds, three splits, seeded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from .documents import ANNOTATIONS

__all__ = ["DEMO_CLASSES", "DEMO_SIZES", "draw_demo_data"]

DEMO_CLASSES = ("circle", "square", "triangle")
DEMO_SIZES = {"train": 400, "valid": 80, "test": 100}

_PARENT = {"id": 0, "name": "shapes", "supercategory": "none"}  # as Roboflow writes it
_MOST_SHAPES = 5
_LEAST_CONTRAST = 90.0  # Euclidean distance in RGB between a shape and its background

Box = tuple[int, int, int, int]


def draw_demo_data(root: str | Path, seed: int = 0, sizes: dict[str, int] | None = None) -> Path:
    """Draw the data set into ``root`` in the Roboflow layout.

    About one picture in twenty has no objects. The same seed gives the same files.

    Args:
        root: made if missing; files of the same names are overwritten.
        seed: decides everything random.
        sizes: pictures per split; ``DEMO_SIZES`` by default.

    Returns:
        ``root``.
    """
    root = Path(root)
    for number, (split, count) in enumerate((sizes or DEMO_SIZES).items()):
        generator = np.random.default_rng((seed, number))
        _draw_split(root / split, count, generator)
    return root


def _draw_split(folder: Path, count: int, generator: np.random.Generator) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    document: dict[str, Any] = {"images": [], "annotations": [], "categories": _categories()}
    for number in range(count):
        image, shapes = _draw_picture(generator)
        name = f"shapes_{number:04d}.jpg"
        image.save(folder / name, quality=90)
        entry = {"id": number, "file_name": name, "width": image.width, "height": image.height}
        document["images"].append(entry)
        for label, box in shapes:
            document["annotations"].append(_annotation(len(document["annotations"]) + 1, number, label, box))
    (folder / ANNOTATIONS).write_text(json.dumps(document, indent=1), encoding="utf-8")


def _categories() -> list[dict[str, Any]]:
    named = enumerate(DEMO_CLASSES, start=1)
    return [_PARENT, *({"id": key, "name": name, "supercategory": "shapes"} for key, name in named)]


def _annotation(number: int, picture: int, label: int, box: Box) -> dict[str, Any]:
    left, top, right, bottom = box
    sides = [right - left, bottom - top]
    return {
        "id": number,
        "image_id": picture,
        "category_id": label + 1,
        "bbox": [left, top, *sides],
        "area": sides[0] * sides[1],
        "segmentation": [],
        "iscrowd": 0,
    }


def _draw_picture(generator: np.random.Generator) -> tuple[Image.Image, list[tuple[int, Box]]]:
    width, height = (int(side) for side in generator.integers(176, 257, size=2))
    background = _texture(width, height, generator)
    image = Image.fromarray(background)
    shapes: list[tuple[int, Box]] = []
    wanted = 0 if generator.random() < 0.05 else int(generator.integers(1, _MOST_SHAPES + 1))
    for _ in range(wanted):
        box = _free_box(width, height, [other for _, other in shapes], generator)
        if box is not None:
            label = int(generator.integers(len(DEMO_CLASSES)))
            _draw_shape(image, label, box, _colour(background, box, generator))
            shapes.append((label, box))
    return image, shapes


def _texture(width: int, height: int, generator: np.random.Generator) -> NDArray[np.uint8]:
    """Blurred colour noise under fine grain: uint8 [height, width, 3]."""
    coarse = generator.integers(40, 216, size=(6, 6, 3)).astype(np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), dtype=np.float64)
    grain = generator.normal(0.0, 9.0, size=(height, width, 1))
    return np.clip(smooth + grain, 0, 255).astype(np.uint8)


def _free_box(width: int, height: int, taken: list[Box], generator: np.random.Generator) -> Box | None:
    for _ in range(20):
        w = int(generator.integers(22, 81))
        h = int(np.clip(w * generator.uniform(0.8, 1.25), 20, 90))
        left, top = int(generator.integers(0, width - w)), int(generator.integers(0, height - h))
        box = (left, top, left + w, top + h)
        if not any(_touch(box, other) for other in taken):
            return box
    return None


def _touch(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _colour(background: NDArray[np.uint8], box: Box, generator: np.random.Generator) -> tuple[int, int, int]:
    under = background[box[1] : box[3], box[0] : box[2]].reshape(-1, 3).mean(axis=0)
    while True:
        colour = generator.integers(0, 256, size=3)
        if float(np.linalg.norm(colour - under)) > _LEAST_CONTRAST:
            return int(colour[0]), int(colour[1]), int(colour[2])


def _draw_shape(image: Image.Image, label: int, box: Box, colour: tuple[int, int, int]) -> None:
    pen = ImageDraw.Draw(image)
    left, top, right, bottom = box[0], box[1], box[2] - 1, box[3] - 1  # Pillow includes the last pixel
    if DEMO_CLASSES[label] == "circle":
        pen.ellipse((left, top, right, bottom), fill=colour)
    elif DEMO_CLASSES[label] == "square":
        pen.rectangle((left, top, right, bottom), fill=colour)
    else:
        pen.polygon([((left + right) / 2, top), (right, bottom), (left, bottom)], fill=colour)
