import io
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from boxwright.runtime import PictureError, PictureTooLarge, UnsupportedPicture, decode
from boxwright.runtime import picture as pictures
from boxwright.runtime.picture import lacks_only_its_end, upright_size

ORIENTATION = 0x0112


def encoded(image, form, **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def gradient(width=40, height=24):
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return Image.fromarray(np.stack([x * 6, y * 10, (x + y) * 3], axis=2).astype(np.uint8))


@pytest.mark.parametrize("form", ["PNG", "BMP", "WEBP"])
def test_lossless_formats_give_the_pixels_back(form):
    options = {"lossless": True} if form == "WEBP" else {}
    assert np.array_equal(decode(encoded(gradient(), form, **options)), gradient())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_comes_out_upright(orientation):
    # what a camera held that way stores: the inverse of what undoes it
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    stored = gradient() if orientation == 1 else gradient().transpose(undo[orientation])
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    decoded = decode(encoded(stored, "PNG", exif=exif))
    assert np.array_equal(decoded, gradient())
    assert np.array_equal(decode(decoded), gradient())  # not turned once more


def test_damaged_exif_shows_the_pixels_as_stored():
    data = encoded(gradient(), "JPEG", exif=b"Exif\0\0garbage")
    assert decode(data).size == gradient().size


def test_sixteen_bit_grey_is_scaled_not_cut():
    deep = np.array([[0, 257 * 100, 65535]], dtype=np.uint16)
    assert np.asarray(decode(encoded(Image.fromarray(deep), "PNG")))[0, :, 0].tolist() == [0, 100, 255]


def test_transparency_lies_over_white():
    image = Image.new("RGBA", (1, 1), (0, 0, 0, 0))
    assert decode(encoded(image, "PNG")).getpixel((0, 0)) == (255, 255, 255)


def test_transparent_palette_lies_over_white():
    image = Image.new("P", (2, 1), 0)
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    decoded = decode(encoded(image, "PNG", transparency=0))
    assert [decoded.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (40, 50, 60)]


def test_cmyk_is_converted():
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    red, green, blue = decode(encoded(image, "JPEG", quality=100)).getpixel((4, 4))
    assert red > 250
    assert max(green, blue) < 5


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_png_mode_gives_rgb(mode):
    assert decode(encoded(Image.new(mode, (5, 4)), "PNG")).mode == "RGB"


def test_arrays_and_pillow_pictures_pass():
    array = np.asarray(gradient())
    assert np.array_equal(decode(array), array)
    assert np.array_equal(decode(gradient()), array)
    assert decode(array[..., 0]).mode == "RGB"


@pytest.mark.parametrize("array", [np.zeros((4, 4, 3)), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)])
def test_other_arrays_are_refused(array):
    with pytest.raises(PictureError, match="array must"):
        decode(array)


def test_pixels_are_counted_before_they_are_decoded():
    header = encoded(gradient(400, 400), "PNG")[:60]  # too short to decode: the header alone decides
    with pytest.raises(PictureTooLarge, match="400 x 400"):
        decode(header, max_pixels=1000)


def test_a_bomb_is_refused_by_its_header():
    bomb = bytearray(encoded(Image.new("1", (8, 8)), "PNG"))
    bomb[16:24] = (60000).to_bytes(4, "big") * 2
    import zlib

    bomb[29:33] = zlib.crc32(bytes(bomb[12:29])).to_bytes(4, "big")
    with pytest.raises(PictureTooLarge):
        decode(bytes(bomb))


@pytest.mark.parametrize("data", [b"", b"hello", b"GIF89a" + b"\0" * 40, b"%PDF-1.4"])
def test_what_is_no_picture_is_unsupported(data):
    with pytest.raises(UnsupportedPicture, match="not a JPEG, PNG, WebP or BMP"):
        decode(data)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "BMP"])
def test_truncated_pictures_are_errors(form):
    data = encoded(gradient(200, 200), form)
    with pytest.raises(PictureError) as caught:
        decode(data[: len(data) // 2])
    assert caught.value.http_status == 400


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(PictureError, match=r"nothing\.jpg"):
        decode(tmp_path / "nothing.jpg")


@given(st.data())
def test_damage_never_gives_another_error(data):
    whole = bytearray(encoded(gradient(), data.draw(st.sampled_from(["JPEG", "PNG", "WEBP", "BMP"]))))
    for _ in range(data.draw(st.integers(1, 8))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert decode(bytes(whole), max_pixels=10**6).mode == "RGB"
    except PictureError as error:
        assert str(error)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("http://127.0.0.1:9/a.jpg", "urls=True"),
        (".", r"Is a directory\. Predictor\.predict takes folders"),
        ("nothing.jpg", r"No such file or directory\. Check the path"),
        (None, "NoneType does not hold a picture"),
        (3, "int does not hold a picture"),
    ],
)
def test_what_is_no_picture_is_told_what_to_be(source, said):
    with pytest.raises(PictureError, match=said):
        decode(source)


def test_bytes_are_called_what_the_caller_calls_them():
    with pytest.raises(UnsupportedPicture, match=r"^Picture #3 is not a JPEG"):
        decode(b"hello", name="#3")


def noisy_jpeg(progressive):
    pixels = np.random.default_rng(3).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize((320, 240)).save(file, "JPEG", quality=90, progressive=progressive)
    return file.getvalue()


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_lacks_its_end_marker_is_whole(progressive):
    whole = noisy_jpeg(progressive)
    for cut in (1, 2):
        assert lacks_only_its_end(whole[:-cut])
        assert decode(whole[:-cut]).tobytes() == decode(whole).tobytes()
    assert not lacks_only_its_end(whole)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("cut", [8, 30, 200, 3000])
def test_a_jpeg_that_lacks_pixels_is_broken(progressive, cut):
    """The decoder would fill them with grey."""
    encoded = noisy_jpeg(progressive)[:-cut]
    assert not lacks_only_its_end(encoded)
    with pytest.raises(PictureError, match="truncated"):
        decode(encoded)


def test_bytes_behind_the_end_are_nothing():
    whole = noisy_jpeg(False)
    assert decode(whole + bytes(500) + b"text").tobytes() == decode(whole).tobytes()


@pytest.mark.parametrize("orientation", [0, 9, 255])
def test_an_orientation_that_means_nothing_turns_nothing(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.new("RGB", (64, 48)).save(file, "JPEG", exif=exif)
    assert decode(file.getvalue()).size == (64, 48)


@pytest.mark.parametrize("read", [decode, upright_size])
def test_a_device_and_a_pipe_are_refused_before_they_are_read(read, tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    for place in ("/dev/zero", tmp_path / "pipe.png"):
        with pytest.raises(PictureError, match="is a pipe or a device"):
            read(place)


def test_no_more_of_a_file_is_read_than_a_picture_can_have(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "MOST_BYTES", 999)
    (tmp_path / "large.png").write_bytes(bytes(1000))
    with pytest.raises(PictureError, match="more than 999 bytes"):
        decode(tmp_path / "large.png")


def test_pillow_pictures_whose_values_have_no_range_are_refused():
    for values in (np.full((4, 4), 0.5, np.float32), np.full((4, 4), 200, np.int32)):
        with pytest.raises(PictureError, match="no known range"):
            decode(Image.fromarray(values))
    assert np.asarray(decode(Image.fromarray(np.full((4, 4), 51400, np.uint16)))).max() == 200
