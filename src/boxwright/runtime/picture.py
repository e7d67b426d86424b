"""Bytes become an upright RGB picture, or a clear error."""

from __future__ import annotations

import io
import os
import stat
from typing import BinaryIO, Optional, Tuple, Union

import numpy as np
from PIL import Image, UnidentifiedImageError

from .errors import PictureError, PictureTooLarge, PointerFile, UnsupportedPicture
from .picture_parts import MOST_PARTS, has_too_many_parts

__all__ = [
    "DATA_PIXELS",
    "FORMATS",
    "LARGEST_PIXELS",
    "MAX_PIXELS",
    "MOST_BYTES",
    "SIDEWAYS",
    "SUFFIXES",
    "PictureSource",
    "as_grey",
    "decode",
    "lacks_only_its_end",
    "open_picture",
    "open_picture_file",
    "orientation",
    "read_picture",
    "require_few_parts",
    "upright_size",
]

FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
"""Accepted picture formats, by Pillow's names."""

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
"""Suffixes of files in these formats, in lower case; a folder is searched for them."""

MAX_PIXELS = 50_000_000
"""Largest width x height that is accepted from anybody; read from the header before any pixel is decoded."""

DATA_PIXELS = 100_000_000
"""Largest width x height in a data set, unless the setting ``max_pixels`` says otherwise: phones take 50 million."""

LARGEST_PIXELS = 178_956_970
"""Largest width x height of any picture: Pillow opens no larger ones."""

MOST_BYTES = 2**30
"""Largest file that is read as a picture: the largest picture takes 716 MB as a BMP with transparency."""

PictureSource = Union[str, "os.PathLike[str]", bytes, bytearray, memoryview, Image.Image, np.ndarray]

SIDEWAYS = (5, 6, 7, 8)
"""EXIF orientations that swap width and height."""

_ORIENTATION_TAG = 0x0112
_LFS = b"version https://git-lfs"
_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_JPEG_TAILS = (b"", bytes.fromhex("35ca9e") * 64)  # neither is a marker
_TURNING_NOTES = ("exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp")  # where Pillow looks for the tag
# EXIF 2.32, section 4.6.4, tag 274: what undoes each stored orientation.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(source: PictureSource, max_pixels: int = MAX_PIXELS, name: Optional[str] = None) -> Image.Image:
    """Decode one picture: first frame, EXIF orientation applied, RGB with 8 bits per channel.

    Transparency is laid over white, as picture viewers and annotation tools show it. 16-bit greys
    are scaled to 8 bits, CMYK is converted, palettes are resolved.

    Args:
        source: a path, the encoded bytes, a Pillow picture, or a uint8 array [height, width, 3]
            in RGB order or [height, width] in grey.
        max_pixels: largest accepted width x height.
        name: what errors call it; its path by default.

    Returns:
        A Pillow picture of mode ``RGB``.

    Raises:
        UnsupportedPicture: not JPEG, PNG, WebP or BMP.
        PictureTooLarge: more than ``max_pixels`` pixels by its header.
        PictureError: missing, broken or truncated, no regular file, more than ``MOST_BYTES`` of it, a Pillow picture
            whose values have no known range, or none of the above.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        return _upright_rgb(source, name or "the picture")
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _from_bytes(bytes(source), name or "the picture", max_pixels)
    if isinstance(source, (str, os.PathLike)):
        return _from_bytes(_read(source), name or f"{os.fspath(source)!r}", max_pixels)
    raise PictureError(
        f"{type(source).__name__} does not hold a picture.",
        "Give a path, the file's bytes, a Pillow picture, or a uint8 array.",
    )


def _read(path: Union[str, os.PathLike[str]]) -> bytes:
    name = os.fspath(path)
    try:
        with open_picture_file(path) as file:
            return read_picture(file, repr(name))
    except OSError as error:
        remedy = "Predictor.predict takes folders, and URLs with urls=True."
        plain = "://" not in name and not isinstance(error, IsADirectoryError)
        raise PictureError(
            f"Picture {name!r} cannot be read: {error.strerror}.", "Check the path." if plain else remedy
        ) from error


def open_picture_file(path: Union[str, os.PathLike[str]]) -> BinaryIO:
    """Open a picture's file to read it.

    Raises:
        PictureError: neither a file nor a folder: opening a pipe would wait for a writer, and a device has no end.
        OSError: it cannot be opened.
    """
    mode = os.stat(path).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise PictureError(f"Picture {os.fspath(path)!r} is a pipe or a device.", "Save it as a file, and give that.")
    return open(path, "rb")


def read_picture(file: BinaryIO, name: str) -> bytes:
    """The rest of an open regular file.

    Raises:
        PictureError: it has more than ``MOST_BYTES``.
    """
    if os.fstat(file.fileno()).st_size > MOST_BYTES:  # reading at most so many would make room for all of them first
        raise PictureError(f"Picture {name} has more than {MOST_BYTES:,} bytes.", "Make it smaller.")
    return file.read()


def _from_array(array: np.ndarray) -> Image.Image:
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or array.shape[2:] not in ((), (3,)):
        raise PictureError(
            "A picture array must be uint8 [height, width, 3] (RGB) or [height, width] (grey); "
            f"got {array.dtype} {list(array.shape)}."
        )
    if 0 in array.shape:
        raise PictureError(f"A picture array must have pixels; got {list(array.shape)}.")
    return Image.fromarray(array).convert("RGB")


def upright_size(path: Union[str, os.PathLike[str]], max_pixels: int = MAX_PIXELS) -> Tuple[int, int]:
    """Width and height in pixels that ``decode`` would give, from the header alone.

    Raises:
        PictureError: see ``decode``; broken pixels behind a sound header are not noticed.
    """
    name = f"{os.fspath(path)!r}"
    try:
        with open_picture_file(path) as file:
            image = open_picture(file, name, max_pixels)
            sideways = orientation(image) in SIDEWAYS
            return (image.height, image.width) if sideways else (image.width, image.height)
    except OSError as error:
        raise PictureError(f"Picture {name} cannot be read: {error.strerror}.", "Check the path.") from error


def _from_bytes(encoded: bytes, name: str, max_pixels: int) -> Image.Image:
    require_few_parts(encoded, name)
    try:
        return _upright_rgb(open_picture(io.BytesIO(encoded), name, max_pixels), name)
    except (UnsupportedPicture, PictureTooLarge):
        raise
    except PictureError:
        if not lacks_only_its_end(encoded, max_pixels):
            raise
    return _upright_rgb(open_picture(io.BytesIO(encoded + _JPEG_END), name, max_pixels), name)


def require_few_parts(encoded: bytes, name: str) -> None:
    """Refuse a file that would keep a processor busy before a pixel is decoded.

    Raises:
        PictureError: see ``has_too_many_parts``.
    """
    if has_too_many_parts(encoded):
        raise PictureError(f"{_sentence(name)} is made of more than {MOST_PARTS:,} parts.", "It is broken.")


def lacks_only_its_end(encoded: bytes, max_pixels: int = MAX_PIXELS) -> bool:
    """Whether a JPEG that cannot be decoded has all of its pixels, and lacks no more than its end marker.

    The decoder fills what is missing with grey. It has read everything it needs exactly if other bytes behind the
    file's last one change no pixel.

    Args:
        encoded: the file.
        max_pixels: see ``decode``.
    """
    if not encoded.startswith(_JPEG_START) or encoded.endswith(_JPEG_END):
        return False
    whole = encoded.removesuffix(_JPEG_END[:1])
    try:
        first, second = (
            open_picture(io.BytesIO(whole + tail + _JPEG_END), "the picture", max_pixels).convert("RGB")
            for tail in _JPEG_TAILS
        )
    except Exception:  # whatever Pillow's decoder runs into
        return False
    return first.tobytes() == second.tobytes()


def open_picture(file: BinaryIO, name: str, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The picture with its header read, its pixels not yet decoded.

    Raises:
        PictureError: see ``decode``.
    """
    try:
        image = Image.open(file, formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(name, None, max_pixels) from error
    except UnidentifiedImageError as error:
        if _is_pointer(file):
            raise PointerFile(f"{_sentence(name)} is a Git LFS pointer.", "Fetch the files: git lfs pull.") from error
        raise UnsupportedPicture(
            f"{_sentence(name)} is not a JPEG, PNG, WebP or BMP picture.",
            "Convert it to one of these.",
        ) from error
    except Exception as error:  # Pillow's plugins raise whatever their parsers run into
        raise _broken(name, error) from error
    if image.width * image.height > max_pixels:
        raise _too_large(name, image, max_pixels)
    return image


def _is_pointer(file: BinaryIO) -> bool:
    file.seek(0)
    return file.read(len(_LFS)) == _LFS


def _upright_rgb(image: Image.Image, name: str) -> Image.Image:
    _require_known_range(image, name)
    try:
        image.load()
        turn = orientation(image)
        image = _to_rgb(image)
    except Exception as error:  # Pillow's plugins raise whatever their decoders run into
        raise _broken(name, error) from error
    if turn not in _UPRIGHT:
        return image
    upright = image.transpose(_UPRIGHT[turn])
    for key in _TURNING_NOTES:  # or the next decoder would turn it once more
        upright.info.pop(key, None)
    return upright


def _require_known_range(image: Image.Image, name: str) -> None:
    """Refuse values that could mean anything: only a PNG's whole numbers are known to end at 65535."""
    if image.mode == "F" or (image.mode == "I" and image.format != "PNG"):
        raise PictureError(
            f"{_sentence(name)} has the mode {image.mode!r}, whose values have no known range.",
            "Scale them to 0..255, and give a uint8 array.",
        )


def orientation(image: Image.Image) -> int:
    """EXIF orientation, 1..8; 1 (as stored) where it is missing, means nothing, or its block is damaged."""
    try:
        turn = int(image.getexif().get(_ORIENTATION_TAG, 1))
        return turn if turn in _UPRIGHT else 1
    except Exception:  # the pixels may be sound behind a damaged EXIF block: show them as stored
        return 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        return as_grey(image).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        return _over_white(image)
    return image.convert("RGB")


def as_grey(image: Image.Image) -> Image.Image:
    """A picture in mode ``L``; 16-bit greys are scaled, which Pillow would cut off at 255."""
    if not image.mode.startswith("I"):
        return image.convert("L")
    values = np.clip(np.asarray(image, dtype=np.float64), 0.0, 65535.0)
    return Image.fromarray(np.round(values / 257.0).astype(np.uint8))


def _over_white(image: Image.Image) -> Image.Image:
    opaque = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(opaque, image.convert("RGBA")).convert("RGB")


def _broken(name: str, error: Exception) -> PictureError:
    reason = str(error) or type(error).__name__
    return PictureError(f"{_sentence(name)} cannot be decoded: {reason.rstrip('.')}.", "It is broken or truncated.")


def _too_large(name: str, image: Optional[Image.Image], max_pixels: int) -> PictureTooLarge:
    size = f"{image.width} x {image.height} pixels" if image else "far too many pixels"
    return PictureTooLarge(f"{_sentence(name)} has {size}; at most {max_pixels:,} are accepted.", "Make it smaller.")


def _sentence(name: str) -> str:
    return name[:1].upper() + name[1:] if name.startswith("the ") else f"Picture {name}"
