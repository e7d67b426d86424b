"""What the data check can report: every code, its level and its remedy.

To add a kind of finding: one row of ``CODES``, the same row in ``docs/check.md`` (a test compares them), a check that
yields it (see ``checks/inspection.py``), and a defect in ``tests/support/defects.py``. If the row names a repair, also
one function in ``repair.REPAIRS``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

__all__ = [
    "CANVAS",
    "CODES",
    "FEW_BOXES",
    "IMBALANCE",
    "LEAST_SIDE",
    "LEVELS",
    "Code",
    "Finding",
    "Level",
    "by_kind",
    "some_pictures",
]

Level = Literal["error", "warning", "note"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note")
"""``error``: training would not start. ``warning``: a person should look at it. ``note``: good to know."""

FEW_BOXES = 10
"""A class with fewer training boxes is called rare."""

CANVAS = 640
"""Pixels of the canvas that ``boxes-small`` is about."""

LEAST_SIDE = 12
"""Pixels there, of the square root of a box's area, under which detectors find few."""

IMBALANCE = 100
"""More than this many times the boxes of the rarest class are called an imbalance."""

_MOST_NAMES = 3


@dataclass(frozen=True)
class Code:
    """One kind of finding.

    Attributes:
        level: see ``LEVELS``.
        meaning: what it says about the data.
        remedy: what to do about it.
        repair: what ``--fix`` does about it; empty if that would be a guess.
    """

    level: Level
    meaning: str
    remedy: str
    repair: str = ""


_REMOVED = "entry and annotations removed"
_EXPORT = "Export the file again."
_NOTHING = "Nothing to do."

CODES: dict[str, Code] = {
    # the folder
    "split-missing": Code(
        "error",
        "train or valid has no annotation file",
        "If a folder holds this split, give it this name; else make splits: boxwright convert DATA OUT.",
    ),
    "test-missing": Code(
        "warning", "there is a folder test without an annotation file", "Remove it, or export it again."
    ),
    "test-unannotated": Code(
        "warning", "test lists pictures but no annotations; it is left out", "Annotate it, or remove it."
    ),
    "stray-folder": Code(
        "warning", "a folder inside a split that no file_name points into", "Remove it.", "not copied"
    ),
    "picture-unlisted": Code(
        "warning", "a picture lies in the split, but its JSON does not list it", "List it, or remove it.", "not copied"
    ),
    "symbolic-link": Code(
        "warning",
        "a picture, its split or the annotation file is a symbolic link",
        "Put the file itself there.",
        "copied as a file",
    ),
    "picture-format": Code(
        "warning",
        "pictures in formats that are not read lie in the split",
        "Convert them to JPEG or PNG and list them.",
        "not copied",
    ),
    # the JSON
    "json-broken": Code(
        "error",
        "the annotation file is not valid JSON or cannot be read",
        "Repair it at that place, or export it again.",
    ),
    "json-incomplete": Code("error", "images, annotations or categories is missing or not a list of objects", _EXPORT),
    "split-empty": Code("error", "the split lists no pictures", "Put pictures into it."),
    "split-without-boxes": Code("error", "train or valid has no usable box", "Annotate its pictures."),
    "id-text": Code(
        "error",
        "ids are text, not whole numbers",
        "Have them numbered: boxwright convert DATA OUT --from coco.",
    ),
    # pictures
    "picture-key": Code("error", "a picture's id or file_name is missing or wrong", "Correct the key."),
    "picture-id-twice": Code("error", "two pictures have the same id", "Give each picture its own id."),
    "file-name-twice": Code(
        "error",
        "two entries list the same file, each with a part of its boxes",
        "Merge the entries.",
        "merged into the first",
    ),
    "file-name-guessed": Code(
        "note",
        "a file_name is not there as written; the one file that fits was read",
        "Make sure that it is the right one.",
        "the true name written",
    ),
    "file-name-unclear": Code(
        "error", "a file_name is not there, and several files fit", "Write the name of the right one."
    ),
    "path-traversal": Code("error", "a file_name leads outside its split", "Move the picture inside.", _REMOVED),
    "picture-missing": Code("error", "a listed picture does not exist", "Put it there, or remove its entry.", _REMOVED),
    "pictures-absent": Code(
        "error",
        "most of the listed pictures do not exist",
        "Put the pictures there, or give the folder that holds them.",
    ),
    "picture-unsupported": Code("error", "a file is not a JPEG, PNG, WebP or BMP", "Convert it.", _REMOVED),
    "picture-too-large": Code(
        "error",
        "a picture has more pixels than the setting max_pixels",
        "Make it smaller, or raise max_pixels.",
    ),
    "picture-broken": Code("error", "a picture is truncated or cannot be decoded", "Replace it.", _REMOVED),
    "picture-pointer": Code("error", "a file is a Git LFS pointer, not the picture", "Fetch it: git lfs pull."),
    "picture-end": Code("warning", "a JPEG lacks its end marker; all of its pixels are there", "Save it again."),
    "picture-unreadable": Code("error", "a picture's file cannot be read", "Make it readable."),
    "picture-size": Code(
        "error",
        "the JSON gives another size than the picture has",
        "Export both again.",
        "written, if every box fits the picture and some do not fit the JSON's size",
    ),
    "picture-rotated": Code(
        "error",
        "the boxes were drawn on the picture as stored, but its EXIF tag turns it on its side",
        "Export both again.",
        "boxes, polygons and size turned upright",
    ),
    "size-missing": Code("note", "the JSON gives no usable width or height", "Write them.", "filled in"),
    "exif-orientation": Code(
        "note",
        "an EXIF tag turns or mirrors the picture without changing its sides",
        "Make sure that the boxes were drawn on the picture as viewers show it.",
    ),
    "colour-mode": Code("note", "a picture is not 8-bit RGB; it is converted when it is read", _NOTHING),
    "animated": Code(
        "note",
        "a picture is animated; its first frame is taken, the others are left out",
        "If they matter, save each frame as a picture of its own.",
    ),
    "no-objects": Code("note", "pictures without objects; they are kept", "Nothing to do if this is correct."),
    "same-picture": Code("warning", "one split has the same file several times", "Keep one."),
    "same-picture-boxes": Code(
        "warning", "the same file is listed with different boxes", "Keep the right ones, under one name."
    ),
    "copies": Code("note", "pictures of one split are copies of fewer originals", _NOTHING),
    "similar-pictures": Code("note", "pictures of one split look alike", "Nothing to do; they add little."),
    "leak": Code(
        "warning",
        "several splits have the same file: figures measured on it are too good",
        "Keep it in one of them.",
    ),
    "leak-similar": Code(
        "warning",
        "pictures of several splits look alike: figures will be too good",
        "Keep pictures that were taken together in one split.",
    ),
    "leak-source": Code(
        "warning",
        "copies that Roboflow made of one picture are in several splits: figures will be too good",
        "Keep all copies in one split.",
    ),
    # annotations
    "annotation-key": Code("error", "image_id, category_id or iscrowd is missing or wrong", "Correct the key."),
    "annotation-id-missing": Code("warning", "an annotation has no id", "Give it an id.", "numbered"),
    "annotation-id-twice": Code(
        "warning", "two annotations have the same id; COCO's tools keep one of them", "Number them anew.", "renumbered"
    ),
    "annotation-id-zero": Code(
        "note", "an annotation has the id 0, which pycocotools reads as no match", "Number from 1.", "renumbered"
    ),
    "unknown-picture": Code(
        "error", "an annotation belongs to no listed picture", "Remove it, or list the picture.", "removed"
    ),
    "unknown-category": Code("error", "an annotation's category is not listed", "List the category, or correct it."),
    "box-invalid": Code("error", "a box is not four finite numbers", "Write [x, y, width, height]."),
    "boxes-reading": Code(
        "error",
        "the boxes are not x, y, width, height in pixels",
        "Convert them: boxwright convert DATA OUT --from coco --boxes …, as the finding says.",
    ),
    "boxes-turned": Code(
        "error",
        "boxes are turned by an angle beside them (CVAT's attributes.rotation)",
        "Convert them: boxwright convert DATA OUT --from coco writes the boxes around them.",
    ),
    "boxes-disagree": Code(
        "error",
        "boxes disagree with the outlines, areas or pictures of their own objects",
        "Find out what they mean, or export the file again.",
    ),
    "boxes-missing": Code(
        "error",
        "annotations have an outline but no box",
        "Have it drawn: boxwright convert DATA OUT --from coco writes the box around each outline.",
    ),
    "area-wrong": Code(
        "warning",
        "an area is not a positive number, or larger than its box; it says which figures the box counts for, by size",
        "Remove the area; then the box's own is taken.",
        "the box's written",
    ),
    "box-empty": Code("warning", "a box has no area; it is left out", "Draw it again, or remove it.", "removed"),
    "box-tiny": Code("warning", "a box has a side under 2 pixels", "Remove it if it was drawn by mistake."),
    "boxes-small": Code(
        "note",
        f"the pictures are large, and a fifth of the boxes are under {LEAST_SIDE} pixels on a canvas of {CANVAS}",
        f"See them in windows: boxwright train --tile {CANVAS}.",
    ),
    "box-off-picture": Code(
        "warning", "a box lies wholly outside its picture; it is left out", "Draw it again, or remove it.", "removed"
    ),
    "box-larger": Code(
        "warning",
        "a box is larger than its picture",
        "Check whether the picture was resized after it was annotated.",
    ),
    "box-outside": Code("warning", "a box reaches over the edge; it is clipped", "Clip it.", "clipped"),
    "annotation-twice": Code(
        "warning", "the same box with the same class is listed twice", "Remove one.", "the copy removed"
    ),
    "annotation-contradiction": Code("warning", "the same box has two classes", "Keep one."),
    "crowd": Code("note", "crowd annotations are ignored in measuring and not trained on", _NOTHING),
    "mask-rle": Code("note", "run-length masks are not used; the boxes are", _NOTHING),
    # categories
    "category-key": Code(
        "error", "a category's id or name is missing, holds control characters, or is 'score'", "Correct or rename it."
    ),
    "category-id-twice": Code("error", "two categories have the same id", "Keep one."),
    "category-name-twice": Code("error", "two categories have the same name", "Merge them."),
    "category-name-similar": Code(
        "warning",
        "two category names differ in case or spaces only",
        "Merge them, or give them names that differ clearly.",
    ),
    "categories-differ": Code(
        "error",
        "a split's categories are not those of train",
        "Join them by name: boxwright convert DATA OUT --from coco.",
    ),
    "category-unlisted": Code(
        "warning", "a class of train is not listed in another split", "Export all splits together."
    ),
    "category-parent": Code("note", "a super-category without annotations is not a class", _NOTHING),
    "class-unused": Code("warning", "a class has no annotation in any split", "Remove the category, or annotate some."),
    "class-absent": Code(
        "warning", "a class that other splits have is absent from one", "Move pictures between the splits."
    ),
    "class-rare": Code("warning", f"a class has fewer than {FEW_BOXES} boxes to learn from", "Annotate more of it."),
    "class-imbalance": Code(
        "warning",
        f"the most frequent class has over {IMBALANCE} times the boxes of the rarest",
        "Annotate more of the rare one.",
    ),
}
"""Every code ``boxwright check`` can report."""


@dataclass(frozen=True)
class Finding:
    """One problem or note about the data.

    Attributes:
        code: key of ``CODES``.
        message: what is wrong, in one sentence.
        split: where, if it is in one split.
        file: picture, as ``file_name`` gives it, or the file or folder in question.
        image_id: picture id in the JSON.
        annotation_id: annotation id in the JSON, of the type it has there.
        position: of the entry in its list of the JSON; for the repair.
    """

    code: str
    message: str
    split: str | None = None
    file: str | None = None
    image_id: int | None = None
    annotation_id: Any = None
    position: int | None = None

    def __post_init__(self) -> None:
        assert self.code in CODES, self.code

    @property
    def level(self) -> Level:
        """Of its code."""
        return CODES[self.code].level

    @property
    def remedy(self) -> str:
        """Of its code."""
        return CODES[self.code].remedy

    @property
    def where(self) -> str:
        """Split, file, picture and annotation, as far as they apply, as text."""
        parts = [self.split, repr(self.file) if self.file is not None else None]
        parts += [f"picture id {self.image_id}"] if self.image_id is not None else []
        parts += [f"annotation id {self.annotation_id!r}"] if self.annotation_id is not None else []
        return ", ".join(part for part in parts if part)

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message

    def to_json(self) -> dict[str, Any]:
        """As ``boxwright check --json`` writes it."""
        keys = ("code", "level", "split", "file", "image_id", "annotation_id", "message", "remedy")
        return {key: getattr(self, key) for key in keys}


def by_kind(findings: Sequence[Finding]) -> list[str]:
    """One sentence per code: its first finding, and how many more there are."""
    counts = Counter(finding.code for finding in findings)
    first = {finding.code: finding for finding in reversed(findings)}
    more = {code: f" (and {count - 1} more like it)" if count > 1 else "" for code, count in counts.items()}
    return [f"{first[code]}{more[code]}" for code in counts]


def some_pictures(names: Sequence[str]) -> str:
    """How many pictures, and the names of the first few, for a sentence."""
    count = "1 picture" if len(names) == 1 else f"{len(names)} pictures"
    rest = ", …" if len(names) > _MOST_NAMES else ""
    return f"{count} ({', '.join(repr(name) for name in names[:_MOST_NAMES])}{rest})"
