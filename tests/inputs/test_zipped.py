"""Data sets in ZIP archives: unpacked once, whole, and never beyond the cache."""

import gzip
import io
import os
import stat
import struct
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from boxwright.data import check
from boxwright.host.places import in_command
from boxwright.inputs import zipped
from boxwright.inputs.zipped import is_zip, starts_packed, unzipped
from boxwright.runtime import BoxwrightError, ConfigError, DataError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "boxwright" / "zips"


def pack(path, members, method=zipfile.ZIP_DEFLATED):
    """An archive of members by name; a ZipInfo may stand for a name."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items() if isinstance(members, dict) else members:
            archive.writestr(name, content)
    return path


def pack_folder(path, folder, below=""):
    files = [one for one in sorted(Path(folder).rglob("*")) if one.is_file()]
    return pack(path, {f"{below}{one.relative_to(folder).as_posix()}": one.read_bytes() for one in files})


def link(name):
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


def test_what_a_file_is_packed_by_is_seen_in_one_reading(tmp_path, monkeypatch):
    whole = pack(tmp_path / "a.zip", {"a.txt": b"a" * 2000}, zipfile.ZIP_STORED).read_bytes()
    files = {"whole.zip": whole, "cut.zip": whole[:1500], "a.gz": gzip.compress(b"a"), "a.json": b"{}", "empty": b""}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    opened = []
    real = io.open
    monkeypatch.setattr(io, "open", lambda file, *rest, **more: opened.append(file) or real(file, *rest, **more))
    said = {name: starts_packed(tmp_path / name) for name in files}
    assert [str(one) for one in opened if str(one).startswith(str(tmp_path))] == [str(tmp_path / one) for one in files]
    assert {name for name, one in said.items() if one is not None} == {"cut.zip", "a.gz"}
    assert starts_packed(tmp_path / "missing") is None


@pytest.mark.parametrize("below", ["", "aquarium.v2/"])
def test_a_data_set_in_an_archive_is_the_one_in_the_folder(tmp_path, demo_data, below):
    archive = pack_folder(tmp_path / "roboflow.zip", demo_data, below)
    assert is_zip(archive)
    folder = unzipped(archive)
    assert {one.relative_to(folder) for one in folder.rglob("*")} == {
        one.relative_to(demo_data) for one in demo_data.rglob("*")
    }
    ours, theirs = check(folder), check(demo_data)
    assert [str(one) for one in ours.findings] == [str(one) for one in theirs.findings]
    assert ours.classes == theirs.classes


def test_it_is_unpacked_once_wherever_it_lies(tmp_path, cache):
    members = {"train/a.txt": b"a", "train/b/c.txt": b"c" * 10}
    told = []
    first = unzipped(pack(tmp_path / "set.zip", members), lambda done, total: told.append((done, total)))
    assert told[-1] == (11, 11)
    (first / "train" / "a.txt").write_text("mine")
    (tmp_path / "moved").mkdir()
    again = unzipped((tmp_path / "set.zip").rename(tmp_path / "moved" / "set.zip"), told.append)
    assert again == first
    assert (first / "train" / "a.txt").read_text() == "mine"
    other = unzipped(pack(tmp_path / "set.zip", {"train/a.txt": b"b"}))
    assert other != first
    assert sorted(cache.glob("*/*")) == sorted([first, other])
    assert first.name == other.name == "set"


BAD_NAMES = ["../a", "a/../../b", "/etc/passwd", "a\\..\\b", "C:/a", "\x00b", "train/a\nb", f"{'n' * 300}.txt"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_leads_elsewhere_is_refused(tmp_path, cache, name):
    archive = tmp_path / "bad.zip"
    marker = b"placeholder.name.of.a.member".ljust(len(name.encode()), b"x")[: len(name.encode())]
    pack(archive, {"train/fine.txt": b"fine", marker.decode(): b"bad"}, zipfile.ZIP_STORED)
    archive.write_bytes(archive.read_bytes().replace(marker, name.encode()))  # as zipfile would not write it
    with pytest.raises(DataError):
        unzipped(archive)
    assert not any(cache.rglob("*")) if cache.exists() else True


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.lists(
        st.text(alphabet="./\\ab:\x00\x1f ü", min_size=1, max_size=12),
        min_size=1,
        max_size=4,
        unique_by=lambda name: name.split("\x00")[0],
    )
)
def test_nothing_is_ever_written_outside(tmp_path_factory, names):
    place = tmp_path_factory.mktemp("any")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(place / "cache"))
        archive = pack(place / "any.zip", [(zipfile.ZipInfo(name), b"x") for name in names])
        try:
            folder = unzipped(archive)
        except BoxwrightError:
            folder = None
    found = [one for one in place.rglob("*") if one.is_file() and one != archive]
    assert all(one.is_relative_to(place / "cache" / "boxwright" / "zips") for one in found)
    assert folder is not None or not found


def test_links_are_refused(tmp_path):
    with pytest.raises(DataError, match="a link or a device"):
        unzipped(pack(tmp_path / "a.zip", [("train/a.txt", b""), (link("train/b"), b"/etc/passwd")]))


def test_two_files_of_one_name_are_refused(tmp_path):
    with pytest.raises(DataError, match="there twice"):
        unzipped(pack(tmp_path / "a.zip", {"train/a.txt": b"1", "train/A.txt": b"2"}))


def test_a_bomb_is_refused_before_anything_is_written(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(zipped, "_SMALL", 2**16)
    with pytest.raises(DataError, match="would become"):
        unzipped(pack(tmp_path / "a.zip", {"train/a.jpg": bytes(2**20)}))
    assert not cache.exists()


def test_members_that_overlap_are_refused(tmp_path):
    archive = pack(tmp_path / "a.zip", {"train/a": b"x" * 100, "train/b": b"x" * 100}, zipfile.ZIP_STORED)
    content = bytearray(archive.read_bytes())
    second = content.rindex(b"PK\x01\x02")
    content[second + 42 : second + 46] = struct.pack("<I", 0)  # its offset: that of the first
    content[second + 20 : second + 28] = struct.pack("<II", 10**6, 10**6)  # its sizes
    archive.write_bytes(content)
    with pytest.raises(DataError):
        unzipped(archive)


def test_an_encrypted_archive_is_refused(tmp_path):
    archive = pack(tmp_path / "a.zip", {"train/a": b"secret"})
    content = bytearray(archive.read_bytes())
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + at] |= 1
    archive.write_bytes(content)
    with pytest.raises(DataError, match="encrypted"):
        unzipped(archive)


def test_a_damaged_archive_leaves_nothing(tmp_path, cache):
    archive = pack(tmp_path / "a.zip", {"train/a": os.urandom(5000), "train/b": os.urandom(5000)})
    content = bytearray(archive.read_bytes())
    content[6000] ^= 0xFF
    archive.write_bytes(content)
    with pytest.raises(DataError, match="cannot be unpacked"):
        unzipped(archive)
    assert list(cache.iterdir()) == []


def test_without_room_it_says_how_much_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(zipped, "_MARGIN", 2**60)
    with pytest.raises(ConfigError, match="and the disk of"):
        unzipped(pack(tmp_path / "a.zip", {"train/a": b"x"}))


def test_what_is_no_archive_is_none(tmp_path):
    (tmp_path / "a.zip").write_text("not a zip")
    assert not is_zip(tmp_path / "a.zip")
    assert not is_zip(tmp_path)
    assert not is_zip(tmp_path / "nothing")
    with pytest.raises(DataError, match="cannot be unpacked"):
        unzipped(tmp_path / "a.zip")


def without_flag(archive):
    """The archive with names in UTF-8, but without the flag that says so, as macOS packs it."""
    content = bytearray(archive.read_bytes())
    for mark, at in ((b"PK\x03\x04", 7), (b"PK\x01\x02", 9)):
        place = -1
        while (place := content.find(mark, place + 1)) >= 0:
            content[place + at] &= ~0x08
    archive.write_bytes(content)
    return archive


def test_names_in_utf_8_are_read_without_the_flag(tmp_path):
    folder = unzipped(without_flag(pack(tmp_path / "a.zip", {"train/Küste.png": b"a", "train/b.png": b"b"})))
    assert sorted(one.name for one in (folder / "train").iterdir()) == ["Küste.png", "b.png"]


def test_names_of_old_systems_stay_theirs(tmp_path):
    archive = pack(tmp_path / "a.zip", {"train/K_ste.png": b"a"})
    archive.write_bytes(archive.read_bytes().replace(b"K_ste", "Küste".encode("cp437")))
    assert (unzipped(archive) / "train" / "Küste.png").is_file()


def test_a_name_that_is_not_the_utf_8_it_says_is_told(tmp_path):
    archive = pack(tmp_path / "a.zip", {"train/ü.png": b"a"})
    archive.write_bytes(archive.read_bytes().replace("ü".encode(), b"\xff\xff"))
    with pytest.raises(DataError, match=r"a\.zip: the name of member b'train/\\xff\\xff\.png' is not UTF-8") as refused:
        unzipped(archive)
    assert in_command(archive) in refused.value.remedy


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_member_is_named(tmp_path, method):
    archive = pack(tmp_path / "a.zip", {"train/a": b"a", "train/b": os.urandom(5000)}, method)
    content = bytearray(archive.read_bytes())
    content[1000:1100] = bytes(100)
    archive.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.zip: member 'train/b' cannot be unpacked") as refused:
        unzipped(archive)
    assert refused.value.remedy == "Download it again."


def test_a_method_that_is_not_known_is_left_to_other_programs(tmp_path):
    archive = pack(tmp_path / "a.zip", {"train/a": b"a"}, zipfile.ZIP_STORED)
    content = bytearray(archive.read_bytes())
    for mark, at in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        content[content.index(mark) + at] = 9  # Deflate64, as Windows packs what is large
    archive.write_bytes(content)
    with pytest.raises(DataError, match="cannot be unpacked here") as refused:
        unzipped(archive)
    assert refused.value.remedy.startswith("Unpack it yourself")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("train/a", "train/a/b.txt"), "'train/a' is a file and a folder"),
        (("train/./a.txt", "train/a.txt"), "'train/a.txt' is there twice"),
    ],
)
def test_what_has_no_place_beside_another_is_refused_by_name(tmp_path, names, said):
    with pytest.raises(DataError, match=said):
        unzipped(pack(tmp_path / "a.zip", dict.fromkeys(names, b"1")))


def test_a_folder_that_was_packed_as_a_point_is_read(tmp_path):
    assert (unzipped(pack(tmp_path / "a.zip", {"./train/a.txt": b"1"})) / "train" / "a.txt").is_file()
