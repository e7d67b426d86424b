import os
import subprocess
import sys
import weakref

import numpy as np
import pytest
from PIL import Image

from boxwright.inputs.video import VideoWriter, describe_video, is_video, read_video
from boxwright.runtime import PictureError, PictureTooLarge
from support.videos import blocks, plain, write_video

COLOURS = ((220, 30, 30), (30, 220, 30), (30, 30, 220))
TOLERANCE = 12  # of a codec that keeps less colour than brightness


def middle(image):
    return np.asarray(image)[image.height // 2, image.width // 2].astype(int)


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "mp4v"), ("a.AVI", "MJPG"), ("a.mkv", "VP80")])
def test_every_frame_comes_once_in_order_and_in_its_colours(tmp_path, name, codec):
    path = write_video(tmp_path / name, [plain(COLOURS[n // 4]) for n in range(12)], codec=codec)
    assert is_video(path)
    frames = list(read_video(path))
    assert [frame.number for frame in frames] == list(range(12))
    assert [frame.seconds for frame in frames] == pytest.approx([n / 10 for n in range(12)])
    for frame in frames:
        assert (frame.image.mode, frame.image.size) == ("RGB", (64, 48))
        assert np.abs(middle(frame.image) - COLOURS[frame.number // 4]).max() <= TOLERANCE


def test_every_third_frame_keeps_its_number_and_time(tmp_path):
    path = write_video(tmp_path / "a.mp4", [plain(COLOURS[n % 3]) for n in range(10)])
    frames = list(read_video(path, every=3))
    assert [(frame.number, frame.seconds) for frame in frames] == [(0, 0.0), (3, 0.3), (6, 0.6), (9, 0.9)]
    assert all(np.abs(middle(frame.image) - COLOURS[0]).max() <= TOLERANCE for frame in frames)


def test_a_turned_video_comes_out_upright(tmp_path):
    left_is_red = np.hstack([plain(COLOURS[0], 80), plain(COLOURS[2], 80)])
    path = write_video(tmp_path / "a.mp4", [left_is_red] * 3)
    path.write_bytes(turned_clockwise(path.read_bytes()))
    image = next(read_video(path)).image
    assert image.size == (48, 160)
    assert np.abs(np.asarray(image)[20, 24].astype(int) - COLOURS[0]).max() <= TOLERANCE
    assert np.abs(np.asarray(image)[140, 24].astype(int) - COLOURS[2]).max() <= TOLERANCE


def turned_clockwise(video):
    """ISO 14496-12, 8.3.2: the track header's matrix, as a phone held upright writes it."""
    start = video.index(b"tkhd") + 44
    as_it_is = np.array([1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30], ">i4").tobytes()
    turned = np.array([0, 1 << 16, 0, -(1 << 16), 0, 0, 48 << 16, 0, 1 << 30], ">i4").tobytes()
    assert video[start : start + 36] == as_it_is
    return video[:start] + turned + video[start + 36 :]


def test_no_more_than_a_frame_is_held(tmp_path):
    path = write_video(tmp_path / "a.mp4", [plain(COLOURS[0])] * 30)
    references, most = [], 0
    for frame in read_video(path):
        references.append(weakref.ref(frame.image))
        most = max(most, sum(one() is not None for one in references))
    assert len(references) == 30
    assert most <= 2  # the loop's own variable keeps the last one until the next is there


def test_memory_does_not_grow_with_the_video(tmp_path):
    """In pages of 4096 bytes; the frames from the tenth to the last are 60,000."""
    path = write_video(tmp_path / "a.mp4", [plain(COLOURS[0], 1280, 720)] * 100)
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from boxwright.inputs.video import read_video\n"
        "def resident(): return int(Path('/proc/self/statm').read_text().split()[1])\n"
        "kept = []\n"
        "for frame in read_video(sys.argv[1]):\n"
        "    if sys.argv[2] == 'keep': kept.append(frame)\n"
        "    if frame.number == 9: before = resident()\n"
        "print(resident() - before)"
    )
    grown = {
        how: int(subprocess.run([sys.executable, "-c", code, path, how], capture_output=True, check=True).stdout)
        for how in ("keep", "stream")
    }
    assert grown["stream"] < 10_000
    assert grown["keep"] > 40_000  # the measure sees what it should


def test_what_a_container_says(tmp_path):
    path = write_video(tmp_path / "a.mp4", [plain(COLOURS[0])] * 15, rate=12.5)
    assert (describe_video(path).frames, describe_video(path).rate) == (15, 12.5)


def test_a_file_that_does_not_say_its_length_has_none(tmp_path):
    Image.fromarray(plain(COLOURS[0])).save(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").rename(tmp_path / "a.mp4")  # FFmpeg takes it for a stream of one frame
    assert describe_video(tmp_path / "a.mp4").frames is None
    assert len(list(read_video(tmp_path / "a.mp4"))) == 1


def test_a_video_that_ends_early_gives_what_it_has_and_says_so(tmp_path):
    path = write_video(tmp_path / "a.avi", [blocks(n) for n in range(20)], codec="MJPG")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    frames = []
    with pytest.raises(PictureError, match=r"a\.avi' ends after \d+ of its 20 frames"):
        frames.extend(read_video(path))
    assert 5 <= len(frames) < 15


@pytest.mark.parametrize("content", [b"", b"hello", b"\0" * 5000, None], ids=["empty", "text", "zeros", "cut"])
def test_what_is_no_video_is_named(tmp_path, content):
    path = write_video(tmp_path / "a.mp4", [blocks(n) for n in range(5)])
    path.write_bytes(path.read_bytes()[:9000] if content is None else content)
    with pytest.raises(PictureError, match=r"a\.mp4' cannot be decoded"):
        next(read_video(path))


def test_a_video_without_a_whole_frame_is_named(tmp_path):
    path = write_video(tmp_path / "a.mkv", [blocks(n) for n in range(5)], codec="VP80")
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(PictureError, match=r"a\.mkv' has no frame that can be decoded"):
        next(read_video(path))


def test_a_name_that_is_no_unicode_is_refused(tmp_path):
    """OpenCV 5.0 would take the whole process down."""
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.mp4")
    write_video(tmp_path / "a.mp4", [plain(COLOURS[0])]).rename(path)
    with pytest.raises(PictureError, match="path is not Unicode"):
        next(read_video(path))
    with VideoWriter(path, 10) as film, pytest.raises(OSError, match="cannot be written"):
        film.add(Image.new("RGB", (64, 48)))


def test_a_missing_video_is_named(tmp_path):
    with pytest.raises(PictureError, match=r"a\.mp4' cannot be read: No such file"):
        next(read_video(tmp_path / "a.mp4"))


def test_frames_are_as_limited_as_pictures(tmp_path):
    path = write_video(tmp_path / "a.mp4", [plain(COLOURS[0])])
    with pytest.raises(PictureTooLarge, match="64 x 48"):
        next(read_video(path, max_pixels=1000))


def test_what_is_written_is_read_again(tmp_path):
    with VideoWriter(tmp_path / "b.mp4", 12.5) as film:
        for n in range(9):
            film.add(Image.fromarray(plain(COLOURS[n // 3], 65, 49)))
    frames = list(read_video(tmp_path / "b.mp4"))
    assert [frame.image.size for frame in frames] == [(64, 48)] * 9
    assert all(np.abs(middle(one.image) - COLOURS[one.number // 3]).max() <= TOLERANCE for one in frames)
    assert describe_video(tmp_path / "b.mp4").rate == 12.5


def test_a_picture_of_another_size_is_fitted_not_lost(tmp_path):
    with VideoWriter(tmp_path / "b.mp4", 10) as film:
        for side in (64, 128, 48):
            film.add(Image.fromarray(plain(COLOURS[0], side, side)))
    assert [frame.image.size for frame in read_video(tmp_path / "b.mp4")] == [(64, 64)] * 3


def test_a_video_that_cannot_be_written_is_named(tmp_path):
    with VideoWriter(tmp_path / "nowhere" / "b.mp4", 25) as film, pytest.raises(OSError, match="nowhere"):
        film.add(Image.new("RGB", (64, 48)))


def test_without_opencv_the_remedy_is_given(tmp_path):
    code = (
        "import sys; sys.modules['cv2'] = None\n"
        "from boxwright.runtime import MissingDependency\n"
        "from boxwright.inputs.video import read_video\n"
        "try: next(read_video('a.mp4'))\n"
        "except MissingDependency as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "boxwright[video]" in done.stdout, done.stderr
