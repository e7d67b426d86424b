"""What the data check can say: every code, its level and its remedy, in one place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["CODES", "FEW_BOXES", "IMBALANCE", "LEVELS", "Code", "Finding", "Level"]

Level = Literal["error", "warning", "note"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note")
"""``error``: cannot be trained on. ``warning``: can be, but a person should look. ``note``: good to know."""


FEW_BOXES = 10
"""Training boxes below which a class is called rare."""

IMBALANCE = 100
"""Times the boxes of the rarest class from which on the most frequent one is called too frequent."""


@dataclass(frozen=True)
class Code:
    """One kind of finding.

    Attributes:
        level: see ``LEVELS``.
        meaning: what it says about the data.
        remedy: what to do about it.
        repair: what ``--fix`` does about it; empty where that would be a guess.
    """

    level: Level
    meaning: str
    remedy: str
    repair: str = ""


CODES: dict[str, Code] = {
    # the folder
    "split-missing": Code(
        "error", "train or valid has no annotation file", "Rename the folder that is it, or split: boxwright convert."
    ),
    "test-missing": Code(
        "warning", "there is a folder test without an annotation file", "Remove it, or export it again."
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
    # the JSON
    "json-broken": Code("error", "the annotation file is no JSON or cannot be read", "Export the file again."),
    "json-incomplete": Code(
        "error", "images, annotations or categories is missing or no list of objects", "Export the file again."
    ),
    "split-empty": Code("error", "the split lists no pictures", "Put pictures into it."),
    "split-without-boxes": Code("error", "train or valid has no usable box", "Annotate its pictures."),
    # pictures
    "picture-key": Code("error", "a picture's id, file_name, width or height is missing or wrong", "Correct the key."),
    "picture-id-twice": Code("error", "two pictures have the same id", "Give each picture its own id."),
    "file-name-twice": Code(
        "error",
        "two entries list the same file, each with a part of its boxes",
        "Merge the entries.",
        "merged into the first",
    ),
    "path-traversal": Code(
        "error", "a file_name leads outside its split", "Move the picture inside.", "entry and annotations removed"
    ),
    "picture-missing": Code(
        "error", "a listed picture is not there", "Put it there, or remove its entry.", "entry and annotations removed"
    ),
    "picture-unsupported": Code(
        "error", "a file is no JPEG, PNG, WebP or BMP", "Convert it.", "entry and annotations removed"
    ),
    "picture-too-large": Code("error", "a picture has more pixels than are accepted", "Make it smaller."),
    "picture-broken": Code(
        "error", "a picture is truncated or cannot be decoded", "Replace it.", "entry and annotations removed"
    ),
    "picture-unreadable": Code("error", "a picture's file cannot be read", "Make it readable."),
    "picture-size": Code("error", "the JSON gives another size than the picture has", "Export both again."),
    "picture-rotated": Code(
        "error",
        "the boxes were drawn on the picture as stored, but its EXIF tag turns it on its side",
        "Export both again.",
        "boxes, polygons and size turned upright",
    ),
    "size-missing": Code("note", "the JSON gives no width or height", "Write them.", "filled in"),
    "exif-orientation": Code(
        "note",
        "an EXIF tag turns or mirrors the picture without changing its sides",
        "Make sure that the boxes were drawn on the picture as viewers show it.",
    ),
    "colour-mode": Code("note", "a picture is not 8-bit RGB; it is converted on the way in", "Nothing to do."),
    "no-objects": Code("note", "pictures without objects; they are kept", "Nothing to do, if it is true."),
    "same-picture": Code("warning", "the same file lies in one split several times", "Keep one."),
    "similar-pictures": Code("note", "pictures of one split look alike", "Nothing to do; they add little."),
    "leak": Code(
        "warning",
        "the same file lies in several splits: what is measured was learnt by heart",
        "Keep it in one of them.",
    ),
    "leak-similar": Code(
        "warning",
        "pictures of several splits look alike: figures will flatter",
        "Keep what was taken together in one split.",
    ),
    "leak-source": Code(
        "warning",
        "copies that Roboflow made of one picture lie in several splits: figures will flatter",
        "Keep all copies in one split.",
    ),
    # annotations
    "annotation-key": Code(
        "error", "image_id, category_id or iscrowd is missing or no whole number", "Correct the key."
    ),
    "annotation-id-missing": Code("warning", "an annotation has no id", "Number it.", "numbered"),
    "annotation-id-twice": Code(
        "warning", "two annotations have the same id; COCO's tools keep one of them", "Number them anew.", "renumbered"
    ),
    "annotation-id-zero": Code(
        "note", "an annotation has the id 0, which pycocotools takes for no match", "Number from 1.", "renumbered"
    ),
    "unknown-picture": Code(
        "error", "an annotation belongs to no listed picture", "Remove it, or list the picture.", "removed"
    ),
    "unknown-category": Code("error", "an annotation's category is not listed", "List the category, or correct it."),
    "box-invalid": Code("error", "a box is not four finite numbers", "Write [x, y, width, height]."),
    "box-empty": Code("warning", "a box has no area; it is left out", "Draw it again, or remove it.", "removed"),
    "box-tiny": Code("warning", "a box has a side under 2 pixels", "Remove it, if it is a slip of the mouse."),
    "box-off-picture": Code(
        "warning", "a box lies wholly outside its picture; it is left out", "Draw it again, or remove it.", "removed"
    ),
    "box-larger": Code(
        "warning",
        "a box is larger than its picture",
        "Look whether the picture was resized after it was annotated.",
    ),
    "box-outside": Code("warning", "a box reaches over the edge; it is clipped", "Clip it.", "clipped"),
    "annotation-twice": Code(
        "warning", "the same box with the same class is there twice", "Remove one.", "the copy removed"
    ),
    "annotation-contradiction": Code("warning", "the same box has two classes", "Keep one."),
    "crowd": Code("note", "crowd annotations are measured around, not trained on", "Nothing to do."),
    "mask-rle": Code("note", "run-length masks are not used; the boxes are", "Nothing to do."),
    # categories
    "category-key": Code(
        "error", "a category's id or name is missing, not printable, or 'score'", "Correct or rename it."
    ),
    "category-id-twice": Code("error", "two categories have the same id", "Keep one."),
    "category-name-twice": Code("error", "two categories have the same name", "Merge them."),
    "category-name-similar": Code(
        "warning", "two category names differ in case or spaces only", "Merge them, or tell them apart."
    ),
    "categories-differ": Code("error", "a split's categories are not those of train", "Export all splits together."),
    "category-unlisted": Code(
        "warning", "a class of train is not listed in another split", "Export all splits together."
    ),
    "category-parent": Code("note", "a super-category without annotations is no class", "Nothing to do."),
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
"""Every code ``boxwright check`` can give. ``docs/check.md`` is held to it by a test."""


@dataclass(frozen=True)
class Finding:
    """One thing found.

    Attributes:
        code: key of ``CODES``.
        message: what is wrong here, in one sentence.
        split: where, if in one split.
        file: picture, as ``file_name`` gives it, or the file or folder in question.
        image_id: picture id in the JSON.
        annotation_id: annotation id in the JSON, of whatever type it has there.
        position: of the entry in question in its list of the JSON; for the repair.
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
        """The code's."""
        return CODES[self.code].level

    @property
    def remedy(self) -> str:
        """The code's."""
        return CODES[self.code].remedy

    @property
    def where(self) -> str:
        """Split, file, picture and annotation, as far as they apply, for people."""
        parts = [self.split, repr(self.file) if self.file is not None else None]
        parts += [f"picture id {self.image_id}"] if self.image_id is not None else []
        parts += [f"annotation id {self.annotation_id!r}"] if self.annotation_id is not None else []
        return ", ".join(part for part in parts if part)

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message

    def to_json(self) -> dict[str, Any]:
        """As ``boxwright check --json`` writes it."""
        return {
            "code": self.code,
            "level": self.level,
            "split": self.split,
            "file": self.file,
            "image_id": self.image_id,
            "annotation_id": self.annotation_id,
            "message": self.message,
            "remedy": self.remedy,
        }
