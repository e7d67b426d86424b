"""Where a folder or a file is: a path of this machine, or a URL in a store."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["Place", "is_url", "name_of", "place_of", "whole"]

Place = Path | str
"""A path, or a URL as text: a ``Path`` would make one slash of two."""

_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


def is_url(source: object) -> bool:
    """Whether it is text that begins as ``http://`` does, with any scheme."""
    return isinstance(source, str) and _URL.match(source) is not None


def place_of(given: str | Path) -> Place:
    """A path, unless it is a URL."""
    return Path(given) if isinstance(given, str) and not is_url(given) else given


def name_of(place: Place) -> str:
    """The last part of a path or a URL."""
    return place.resolve().name if isinstance(place, Path) else place.rstrip("/").rpartition("/")[2]


def whole(place: Place) -> Place:
    """The place as it is from any folder: a path is resolved, a URL is that already."""
    return place.resolve() if isinstance(place, Path) else place
