"""Where a folder or a file is: a path of this machine, or a URL of remote storage."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from urllib.parse import urlsplit

__all__ = [
    "HIDDEN",
    "Place",
    "as_given",
    "in_command",
    "is_url",
    "is_web",
    "name_of",
    "place_of",
    "remember_copy",
    "shown_place",
    "whole",
    "without_secrets",
]

Place = Path | str
"""A path, or a URL as text: a ``Path`` would make one slash of two."""

HIDDEN = "***"
"""Stands for a password or a key that was part of a URL, wherever the URL is written or shown."""

_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_WEB = re.compile(r"https?://", re.IGNORECASE)
_PASSWORD = re.compile(r"(?<=://)[^/?#@]*(?=@)")
_PARAMETER = re.compile(r"(?<=[?&])([^=&#]+)=([^&#]*)")
_SECRET = re.compile(r"key|token|sig|secret|pass|pwd|credential|auth", re.IGNORECASE)
_LONG = 16  # characters of a parameter that may be a key, whatever it is called


def is_url(source: object) -> bool:
    """Whether it is text that begins as ``http://`` does, with any scheme."""
    return isinstance(source, str) and _URL.match(source) is not None


def place_of(given: str | Path) -> Place:
    """A path, unless it is a URL."""
    return Path(given) if isinstance(given, str) and not is_url(given) else given


def is_web(url: str) -> bool:
    """Whether a URL is ``http://`` or ``https://``: what follows ``?`` is then no part of a name."""
    return _WEB.match(url) is not None


def name_of(place: Place) -> str:
    """The last part of a path or a URL."""
    if isinstance(place, Path):
        return place.resolve().name
    path = urlsplit(place).path if is_web(place) else place
    return path.rstrip("/").rpartition("/")[2]


def shown_place(place: str | Path) -> str:
    """The place as text for people, files and logs: ``HIDDEN`` instead of what a URL should not be shared with.

    That is what stands before an ``@``, and parameters of web addresses that are called like a key or long enough to
    be one: ``https://host/set.zip?version=3&key=***``.
    """
    if not is_url(place):
        return str(place)
    url = _PASSWORD.sub(HIDDEN, str(place))
    return _PARAMETER.sub(_shown_parameter, url) if is_web(url) else url


def _shown_parameter(found: re.Match[str]) -> str:
    name, value = found.groups()
    return f"{name}={HIDDEN if value and (_SECRET.search(name) or len(value) >= _LONG) else value}"


def without_secrets(text: str, url: str) -> str:
    """A text in which a URL may stand, such as an error of a library, with what ``shown_place`` hides hidden."""
    secrets = [found.group() for found in _PASSWORD.finditer(url)]
    secrets += [found[2] for found in _PARAMETER.finditer(url) if _shown_parameter(found).endswith(f"={HIDDEN}")]
    text = text.replace(url, shown_place(url))
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    return text


def in_command(path: object) -> str:
    """A path or a URL as it stands in a command that a person may paste into a shell.

    A name that begins with a dash would be read as an option: ``./-data``.
    """
    text = str(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)


_GIVEN: dict[str, str] = {}
"""What a person has named, by the copy of it in the cache."""


def remember_copy(copy: Path, given: str | Path) -> None:
    """Note what a folder or a file in the cache is a copy of, for ``as_given``."""
    _GIVEN[str(copy)] = as_given(shown_place(given))


def as_given(text: str, *, in_commands: bool = False) -> str:
    """A text for people in which copies in the cache are called by what they are copies of.

    Args:
        text: with paths in it.
        in_commands: whether the paths are parts of commands, which a person may paste into a shell.
    """
    for copy, given in _GIVEN.items():
        if copy in text:
            name = in_command(given) if in_commands else given
            text = text.replace(shlex.quote(copy), name).replace(copy, name)
    return text


def whole(place: Place) -> Place:
    """The place as it is from any folder: a path is resolved, a URL is that already."""
    return place.resolve() if isinstance(place, Path) else place
