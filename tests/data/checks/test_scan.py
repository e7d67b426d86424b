import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from boxwright.data.checks.scan import scan_pictures
from boxwright.runtime import PictureError, decode
from support.broken import draw


@pytest.fixture(scope="module")
def encoded(real_data):
    """One real picture in every way of encoding that differs for a decoder; small."""
    picture = Image.open(next(iter(sorted((real_data / "aquarium" / "valid").glob("*.jpg"))))).resize((120, 160))
    ways = {
        "baseline": ("JPEG", {"quality": 90}),
        "progressive": ("JPEG", {"quality": 90, "progressive": True}),
        "restarts": ("JPEG", {"quality": 90, "restart_marker_rows": 1}),
        "png": ("PNG", {}),
        "webp": ("WEBP", {}),
        "bmp": ("BMP", {}),
    }
    files = {}
    for name, (form, options) in ways.items():
        buffer = io.BytesIO()
        picture.save(buffer, format=form, **options)
        files[name] = buffer.getvalue()
    return files


def can_decode(path):
    try:
        decode(path)
    except PictureError:
        return False
    return True


@pytest.mark.parametrize("way", ["baseline", "progressive", "restarts", "png", "webp", "bmp"])
def test_the_scan_at_an_eighth_condemns_what_decoding_condemns(encoded, way, tmp_path):
    """A file cut anywhere: the verdict is that of the full decoding."""
    whole = encoded[way]
    paths = []
    for part in range(1, 33):
        paths.append(tmp_path / f"{part}.bin")
        paths[-1].write_bytes(whole[: len(whole) * part // 32])
    facts = scan_pictures([str(path) for path in paths], pixels=True, workers=2)
    verdicts = [seen.error is None for seen in facts]
    assert verdicts == [can_decode(path) for path in paths]
    assert verdicts[-1]
    assert not all(verdicts)


def test_the_facts_are_those_of_the_file(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    draw("turned").save(tmp_path / "turned.jpg", exif=exif)
    draw("grey").convert("L").save(tmp_path / "grey.png")
    turned, grey = scan_pictures([str(tmp_path / "turned.jpg"), str(tmp_path / "grey.png")], pixels=True)
    assert (turned.stored, turned.size, turned.turn) == ((64, 48), (48, 64), 6)
    assert grey.mode == "L"
    assert len(grey.greys) == 81
    assert turned.digest != grey.digest


def test_headers_alone_leave_pixels_unread(tmp_path):
    draw("a").save(tmp_path / "a.jpg")
    facts = scan_pictures([str(tmp_path / "a.jpg")], pixels=False)[0]
    assert facts.size == (64, 48)
    assert facts.digest is None


def test_facts_come_in_order_and_progress_is_told(tmp_path):
    for number in range(40):
        draw(f"{number}").resize((10 + number, 10)).save(tmp_path / f"{number}.png")
    told = []
    paths = [str(tmp_path / f"{number}.png") for number in range(40)]
    facts = scan_pictures(paths, pixels=True, workers=3, advance=lambda done, total: told.append((done, total)))
    assert [seen.size for seen in facts] == [(10 + number, 10) for number in range(40)]
    assert told == [(16, 40), (32, 40), (40, 40)]


def test_what_is_no_file_is_an_error_not_an_exception(tmp_path):
    assert "cannot be read" in str(scan_pictures([str(tmp_path)], pixels=True)[0].error)


def test_sixteen_bit_greys_are_scaled_not_cut(tmp_path):
    grey = np.asarray(draw("deep").convert("L"))
    Image.fromarray(grey).save(tmp_path / "plain.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    plain, deep = scan_pictures([str(tmp_path / name) for name in ("plain.png", "deep.png")], pixels=True)
    assert (plain.mode, deep.mode) == ("L", "I;16")
    assert deep.greys == plain.greys


def test_what_training_would_refuse_for_its_parts_is_an_error(tmp_path):
    file = io.BytesIO()
    draw("parts").save(file, "PNG")
    whole = file.getvalue()
    empty = struct.pack(">I", 0) + b"teXt" + struct.pack(">I", zlib.crc32(b"teXt"))
    (tmp_path / "a.png").write_bytes(whole[:33] + empty * 70_000 + whole[33:])
    (facts,) = scan_pictures([str(tmp_path / "a.png")], pixels=True)
    assert "is made of more than" in str(facts.error)


@pytest.mark.parametrize("pixels", [True, False])
@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_frames_of_an_animation_are_counted(tmp_path, form, pixels):
    draw("one").save(tmp_path / "a", form, save_all=True, append_images=[draw("two"), draw("three")])
    (facts,) = scan_pictures([str(tmp_path / "a")], pixels=pixels)
    assert facts.frames == 3
