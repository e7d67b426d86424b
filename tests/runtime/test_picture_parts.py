"""Files that are nothing but parts."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from boxwright.runtime import PictureError
from boxwright.runtime.picture import decode
from boxwright.runtime.picture_parts import MOST_PARTS, has_too_many_parts


def chunk(name, data=b""):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def encoded(form, **options):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 48, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, **options)
    return file.getvalue()


JPEG, PNG = encoded("JPEG"), encoded("PNG")
COUNT = MOST_PARTS + 1
MADE_OF_PARTS = {
    "zeros after the start": b"\xff\xd8\xff" + bytes(COUNT),
    "zeros before the first marker": JPEG[:2] + bytes(COUNT) + JPEG[2:],
    "fill bytes": JPEG[:2] + b"\xff" * COUNT + JPEG[2:],
    "fill bytes without an end": JPEG[:2] + b"\xff" * 2**22,  # hours, if its length were squared
    "empty comments": JPEG[:2] + b"\xff\xfe\x00\x02" * COUNT + JPEG[2:],
    "restart markers": JPEG[:2] + b"\xff\xd0" * COUNT + JPEG[2:],
    "escaped bytes": JPEG[:2] + b"\xff\x00" * COUNT + JPEG[2:],
    "lengths below two": JPEG[:2] + b"\xff\xfe\x00\x00" * COUNT,
    "empty chunks": PNG[:33] + chunk(b"tIME") * COUNT + PNG[33:],
    "empty chunks of pixels": PNG[:33] + chunk(b"IDAT") * COUNT + PNG[33:],
}


@pytest.mark.parametrize("content", MADE_OF_PARTS.values(), ids=MADE_OF_PARTS)
def test_is_refused_before_it_is_read(content):
    assert has_too_many_parts(content)
    with pytest.raises(PictureError, match="made of more than"):
        decode(content)


@pytest.mark.parametrize(
    "content",
    [
        JPEG,
        PNG,
        encoded("JPEG", progressive=True),
        encoded("WEBP"),
        encoded("BMP"),
        b"",
        b"\xff\xd8",
        b"\x89PNG\r\n\x1a\n",
    ],
)
def test_pictures_are_not(content):
    assert not has_too_many_parts(content)


def test_a_large_jpegs_pixels_are_no_parts():
    """Its scans hold tens of thousands of escaped bytes."""
    pixels = np.random.default_rng(0).integers(0, 256, (1500, 1500, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=100)
    assert file.getvalue().count(b"\xff\x00") > 10_000
    assert not has_too_many_parts(file.getvalue())


def test_a_large_pngs_chunks_are_few_enough():
    content = PNG[:33] + chunk(b"IDAT", bytes(8192)) * 4096 + PNG[33:]
    assert len(content) > 32 * 1024**2
    assert not has_too_many_parts(content)


@given(st.binary(max_size=300), st.sampled_from([b"\xff\xd8", b"\x89PNG\r\n\x1a\n", JPEG[:50], PNG[:50]]))
def test_any_bytes_are_looked_at_without_an_error(content, start):
    assert not has_too_many_parts(start + content)
