"""Detections drawn onto their picture; labels stay inside it and keep clear of one another."""

from __future__ import annotations

import base64
import io
from html import escape
from typing import TYPE_CHECKING, List, Optional, Sequence, Tuple, Union

import numpy as np
from PIL import Image, ImageDraw

from .errors import PictureError
from .lettering import Font, lettering

if TYPE_CHECKING:
    from .detections import Detections

__all__ = ["PALETTE", "crops", "draw_detections", "html_of", "label_places", "write_labels"]

# Okabe and Ito's palette (2008), distinct for any colour vision.
PALETTE = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#FFFFFF")
"""Colours of the classes, by index, over and over."""

_EDGE = 2  # pixels of ground around the text of a label
_MOST_TEXT = 200  # characters of a name that are looked at
_HTML_SIDE = 800  # pixels: the longer side of a picture in a notebook
_HTML_ROWS = 50


def draw_detections(image: Image.Image, detections: Detections, names: Sequence[str]) -> Image.Image:
    """A copy of a picture with boxes, class names and scores.

    Args:
        image: the upright picture, as ``decode`` gives it.
        detections: boxes in its pixels.
        names: class names by index.
    """
    drawn = image.copy()
    pen = ImageDraw.Draw(drawn)
    side = min(min(drawn.size), max(drawn.size) / 2)  # of a long and narrow picture the longer one says nothing
    line = max(2, round(side / 150))
    fonts, written = lettering(names, max(12, round(side / 25)))
    order = np.argsort(-detections.scores, kind="stable")
    labels = detections.labels[order].tolist()
    colours = [PALETTE[label % len(PALETTE)] for label in labels]
    for (left, top, right, bottom), colour in zip(detections.boxes[order][::-1].tolist(), colours[::-1]):
        _outline(pen, (left, top, max(left, right), max(top, bottom)), colour, line)
    texts = [f"{written[label]} {score:.2f}" for label, score in zip(labels, detections.scores[order].tolist())]
    write_labels(pen, detections.boxes[order], texts, colours, [fonts[label] for label in labels])
    return drawn


def _outline(pen: ImageDraw.ImageDraw, box: Tuple[float, float, float, float], colour: str, line: int) -> None:
    """Edges inside a box, which leave most of a small object to be seen, with a dark line inside of them."""
    left, top, right, bottom = box
    line = max(1, min(line, int(min(right - left, bottom - top) // 8)))
    pen.rectangle(box, outline=colour, width=line)
    if right - left > 4 * line and bottom - top > 4 * line:  # white edges would not be seen on white
        pen.rectangle((left + line, top + line, right - line, bottom - line), outline="black", width=1)


def write_labels(
    pen: ImageDraw.ImageDraw, boxes: np.ndarray, texts: Sequence[str], colours: Sequence[str], fonts: Sequence[Font]
) -> None:
    """Black texts on grounds of a colour, one at each box; see ``label_places``.

    A text that is wider than the picture is cut short; there is none where the picture is too low for a line.

    Args:
        pen: of the picture.
        boxes: float [n, 4] xyxy, in its pixels; the first ones get the best places.
        texts: n.
        colours: n.
        fonts: n.
    """
    room = (int(pen.im.size[0]), int(pen.im.size[1]))
    shown = [_fitting(pen, text, font, room[0] - 2 * _EDGE) for text, font in zip(texts, fonts)]
    around = [pen.textbbox((0, 0), text, font=font) for text, font in zip(shown, fonts)]
    sizes = [
        (int(np.ceil(right - left)) + 2 * _EDGE, int(np.ceil(bottom - top)) + 2 * _EDGE)
        for left, top, right, bottom in around
    ]
    places = label_places(boxes, sizes, room)
    for at in reversed(range(len(shown))):  # the first ones on top
        place, (width, height) = places[at], sizes[at]
        if place is not None and shown[at]:
            x, y = place
            pen.rectangle((x, y, x + width - 1, y + height - 1), fill=colours[at])
            pen.text((x + _EDGE - around[at][0], y + _EDGE - around[at][1]), shown[at], fill="black", font=fonts[at])


def _fitting(pen: ImageDraw.ImageDraw, text: str, font: Font, most: int) -> str:
    """The text, or so much of its beginning as fits into a width; empty if not even that of one character does."""

    def fits(part: str) -> bool:
        left, _, right, _ = pen.textbbox((0, 0), part, font=font)
        return right - left <= most

    text = text if len(text) <= _MOST_TEXT else f"{text[:_MOST_TEXT]}..."  # Pillow's own font has no "…"
    if fits(text):
        return text
    low, high = 0, len(text) - 1
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(f"{text[:middle]}...") else (low, middle - 1)
    return f"{text[:low]}..." if low else ""


def label_places(
    boxes: np.ndarray, sizes: Sequence[Tuple[int, int]], room: Tuple[int, int]
) -> List[Optional[Tuple[int, int]]]:
    """Where the labels of boxes go: inside the picture, at their boxes, and not over an earlier one if it can be.

    A label is tried above its box, then at the top inside of it, below it, and at the bottom inside of it; in each
    of these rows as far left as there is room between the box's edges. Where no row has room, it goes where it covers
    least of the others.

    Args:
        boxes: float [n, 4] xyxy, pixels.
        sizes: (width, height) of each label, pixels.
        room: (width, height) of the picture, pixels.

    Returns:
        The left upper corner of each label; None where a label is larger than the picture.
    """
    taken = np.empty((len(sizes), 4), dtype=np.int64)
    count = 0
    places: List[Optional[Tuple[int, int]]] = []
    for box, (width, height) in zip(np.asarray(boxes, dtype=np.float64), sizes):
        if width > room[0] or height > room[1]:
            places.append(None)
            continue
        x, y = _place(np.clip(box, -1e6, 1e6), (width, height), room, taken[:count])
        taken[count] = (x, y, x + width, y + height)
        count += 1
        places.append((x, y))
    return places


def _place(box: np.ndarray, size: Tuple[int, int], room: Tuple[int, int], taken: np.ndarray) -> Tuple[int, int]:
    """Of one label; ``taken`` is int64 [m, 4] xyxy."""
    left, top, right, bottom = (round(edge) for edge in box.tolist())
    width, height = size
    first = min(max(left, 0), room[0] - width)
    last = min(max(right - width, 0), room[0] - width)
    rows = [min(max(y, 0), room[1] - height) for y in (top - height, top, bottom, bottom - height)]
    for y in dict.fromkeys(rows):
        beside = taken[(taken[:, 1] < y + height) & (taken[:, 3] > y)]
        tried = np.concatenate([[first, last], beside[:, 2], beside[:, 0] - width])
        tried = tried[(tried >= min(first, last)) & (tried <= max(first, last))]
        covers = (tried[:, None] < beside[:, 2]) & (tried[:, None] + width > beside[:, 0])
        free = tried[~covers.any(axis=1)]
        if len(free):
            return int(free[np.argmin(np.abs(free - first))]), y
    return min(((first, y) for y in rows), key=lambda place: _covered(place, size, taken))


def _covered(place: Tuple[int, int], size: Tuple[int, int], taken: np.ndarray) -> int:
    """Pixels of other labels under one."""
    low = np.maximum(taken[:, :2], place)
    high = np.minimum(taken[:, 2:], np.add(place, size))
    return int(np.prod(np.maximum(high - low, 0), axis=1).sum())


def crops(image: Image.Image, boxes: np.ndarray) -> List[Image.Image]:
    """The parts of a picture inside boxes, with every pixel that a box touches.

    Args:
        image: the picture.
        boxes: float [n, 4] xyxy, in its pixels.

    Raises:
        PictureError: a box lies outside, so these are the boxes of another picture.
    """
    parts = []
    for box in boxes.astype(np.float64):
        left, top = (max(int(np.floor(edge)), 0) for edge in box[:2])
        right, bottom = (min(int(np.ceil(edge)), side) for edge, side in zip(box[2:], image.size))
        if right <= left or bottom <= top:
            raise PictureError(
                f"The box {box.round(1).tolist()} has no pixel of a picture of {image.width} x {image.height}.",
                "Give the picture in which it was found.",
            )
        parts.append(image.crop((left, top, right, bottom)))
    return parts


def html_of(detections: Detections, names: Sequence[str], image: Union[Image.Image, str, None]) -> str:
    """Self-contained HTML: the drawn picture, at most 800 pixels wide or high, and a table of the 50 best boxes.

    Args:
        detections: boxes in the picture's pixels.
        names: class names by index.
        image: the picture, or a sentence on why there is none.
    """
    parts = []
    if isinstance(image, Image.Image):
        drawn = draw_detections(image, detections, names)
        drawn.thumbnail((_HTML_SIDE, _HTML_SIDE))
        buffer = io.BytesIO()
        drawn.save(buffer, format="JPEG", quality=80)
        uri = base64.b64encode(buffer.getvalue()).decode()
        parts.append(f'<img src="data:image/jpeg;base64,{uri}" alt="the picture with its detections">')
    elif image:
        parts.append(f"<p>{escape(image)}</p>")
    order = np.argsort(-detections.scores, kind="stable")
    rows = [
        f"<tr><td>{escape(names[int(detections.labels[at])][:_MOST_TEXT])}</td><td>{detections.scores[at]:.3f}</td>"
        f"<td>{', '.join(f'{edge:.1f}' for edge in detections.boxes[at].tolist())}</td></tr>"
        for at in order[:_HTML_ROWS]
    ]
    more = f"<p>… and {len(order) - _HTML_ROWS} more</p>" if len(order) > _HTML_ROWS else ""
    head = "<tr><th>class</th><th>score</th><th>left, top, right, bottom (pixels)</th></tr>"
    count = f"{len(order)} detection{'' if len(order) == 1 else 's'}"
    return f"<div>{''.join(parts)}<p>{count}</p><table>{head}{''.join(rows)}</table>{more}</div>"
