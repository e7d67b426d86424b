"""Bytes of an annotation file become text, and text a document, or one sentence says what is wrong with them."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["json_of", "text_of"]

_STARTS = {
    b"version https://git-lfs": "this is a Git LFS pointer, not the file itself; run: git lfs pull",
    b"/annex/objects/": "this is a git-annex pointer, not the file itself; run: git annex get",
    b"PK\x03\x04": "this is a ZIP archive; unzip it",
    b"\x1f\x8b": "the file is packed by gzip; unpack it: gunzip",
    b"<<<<<<< ": "the file holds both sides of a Git merge; settle the conflict",
    b"<!doctype html": "this is a web page, not the file itself; download it again",
    b"<html>": "this is a web page, not the file itself; download it again",
    b"<html ": "this is a web page, not the file itself; download it again",
}
"""How files begin that were put in the place of an annotation file, in lower case but for marks of bytes."""

_MARKS = {b"\xff\xfe\x00\x00": "UTF-32", b"\x00\x00\xfe\xff": "UTF-32", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


def text_of(content: bytes) -> str:
    """UTF-8 text, with or without a byte order mark.

    Args:
        content: of a file.

    Raises:
        ValueError: it is none; the message says what it is, and what to do.
    """
    if not content.strip():
        raise ValueError("the file is empty")
    start = content[:64].lstrip()
    what = next(
        (said for mark, said in _STARTS.items() if start.startswith(mark) or start.lower().startswith(mark)), None
    )
    if what:
        raise ValueError(what)
    if not content.strip(b"\0"):
        raise ValueError("the file holds nothing but zero bytes; copy or export it again")
    encoding = next((name for mark, name in _MARKS.items() if content.startswith(mark)), None)
    if encoding is None and content[:64].count(0) >= len(content[:64]) // 4 > 0:
        encoding = "UTF-16"  # without a mark, every second byte of plain text is 0
    if encoding:
        raise ValueError(f"the text is {encoding}; save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"the text is not UTF-8 (byte {error.start} is 0x{content[error.start]:02x}; perhaps it is "
            "Windows-1252); save it as UTF-8"
        ) from error


def json_of(text: str) -> Any:
    """What a JSON text holds.

    Python's reader keeps the last of two values of one key, so that half of the pictures would be gone; two that are
    the same are one.

    Raises:
        ValueError: it is no JSON, or a key of one object has two values; the message names it.
        RecursionError: it is nested too deep.
    """
    return json.loads(text, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        twice = next((key for key, value in pairs if document[key] != value), None)
        if twice is not None:
            number = document.get("id")
            whose = f" with the id {number!r}" if isinstance(number, str | int) else ""
            raise ValueError(f"an object{whose} has the key {twice!r} twice, with two values")
    return document
