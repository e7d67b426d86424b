"""Makes small data sets in other layouts, by writers that share nothing with the readers under test."""

import json
import os
from pathlib import Path

import pytest
from PIL import Image

REPOSITORY = Path(__file__).parents[3]
SIDEWAYS = Image.Exif()
SIDEWAYS[0x0112] = 6


@pytest.fixture(scope="session")
def picture():
    """Writes a picture of its own content; width and height are those it is stored with."""

    def write(path: Path, width: int = 64, height: int = 48, sideways: bool = False) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.frombytes("RGB", (4, 4), os.urandom(48)).resize((width, height), 0)
        image.save(path, **({"exif": SIDEWAYS} if sideways else {}))
        return path

    return write


@pytest.fixture(scope="session")
def text():
    def write(path: Path, *lines: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines), encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def written():
    """What lies in a converted folder: by split, by file name, the image entry and its annotations."""

    def read(out: Path) -> dict:
        splits = {}
        for folder in sorted(out.iterdir()):
            document = json.loads((folder / "_annotations.coco.json").read_text())
            assert [one["id"] for one in document["annotations"]] == list(range(1, len(document["annotations"]) + 1))
            assert {path.name for path in folder.iterdir()} == {
                "_annotations.coco.json",
                *(image["file_name"] for image in document["images"]),
            }
            splits[folder.name] = {
                image["file_name"]: (image, [one for one in document["annotations"] if one["image_id"] == image["id"]])
                for image in document["images"]
            }
            assert len(splits[folder.name]) == len(document["images"])
        return splits

    return read


@pytest.fixture(scope="session")
def categories():
    def read(out: Path, split: str = "train") -> dict[int, str]:
        document = json.loads((out / split / "_annotations.coco.json").read_text())
        return {one["id"]: one["name"] for one in document["categories"]}

    return read
