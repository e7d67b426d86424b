"""Bytes of an XML file become its root element, in the encoding that the file declares."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from contextlib import suppress
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from boxwright.data.text import text_of
from boxwright.runtime import DataError

__all__ = ["parse_xml"]

_DECLARED = re.compile(rb"\s*<\?xml[^>]*?encoding\s*=\s*[\"']([A-Za-z][A-Za-z0-9._-]*)[\"']")
_MARKS = {  # the longer first
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    b"<\0": "utf-16-le",
    b"\0<": "utf-16-be",
}
_WIDE = ("utf-16", "utf-32")
_NO_CHARSETS = ("idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined", "mbcs", "oem")
_LARGER = {"gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932", "euc_kr": "cp949", "big5": "cp950"}
"""What programs really write that declare the smaller set."""


def parse_xml(content: bytes, where: str) -> Element:
    """The root element.

    A DOCTYPE is refused: only there can entities be declared, with which a small file grows without limit or reads
    other files.

    Args:
        content: of the file.
        where: the file, for errors.

    Raises:
        DataError: malformed, in another encoding than it declares, or it holds a DOCTYPE.
    """
    builder = TreeBuilder()
    parser = expat.ParserCreate("utf-8")  # whatever the text declares
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = _refuse_doctype(where)
    text = _decoded(content, where)
    try:
        parser.Parse(text.encode(), True)
    except (expat.ExpatError, ValueError) as error:  # the last: half a surrogate pair
        raise DataError(f"{where}: broken XML: {error}.", "Export the file again.") from error
    root: Element = builder.close()
    return root


def _decoded(content: bytes, where: str) -> str:
    mark = next((name for start, name in _MARKS.items() if content.startswith(start)), None)
    match = _DECLARED.match(content.removeprefix(codecs.BOM_UTF8))
    declared = match[1].decode("ascii") if match else None
    if mark is not None:
        return _as(mark, content, where, f"begins as {mark.upper()}")
    if declared is None:
        return _undeclared(content, where)
    if declared.lower().startswith(_WIDE):  # read as single bytes, so it is not that
        return _as("utf-8-sig", content, where, f"declares {declared}, is UTF-8 at most")
    return _as(_codec(declared, where), content, where, f"declares {declared}")


def _codec(declared: str, where: str) -> str:
    try:
        name = codecs.lookup(declared).name
        with suppress(UnicodeError):
            b"<".decode(name)
    except LookupError as error:  # also for what encodes no text
        raise _unknown(declared, where) from error
    if name in _NO_CHARSETS:
        raise _unknown(declared, where)
    return "utf-8-sig" if name == "utf-8" else name


def _unknown(declared: str, where: str) -> DataError:
    return DataError(f"{where}: broken XML: unknown encoding {declared!r}.", "Save it as UTF-8.")


def _as(name: str, content: bytes, where: str, said: str) -> str:
    for codec in (name, _LARGER.get(name)):
        try:
            if codec is not None:
                return content.decode(codec)
        except UnicodeError as error:
            problem = error
    place = getattr(problem, "start", 0)
    raise DataError(
        f"{where}: {said}, but its byte {place} is nothing in that.",
        "Correct the encoding in its first line, or save it as UTF-8.",
    ) from problem


def _undeclared(content: bytes, where: str) -> str:
    try:
        return text_of(content)
    except ValueError as error:
        cause = error.__cause__
        if not isinstance(cause, UnicodeDecodeError):
            raise DataError(f"{where}: {error}.") from error
        byte = f"byte {cause.start} is 0x{content[cause.start]:02x}"
        raise DataError(
            f"{where}: it is not UTF-8 ({byte}), and declares no other encoding.",
            'Save it as UTF-8, or write a first line that names the encoding: <?xml version="1.0" encoding="gb2312"?>.',
        ) from error


def _refuse_doctype(where: str) -> Callable[..., None]:
    def refuse(*_: object) -> None:
        raise DataError(f"{where}: holds a DOCTYPE, which is refused.", "Remove the line that starts with <!DOCTYPE.")

    return refuse
