"""Which font the names of classes are written with, and what is written where no font has their letters."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import Dict, List, Optional, Sequence, Tuple, Union

from PIL import ImageFont

__all__ = ["Font", "lettering"]

Font = Union[ImageFont.FreeTypeFont, ImageFont.ImageFont]

# Pillow looks for them by name where the system keeps its fonts. Its own, the first, has English letters alone.
_FONTS = (
    None,
    *("DejaVuSans.ttf", "NotoSans-Regular.ttf", "LiberationSans-Regular.ttf", "segoeui.ttf", "Arial.ttf", "arial.ttf"),
    *("NotoSansCJK-Regular.ttc", "NotoSansCJKsc-Regular.otf", "wqy-zenhei.ttc", "wqy-microhei.ttc"),
    *("PingFang.ttc", "Hiragino Sans GB.ttc", "AppleSDGothicNeo.ttc", "Arial Unicode.ttf"),
    *("msyh.ttc", "YuGothM.ttc", "malgun.ttf", "Nirmala.ttf", "NotoSansDevanagari-Regular.ttf"),
    *("NotoSansArabic-Regular.ttf", "NotoSansHebrew-Regular.ttf", "NotoSansThai-Regular.ttf"),
)
_SIZE = 16  # at which letters are looked for
_NO_CHARACTER = "\uffff"  # of Unicode: a font draws what it draws for a letter that it does not have
_DRAWN = "LNPS"  # Unicode's major categories of what has a shape of its own
_ENOUGH = 200  # characters of a name that are looked at


def lettering(names: Sequence[str], size: float) -> Tuple[Font, List[str]]:
    """A font for class names, and how each of them is written with it.

    If Pillow's own font lacks a letter, the font of the system that has most of them is taken. A name with a letter
    that this one lacks, too, is written without marks (``e`` for ``é``), or else as ``class 3``, by its index.

    Args:
        names: by class index.
        size: of the font, pixels.

    Returns:
        The font, and a text for each name.
    """
    name = _best("".join(sorted({letter for one in names for letter in _letters(one)})))
    return _loaded(name, size), [_written(one, index, name) for index, one in enumerate(names)]


def _written(text: str, index: int, font: Optional[str]) -> str:
    for tried in (text, _without_marks(text), _without_marks(text.casefold())):
        if all(_has(font, letter) for letter in _letters(tried)):
            return tried
    return f"class {index}"


def _without_marks(text: str) -> str:
    parts = unicodedata.normalize("NFKD", text)
    return "".join(one for one in parts if unicodedata.category(one)[0] != "M")


def _letters(text: str) -> str:
    return "".join(one for one in text[:_ENOUGH] if unicodedata.category(one)[0] in _DRAWN)


@lru_cache(maxsize=256)
def _best(letters: str) -> Optional[str]:
    """Of ``_FONTS``, the first with the fewest of these letters missing."""
    missing: Dict[Optional[str], int] = {None: sum(not _has(None, letter) for letter in letters)}
    for name in _FONTS[1:]:
        if not min(missing.values()):
            break
        if _is_there(name):
            missing[name] = sum(not _has(name, letter) for letter in letters)
    return min(missing, key=missing.__getitem__)


@lru_cache(maxsize=None)
def _is_there(name: Optional[str]) -> bool:
    try:
        _loaded(name, _SIZE)
    except OSError:
        return False
    return True


@lru_cache(maxsize=64)
def _loaded(name: Optional[str], size: float) -> Font:
    return ImageFont.load_default(size=size) if name is None else ImageFont.truetype(name, size)


@lru_cache(maxsize=4096)
def _has(name: Optional[str], letter: str) -> bool:
    font = _loaded(name, _SIZE)
    if isinstance(font, ImageFont.ImageFont):  # Pillow without FreeType: a bitmap of Latin-1
        return ord(letter) < 256
    mask, none = font.getmask(letter), font.getmask(_NO_CHARACTER)
    return (mask.size, bytes(mask)) != (none.size, bytes(none))
