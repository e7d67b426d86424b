"""Small objects in large pictures, with windows and without: the same network, as many canvases to learn from.

    python benchmarks/tiling.py --out FOLDER [--seeds 2] [--canvases 1600]

Draws pictures of 2000 x 2000 pixels with discs and squares of 10 pixels, trains on them with ``--tile 640`` and
without, both on canvases of 640 x 640, and measures the archive of the first tiled run through its endpoint. What is
in FOLDER already is not trained again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SIDE, OBJECT, OBJECTS, CANVAS = 2000, 10, 40, 640
PICTURES = {"train": 24, "valid": 8}
CLASSES = ("disc", "square")
EPOCHS = 8
SETTINGS = {"model": "fasterrcnn_tiny_fpn", "image_size": CANVAS, "batch_size": 4, "wandb": "off"}


def main() -> None:
    """Train what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--canvases", type=int, default=1600, help="that each training sees")
    options = parser.parse_args()
    data = options.out / "data"
    if not data.is_dir():
        draw(data)
    print("| | mAP, by seed | mAP50 | F2 |\n| --- | --- | --- | --- |")
    for name, tile in (("without windows", None), ("with windows", CANVAS)):
        found = [_train(options.out, data, seed, tile, options.canvases) for seed in range(options.seeds)]
        cells = [", ".join(f"{figures[key]:.4f}" for figures in found) for key in ("map", "map_50", "f2")]
        print(f"| {name} | {' | '.join(cells)} |")
    _boxwright("archive", options.out / "tiled-0", "--store", options.out / "store", "--gate", "--data", data)


def draw(root: Path) -> None:
    """A folder of COCO annotations: grey noise, coloured shapes that do not touch."""
    generator = np.random.default_rng(0)
    for split, count in PICTURES.items():
        folder = root / split
        folder.mkdir(parents=True)
        images, annotations = [], []
        for number in range(count):
            noise = generator.normal(110, 12, (SIDE, SIDE, 1)).clip(0, 255).astype(np.uint8)
            picture = Image.fromarray(noise.repeat(3, axis=2))
            pen = ImageDraw.Draw(picture)
            places = generator.choice((SIDE // (2 * OBJECT)) ** 2, OBJECTS, replace=False)
            for place in places:
                row, column = divmod(int(place), SIDE // (2 * OBJECT))
                left, top = (2 * OBJECT * one + int(generator.integers(OBJECT)) for one in (column, row))
                label = int(generator.integers(len(CLASSES)))
                shape = (pen.ellipse, pen.rectangle)[label]
                colour = tuple(int(one) for one in generator.integers(0, 256, 3))
                shape((left, top, left + OBJECT - 1, top + OBJECT - 1), fill=(255, *colour[1:]))
                annotations.append(
                    {"id": len(annotations) + 1, "image_id": number, "category_id": label + 1, "iscrowd": 0,
                     "bbox": [left, top, OBJECT, OBJECT], "area": OBJECT**2, "segmentation": []}
                )  # fmt: skip
            name = f"{number}.jpg"
            picture.save(folder / name, quality=92)
            images.append({"id": number, "file_name": name, "width": SIDE, "height": SIDE})
        categories = [{"id": key, "name": name, "supercategory": "shapes"} for key, name in enumerate(CLASSES, 1)]
        document = {"images": images, "annotations": annotations, "categories": categories}
        (folder / "_annotations.coco.json").write_text(json.dumps(document))


def _train(out: Path, data: Path, seed: int, tile: int | None, canvases: int) -> dict[str, float]:
    name = f"{'whole' if tile is None else 'tiled'}-{seed}"
    if not (out / name / "spec.json").is_file():
        settings = {**SETTINGS, "epochs": EPOCHS, "epoch_pictures": canvases // EPOCHS, "seed": seed}
        assignments = [part for key, value in settings.items() for part in ("--set", f"{key}={json.dumps(value)}")]
        windows = () if tile is None else ("--tile", tile, "--overlap", 0.2)
        _boxwright("train", "--data", data, "--name", name, "--out", out, *windows, *assignments)
    figures: dict[str, float] = json.loads((out / name / "spec.json").read_text())["measured"]["valid"]
    return figures


def _boxwright(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "boxwright", *map(str, words)], check=True)


if __name__ == "__main__":
    main()
