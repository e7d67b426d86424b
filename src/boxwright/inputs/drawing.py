"""Detections drawn onto their picture."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from boxwright.runtime.detections import Detections

__all__ = ["PALETTE", "draw_detections", "write_label"]

# Okabe and Ito's palette (2008), distinct for any colour vision.
PALETTE = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#FFFFFF")
"""Colours of the classes, by index, over and over."""


def draw_detections(image: Image.Image, detections: Detections, names: Sequence[str]) -> Image.Image:
    """A copy of a picture with boxes, class names and scores.

    Args:
        image: the upright picture, as ``decode`` gives it.
        detections: boxes in its pixels.
        names: class names by index.
    """
    drawn = image.copy()
    pen = ImageDraw.Draw(drawn)
    line = max(2, round(max(drawn.size) / 300))
    font = ImageFont.load_default(size=max(12, round(max(drawn.size) / 50)))
    for box, score, label in zip(detections.boxes, detections.scores, detections.labels, strict=True):
        colour = PALETTE[int(label) % len(PALETTE)]
        left, top, right, bottom = (float(edge) for edge in box)
        pen.rectangle((left, top, right, bottom), outline=colour, width=line)
        write_label(pen, (left, top), f"{names[int(label)]} {score:.2f}", colour, font)
    return drawn


def write_label(
    pen: ImageDraw.ImageDraw,
    corner: tuple[float, float],
    text: str,
    colour: str,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    """Black text on a ground of the colour, above the corner (x, y) and inside the picture."""
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    height = bottom - top + 4
    width = right - left + 4
    x, y = max(min(corner[0], pen.im.size[0] - width), 0), max(corner[1] - height, 0)
    pen.rectangle((x, y, x + width, y + height), fill=colour)
    pen.text((x + 2, y + 2 - top), text, fill="black", font=font)
