"""A sheet of augmented pictures, to see what a recipe does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from boxwright.runtime import ConfigError, InputSpec
from boxwright.runtime.drawing import PALETTE, write_labels
from boxwright.runtime.lettering import lettering

from .augment import Augmentation
from .dataset import PictureDataset, Sample
from .records import Split

__all__ = ["CAPTION", "EPOCHS", "GAP", "augmented_sheet"]

EPOCHS = 4
"""Augmented versions of each picture: those of the first epochs of a training."""

GAP = 6
"""Pixels around every cell."""

CAPTION = 20
"""Height in pixels of the line of text above every picture."""

_WIDEST_CELL = 470  # pixels; five of them and their gaps make less than 2400


def augmented_sheet(
    split: Split, names: Sequence[str], spec: InputSpec, recipe: str, count: int, seed: int = 0
) -> Image.Image:
    """Pictures as a training with this seed sees them: one row per picture, unchanged, then in epochs 1 to 4.

    Args:
        split: the training split; the pictures are spread evenly over it, and at least one has objects.
        names: class names by index.
        spec: the canvas.
        recipe: key of ``RECIPES``.
        count: rows, at least 1; fewer if the split has fewer pictures.
        seed: of the training, not negative; also decides which pictures are shown.

    Returns:
        RGB, at most 2400 pixels wide; large canvases are made smaller, small ones stay.

    Raises:
        ConfigError: an unknown recipe, or a count below 1.
        PictureError: a picture cannot be decoded.
    """
    if count < 1:
        raise ConfigError(f"A sheet of {count} pictures shows nothing.", "Ask for at least one.")
    plain = PictureDataset(split, spec)
    augmented = PictureDataset(split, spec, Augmentation(recipe, spec), seed)
    rows = [_row(plain, augmented, split, names, index) for index in _chosen(split, count, seed)]
    return _grid(rows)


def _chosen(split: Split, count: int, seed: int) -> list[int]:
    total = len(split.pictures)
    count = min(count, total)
    generator = np.random.default_rng(seed)
    chosen = ((generator.random() + np.arange(count)) * total / count).astype(int).tolist()
    with_objects = [index for index, picture in enumerate(split.pictures) if not picture.crowd.all()]
    if with_objects and not set(chosen) & set(with_objects):
        chosen[0] = int(generator.choice(with_objects))
    return sorted(chosen)


def _row(
    plain: PictureDataset, augmented: PictureDataset, split: Split, names: Sequence[str], index: int
) -> list[Image.Image]:
    cells = [_cell(plain[index], names, split.pictures[index].path.name)]
    for epoch in range(EPOCHS):
        augmented.set_epoch(epoch)
        cells.append(_cell(augmented[index], names, f"epoch {epoch + 1}"))
    return cells


def _cell(sample: Sample, names: Sequence[str], caption: str) -> Image.Image:
    picture = Image.fromarray(np.ascontiguousarray(sample.canvas.permute(1, 2, 0).numpy()))
    scale = min(1.0, _WIDEST_CELL / picture.width)
    size = (round(picture.width * scale), round(picture.height * scale))
    picture = picture.resize(size, Image.Resampling.BILINEAR)
    _draw_boxes(picture, sample.boxes.numpy() * scale, sample.labels.tolist(), names)
    cell = Image.new("RGB", (size[0], size[1] + CAPTION), "white")
    cell.paste(picture, (0, CAPTION))
    ImageDraw.Draw(cell).text((0, 2), caption, fill="black", font=ImageFont.load_default(size=13))
    return cell


def _draw_boxes(picture: Image.Image, boxes: np.ndarray, labels: Sequence[int], names: Sequence[str]) -> None:
    """Draw boxes, xyxy in pixels of the picture; the right and lower edges are drawn on the last pixels inside."""
    pen = ImageDraw.Draw(picture)
    fonts, written = lettering(names, 12)
    colours = [PALETTE[label % len(PALETTE)] for label in labels]
    for (left, top, right, bottom), colour in zip(boxes.tolist(), colours, strict=True):
        pen.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=colour, width=2)
    write_labels(pen, boxes, [written[label] for label in labels], colours, [fonts[label] for label in labels])


def _grid(rows: list[list[Image.Image]]) -> Image.Image:
    width, height = rows[0][0].size
    size = (GAP + len(rows[0]) * (width + GAP), GAP + len(rows) * (height + GAP))
    sheet = Image.new("RGB", size, "white")
    for row, cells in enumerate(rows):
        for column, cell in enumerate(cells):
            sheet.paste(cell, (GAP + column * (width + GAP), GAP + row * (height + GAP)))
    return sheet
