"""Which font the names of classes are written with, and what is written where no font has their letters."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import List, Optional, Sequence, Tuple, Union

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


def lettering(names: Sequence[str], size: float) -> Tuple[List[Font], List[str]]:
    """A font for each class name, and how the name is written with it.

    If Pillow's own font lacks a letter, a font of the system that has all of the name is taken. Where there is none,
    the name is written without marks (``e`` for ``é``), or else as ``class 3``, by its index.

    Args:
        names: by class index.
        size: of the fonts, pixels.
    """
    chosen = [_written(one) for one in names]
    texts = [f"class {index}" if one is None else one[1] for index, one in enumerate(chosen)]
    return [_loaded(None if one is None else one[0], size) for one in chosen], texts


@lru_cache(maxsize=4096)
def _written(text: str) -> Optional[Tuple[Optional[str], str]]:
    """The first of ``_FONTS`` that has a text, or else what is left of it without marks, and what it has; or None."""
    for tried in (text, _without_marks(text), _without_marks(text.casefold())):
        for font in _FONTS:
            if _is_there(font) and all(_has(font, letter) for letter in _letters(tried)):
                return font, tried
    return None


def _without_marks(text: str) -> str:
    parts = unicodedata.normalize("NFKD", text)
    return "".join(one for one in parts if unicodedata.category(one)[0] != "M")


def _letters(text: str) -> str:
    return "".join(one for one in text[:_ENOUGH] if unicodedata.category(one)[0] in _DRAWN)


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
