"""Parses XML that strangers wrote."""

from __future__ import annotations

from collections.abc import Callable
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from boxwright.runtime import DataError

__all__ = ["parse_xml"]


def parse_xml(content: bytes, source: str) -> Element:
    """The root element.

    A DOCTYPE is refused: entities, with which a small file grows without bound or reads others, can
    only be declared there.

    Args:
        content: the document.
        source: its file, for errors.

    Raises:
        DataError: malformed, or it holds a DOCTYPE.
    """
    builder = TreeBuilder()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = _refuser(source)
    try:
        parser.Parse(content, True)
    except (expat.ExpatError, ValueError, LookupError) as error:  # the last two: encodings that cannot be read
        raise DataError(f"{source}: broken XML: {error}.", "Export the file again.") from error
    root: Element = builder.close()
    return root


def _refuser(source: str) -> Callable[..., None]:
    def refuse(*_: object) -> None:
        raise DataError(f"{source}: holds a DOCTYPE, which is refused.", "Remove the line that starts with <!DOCTYPE.")

    return refuse
