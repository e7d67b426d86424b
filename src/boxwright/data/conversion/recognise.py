"""Recognises the format of a data set by what its files hold.

To add a format: one function that tells whether a folder's files are of it, one row of ``_SIGNS``.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from boxwright.data.documents import ANNOTATIONS, LISTS
from boxwright.data.file_names import FolderNames, is_picture_name
from boxwright.data.text import text_of
from boxwright.runtime import DataError

from .coco_files import is_coco

__all__ = ["recognised", "seen"]

_HEAD = 2**16  # bytes that are looked at of a long file
_TABLE_HEAD = 200  # characters
_MOST_LOOKED_AT = 50  # files of one kind
_YAML = re.compile(r"^[\"']?names[\"']?\s*:", re.MULTILINE)
_YOLO_FILES = re.compile(r"obj\.data|obj\.names|(predefined_)?classes\.txt|_darknet\.labels|.+\.data")
_YOLO_LINE = re.compile(r"\s*\d+(\s+[-+]?[\d.]+([eE][-+]?\d+)?){4,}\s*(\n|\r|$)")
_VOC = re.compile(rb"<\0?a\0?n\0?n\0?o\0?t\0?a\0?t\0?i\0?o\0?n\0?[\s>]")  # also in UTF-16
_COCO_LIST = re.compile(r'"(images|annotations|categories)"\s*:\s*\[')
_COCO_ENTRY = re.compile(r'"(file_name|image_id|category_id|supercategory)"\s*:')
_LABELME = re.compile(r'"shapes"\s*:\s*\[')
_VIA = re.compile(r'"(_via_img_metadata|_via_settings)"\s*:')


def recognised(source: Path) -> str | None:
    """The format of a file or folder, a key of ``READERS``; None if it is none of them.

    Only the beginnings of long files and some of many files are looked at.

    Raises:
        DataError: two formats fit; both are named.
    """
    look = _Look(source)
    fitting = [name for name, sign in _SIGNS.items() if sign(look)]
    if len(fitting) > 1:
        raise DataError(
            f"{source}: fits {' and '.join(fitting)}.",
            f"Say which: {' or '.join(f'--from {name}' for name in fitting)}.",
        )
    return fitting[0] if fitting else None


class _Look:
    """The names of a source's files, and what some of them hold."""

    def __init__(self, source: Path) -> None:
        single = source.is_file()
        self._folder = source.parent if single else source
        self.names = (source.name,) if single else FolderNames(source).files

    def ending(self, *suffixes: str) -> list[str]:
        """Names with one of these suffixes, the shallowest first."""
        names = [name for name in self.names if name.lower().endswith(suffixes)]
        return sorted(names, key=lambda name: (name.count("/"), name))

    def head(self, name: str) -> bytes:
        """The first bytes of a file; none if it cannot be read."""
        with suppress(OSError), (self._folder / name).open("rb") as file:
            return file.read(_HEAD + 1)
        return b""

    def text(self, name: str) -> str:
        return self.head(name).decode("utf-8", errors="ignore")

    @cached_property
    def json_kinds(self) -> set[str]:
        """Formats of the JSON files; of many, some are looked at."""
        names = self.ending(".json")
        some = [*names[:_MOST_LOOKED_AT], *names[_MOST_LOOKED_AT :: 1 + len(names) // _MOST_LOOKED_AT]]
        return {kind for name in some if (kind := _json_kind(posixpath.basename(name), self.head(name)))}


def _json_kind(name: str, head: bytes) -> str | None:
    if len(head) <= _HEAD:
        with suppress(ValueError, RecursionError):
            return _kind_of(json.loads(text_of(head)))
    by_name = "coco" if name == ANNOTATIONS or name.startswith("instances_") else None  # its reader tells what is wrong
    text = head.decode("utf-8", errors="ignore")
    if _VIA.search(text):
        return "via"
    if _LABELME.search(text) and not _COCO_LIST.search(text):
        return "labelme"
    return "coco" if _COCO_LIST.search(text) and _COCO_ENTRY.search(text) else by_name


def _kind_of(content: Any) -> str | None:
    if not isinstance(content, dict):
        return None
    if is_coco(content) or (isinstance(content.get("images"), list) and any(key in content for key in LISTS[1:])):
        return "coco"
    if "shapes" in content and "imagePath" in content:
        return "labelme"
    if "_via_img_metadata" in content or _are_regions(content):
        return "via"
    return None


def _are_regions(content: Mapping[str, Any]) -> bool:
    """Whether these are VIA's entries without its settings: objects of a picture's name and regions."""
    values = list(content.values())
    return bool(values) and all(isinstance(one, dict) and {"filename", "regions"} <= one.keys() for one in values)


def _is_yolo(look: _Look) -> bool:
    """A YAML file with names, a list of names, or label files."""
    tops = [name for name in look.names if "/" not in name]
    if any(_YAML.search(look.text(name)) for name in tops if name.lower().endswith((".yaml", ".yml"))):
        return True
    named = any(_YOLO_FILES.fullmatch(posixpath.basename(name)) for name in look.names)
    return any(_YOLO_LINE.match(look.text(name)) for name in _label_files(look, named)) or (
        named and any(posixpath.basename(name) == "obj.data" for name in look.names)
    )


def _label_files(look: _Look, anywhere: bool) -> Iterator[str]:
    """Some files that may be labels: those in ``labels/``; any beside a list of names."""
    names = [name for name in look.ending(".txt") if anywhere or "labels" in name.lower().split("/")[:-1]]
    filled = (name for name in names if look.head(name).strip())
    yield from (name for name, _ in zip(filled, range(_MOST_LOOKED_AT), strict=False))


def _is_voc(look: _Look) -> bool:
    return any(_VOC.search(look.head(name)) for name in look.ending(".xml")[:_MOST_LOOKED_AT])


def _has_via_table(look: _Look) -> bool:
    return any("region_shape_attributes" in look.text(name)[:_TABLE_HEAD] for name in look.ending(".csv"))


_SIGNS: dict[str, Callable[[_Look], bool]] = {
    "yolo": _is_yolo,
    "voc": _is_voc,
    "coco": lambda look: "coco" in look.json_kinds,
    "labelme": lambda look: "labelme" in look.json_kinds,
    "via": lambda look: "via" in look.json_kinds or _has_via_table(look),
}
"""How each format is told, by its key in ``READERS``."""


def seen(source: Path) -> str:
    """What a folder holds, for a sentence: how many pictures, and how many files of the commonest other kinds."""
    names = FolderNames(source).files
    pictures = sum(is_picture_name(name) for name in names)
    others: dict[str, int] = {}
    for name in names:
        if not is_picture_name(name):
            suffix = posixpath.splitext(name)[1].lower() or "without a suffix"
            others[suffix] = others.get(suffix, 0) + 1
    kinds = sorted(others.items(), key=lambda item: (-item[1], item[0]))[:3]
    return ", ".join([f"{pictures} pictures", *(f"{count} {suffix}" for suffix, count in kinds)])
