import os
import resource
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image

from boxwright.data.cache import HEAD, cache_place, content_digests, disk_cache, ram_cache, slot_bytes
from boxwright.runtime import ConfigError, DataError, InputSpec, preprocess

SPEC = InputSpec(96, 128)

WRITER = """
import sys
from pathlib import Path
import torch
from boxwright.data.cache import content_digests, disk_cache
from boxwright.runtime import InputSpec, preprocess
folder, data = Path(sys.argv[1]), Path(sys.argv[2])
paths, spec = sorted(data.glob("*.jpg")), InputSpec(1024, 1024)
cache = disk_cache(folder, data, "train", content_digests(paths), spec)
canvases = [torch.from_numpy(preprocess(path, spec)[0]) for path in paths]
print("writing", flush=True)
while True:
    for index, path in enumerate(paths):
        cache.write(index, canvases[index], path)
"""


@pytest.fixture
def pictures(tmp_path):
    """Six pictures, each its own."""
    folder = tmp_path / "data"
    folder.mkdir()
    return [draw(folder / f"{number}.jpg", number) for number in range(6)]


def draw(path, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((64, 48)).save(path)
    return path


def expected(path, spec=SPEC):
    return torch.from_numpy(preprocess(path, spec)[0])


def read(cache, index, spec=SPEC):
    """The canvas, or None."""
    canvas = torch.empty(3, spec.height, spec.width, dtype=torch.uint8)
    return canvas if cache.read(index, canvas) else None


def filled(folder, pictures, spec=SPEC):
    cache = disk_cache(folder, pictures[0].parent, "train", content_digests(pictures), spec)
    for index, path in enumerate(pictures):
        if read(cache, index, spec) is None:
            assert cache.write(index, expected(path, spec), path)
    return cache


def reopened(folder, pictures, spec=SPEC):
    return disk_cache(folder, pictures[0].parent, "train", content_digests(pictures), spec)


def assert_right(cache, pictures, spec=SPEC):
    """What is there is right; returns how many that are."""
    found = [read(cache, index, spec) for index in range(len(pictures))]
    pairs = [(one, path) for one, path in zip(found, pictures, strict=True) if one is not None]
    assert all(torch.equal(one, expected(path, spec)) for one, path in pairs)
    return len(pairs)


def test_a_later_training_finds_every_canvas(tmp_path, pictures):
    first = filled(tmp_path / "cache", pictures)
    assert (first.filled, len(first), first.size) == (6, 6, 6 * slot_bytes(SPEC))
    first.close()
    later = reopened(tmp_path / "cache", pictures)
    assert later.filled == 6
    assert assert_right(later, pictures) == 6


def test_the_same_picture_twice_has_one_slot(tmp_path, pictures):
    shutil.copy(pictures[0], pictures[1])
    cache = disk_cache(tmp_path / "cache", tmp_path, "train", content_digests(pictures), SPEC)
    cache.write(0, expected(pictures[0]), pictures[0])
    assert torch.equal(read(cache, 1), expected(pictures[1]))
    assert cache.size == 5 * slot_bytes(SPEC)


def test_a_changed_picture_is_seen(tmp_path, pictures):
    filled(tmp_path / "cache", pictures)
    draw(pictures[2], 99)
    later = reopened(tmp_path / "cache", pictures)
    assert read(later, 2) is None
    assert assert_right(later, pictures) == 5


def test_a_picture_changed_after_opening_is_not_kept(tmp_path, pictures):
    cache = reopened(tmp_path / "cache", pictures)
    draw(pictures[2], 99)
    assert not cache.write(2, expected(pictures[2]), pictures[2])
    pictures[3].unlink()
    assert not cache.write(3, torch.zeros(3, 96, 128, dtype=torch.uint8), pictures[3])
    assert cache.filled == 0


def test_other_orders_and_new_pictures_keep_what_is_there(tmp_path, pictures):
    filled(tmp_path / "cache", pictures)
    more = [draw(pictures[0].parent / "new.jpg", 50), *reversed(pictures)]
    later = reopened(tmp_path / "cache", more)
    assert read(later, 0) is None
    assert assert_right(later, more) == 6
    fewer = pictures[2:]
    assert assert_right(reopened(tmp_path / "cache", fewer), fewer) == 4


def test_who_has_a_cache_open_is_not_disturbed_by_another_opening(tmp_path, pictures):
    held = filled(tmp_path / "cache", pictures)
    others = [draw(path, 100 + number) for number, path in enumerate(pictures)]
    filled(tmp_path / "cache", others)
    again = [draw(path, number) for number, path in enumerate(pictures)]
    assert assert_right(held, again) == 6


def test_a_file_of_mostly_gone_pictures_is_replaced(tmp_path, pictures):
    filled(tmp_path / "cache", pictures)
    sizes = []
    for round_ in range(1, 6):
        drawn = [draw(path, 100 * round_ + number) for number, path in enumerate(pictures)]
        cache = filled(tmp_path / "cache", drawn)
        assert assert_right(cache, drawn) == 6
        sizes += [path.stat().st_size for path in (tmp_path / "cache").iterdir()]
    assert len(sizes) == 5
    assert max(sizes) <= 3 * 6 * slot_bytes(SPEC)


@pytest.mark.parametrize(
    "other", [InputSpec(128, 96), InputSpec(96, 128, "stretch"), InputSpec(96, 128, pad=(1, 2, 3))]
)
def test_canvases_do_not_mix(tmp_path, pictures, other):
    filled(tmp_path / "cache", pictures)
    assert reopened(tmp_path / "cache", pictures, other).filled == 0
    assert assert_right(filled(tmp_path / "cache", pictures, other), pictures, other) == 6
    assert assert_right(reopened(tmp_path / "cache", pictures), pictures) == 6


def test_pixels_lost_in_a_power_cut_are_noticed_and_mended(tmp_path, pictures):
    """The state reached the disk, some of the pixels did not."""
    filled(tmp_path / "cache", pictures)
    (path,) = (tmp_path / "cache").iterdir()
    with path.open("r+b") as file:
        file.seek(2 * slot_bytes(SPEC) + HEAD.size + 4096)
        file.write(bytes(4096))
    later = reopened(tmp_path / "cache", pictures)
    assert later.filled == 6
    assert read(later, 2) is None
    assert assert_right(later, pictures) == 5
    assert later.write(2, expected(pictures[2]), pictures[2])
    assert assert_right(reopened(tmp_path / "cache", pictures), pictures) == 6


def test_a_file_cut_short_is_a_miss(tmp_path, pictures):
    cache = filled(tmp_path / "cache", pictures)
    (path,) = (tmp_path / "cache").iterdir()
    os.truncate(path, 4 * slot_bytes(SPEC) - 1)
    assert assert_right(cache, pictures) == 3
    assert assert_right(reopened(tmp_path / "cache", pictures), pictures) == 3


def test_a_file_cut_short_does_not_grow_back_as_black_pictures(tmp_path, pictures):
    cache = filled(tmp_path / "cache", pictures)
    assert assert_right(cache, pictures) == 6
    (path,) = (tmp_path / "cache").iterdir()
    os.truncate(path, slot_bytes(SPEC) + HEAD.size + 5000)  # within the pixels of the second slot
    assert not cache.write(4, expected(pictures[4]), pictures[4])
    assert path.stat().st_size < 2 * slot_bytes(SPEC)
    assert assert_right(cache, pictures) == 1
    assert cache.write(1, expected(pictures[1]), pictures[1])  # its key is still there
    assert assert_right(cache, pictures) == 2


def test_a_file_cut_short_and_used_by_another_is_a_miss_for_who_had_it_open(tmp_path, pictures):
    """The other gives slots anew, to its own pictures; neither takes one of the other's for its own."""
    held = filled(tmp_path / "cache", pictures)
    assert assert_right(held, pictures) == 6
    (path,) = (tmp_path / "cache").iterdir()
    os.truncate(path, 0)
    backwards = pictures[::-1]
    other = reopened(tmp_path / "cache", backwards)
    assert assert_right(held, pictures) == 0  # room for all, but holes
    for index in range(3):
        assert other.write(index, expected(backwards[index]), backwards[index])
        assert not held.write(index, expected(pictures[index]), pictures[index])
    assert assert_right(held, pictures) == 0
    assert assert_right(other, backwards) == 3


def test_a_writer_killed_half_way_leaves_right_pictures(tmp_path, pictures):
    """Three times, at three moments of writing 3 MiB a slot; another reads the same file meanwhile."""
    spec, folder = InputSpec(1024, 1024), tmp_path / "cache"
    for delay in (0.0, 0.003, 0.011):
        shutil.rmtree(folder, ignore_errors=True)
        command = [sys.executable, "-c", WRITER, str(folder), str(pictures[0].parent)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "writing\n"
        time.sleep(delay)
        reader = reopened(folder, pictures, spec)
        assert_right(reader, pictures, spec)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)
        assert_right(reopened(folder, pictures, spec), pictures, spec)
    assert assert_right(filled(folder, pictures, spec), pictures, spec) == 6


def open_files():
    """What this process has open, by descriptor."""
    names = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
    return {name: os.readlink(name) for name in names if os.path.exists(name) or os.path.islink(name)}


def test_ram_has_no_name_and_is_gone_when_closed(pictures):
    before = open_files()
    cache = ram_cache(content_digests(pictures), SPEC)
    for index, path in enumerate(pictures):
        assert cache.write(index, expected(path), path)
    assert assert_right(cache, pictures) == 6
    (place,) = [place for name, place in open_files().items() if name not in before and "torch" not in place]
    assert place.startswith("/dev/shm/")
    assert place.endswith("(deleted)")
    cache.close()
    cache.close()
    assert place not in open_files().values()


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path, pictures):
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file" / "cache", cache_place(tmp_path / "file")):
        with pytest.raises(ConfigError, match="cache_dir") as caught:
            reopened(folder, pictures)
        assert str(folder) in caught.value.message


def test_a_disk_without_room_is_told_beforehand(tmp_path):
    digests = [number.to_bytes(32, "big") for number in range(40_000)]
    with pytest.raises(ConfigError, match=r"needs \d+ MiB more, \d+ MiB are free.*cache_dir"):
        disk_cache(tmp_path, tmp_path, "train", digests, InputSpec(8192, 8192))


def test_a_limit_met_while_reserving_is_told_and_leaves_no_file_open(tmp_path, pictures):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    opened = open_files()
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(ConfigError, match="cannot hold a cache: File too large"):
            reopened(tmp_path / "cache", pictures)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert open_files() == opened


def test_memory_without_room_is_told_beforehand():
    digests = [number.to_bytes(32, "big") for number in range(40_000)]
    with pytest.raises(ConfigError, match=r"cache = 'ram'.*of memory are free"):
        ram_cache(digests, InputSpec(8192, 8192))


def test_where_caches_lie(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_place(None) == tmp_path / "boxwright"
    assert cache_place(tmp_path / "here") == tmp_path / "here"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_place(None).parts[-2:] == (".cache", "boxwright")


def test_a_missing_picture_has_no_digest(tmp_path):
    with pytest.raises(DataError, match=r"gone\.jpg"):
        content_digests([tmp_path / "gone.jpg"])
