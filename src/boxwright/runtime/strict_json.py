"""Reads JSON from sources that are not trusted."""

from __future__ import annotations

import json
import math
from typing import Any, Dict, List, Tuple, Union

from .errors import ArchiveError

__all__ = ["parse_json"]

_MAX_DEPTH = 50
_MAX_DIGITS = 18


def parse_json(text: Union[str, bytes], source: str) -> Any:
    """Parse a document that means one thing.

    Args:
        text: the JSON, UTF-8.
        source: its file name, for errors.

    Raises:
        ArchiveError: broken, nested deeper than 50, a key twice, a number that is not finite or of more than 18
            digits, or text that is not Unicode.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8")
        document = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_finite,
            parse_constant=_finite,
        )
        _check(document)
    except (ValueError, RecursionError) as error:
        raise ArchiveError(f"{source}: not JSON: {error}.", "Write it again with boxwright.") from error
    return document


def _object(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a key occurs twice")
    return document


def _integer(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is not a finite number")
    return value


def _check(document: Any) -> None:
    level = [document]
    for _ in range(_MAX_DEPTH):
        for value in level:
            if isinstance(value, str):
                value.encode("utf-8")  # half a surrogate pair cannot be printed
            elif isinstance(value, dict):
                "".join(value).encode("utf-8")
        level = [inner for value in level for inner in _inside(value)]
        if not level:
            return
    raise ValueError(f"nested deeper than {_MAX_DEPTH}")


def _inside(value: Any) -> List[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
