"""Small data sets to break."""

import copy
import json
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

CATEGORIES = [
    {"id": 0, "name": "animals", "supercategory": "none"},
    {"id": 1, "name": "fish", "supercategory": "animals"},
    {"id": 2, "name": "ray", "supercategory": "animals"},
]


def document(pictures: int = 2) -> dict:
    """A COCO document: one box a picture, ids from 0, the last picture without objects."""
    return {
        "images": [
            {"id": number, "file_name": f"{number}.jpg", "width": 64, "height": 48} for number in range(pictures + 1)
        ],
        "annotations": [
            {"id": number, "image_id": number, "category_id": 1 + number % 2, "bbox": [4, 4, 20, 20], "iscrowd": 0}
            for number in range(pictures)
        ],
        "categories": copy.deepcopy(CATEGORIES),
    }


def clean_document() -> dict:
    """One in which the data check finds neither an error nor a warning."""
    content = document(30)
    for annotation in content["annotations"]:
        annotation["id"] += 1
    return content


def draw(name: str, size: tuple[int, int] = (64, 48)) -> Image.Image:
    """A picture that its name decides and that looks like no other."""
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    coarse = generator.integers(0, 256, size=(6, 6, 3)).astype(np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def write_data(root: Path, **documents: dict) -> Path:
    """Write splits; pictures that a document lists are made."""
    for split, content in documents.items():
        (root / split).mkdir(parents=True, exist_ok=True)
        (root / split / "_annotations.coco.json").write_text(json.dumps(content))
        for image in content["images"]:
            draw(f"{split}/{image['file_name']}").save(root / split / image["file_name"])
    return root
