import os
import zipfile

import numpy as np
import pytest
from PIL import Image

from boxwright.inputs.sources import each_source, picture_names, read_sources
from boxwright.runtime import ConfigError, PictureError
from support.videos import plain, write_video
from support.web import web_server

GREEN = (30, 220, 30)


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "pictures"
    for name in ("b.PNG", "a.jpg", "sub/c.png", "d.jpg/e.png"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(plain(GREEN)).save(place / name)
    (place / ".hidden.jpg").write_bytes(b"what some systems leave beside a picture")
    (place / "notes.txt").write_text("hello")
    return place


def test_a_folder_gives_its_pictures_by_name_without_subfolders(folder):
    for given in (folder, str(folder), [folder]):
        assert list(each_source(given)) == [folder / "a.jpg", folder / "b.PNG"]


def test_pictures_under_other_names_are_known_by_their_content(folder):
    (folder / "c.jfif").write_bytes((folder / "a.jpg").read_bytes())
    (folder / "d.tif").write_bytes((folder / "b.PNG").read_bytes())
    Image.fromarray(plain(GREEN)).save(folder / "e.tiff")
    (folder / "no_suffix").write_bytes((folder / "a.jpg").read_bytes())
    (folder / "broken.jpg").write_bytes(b"broken")  # named when it is read
    names = ["a.jpg", "b.PNG", "broken.jpg", "c.jfif", "d.tif", "no_suffix"]
    assert [path.name for path in each_source(folder)] == names


def test_one_and_many(folder):
    array = plain(GREEN)
    picture = Image.fromarray(array)
    for one in ("a.jpg", folder / "a.jpg", b"bytes", bytearray(b"bytes"), picture, 7):
        assert list(each_source(one)) == [one]
    assert next(each_source(array)) is array
    assert list(each_source(iter([b"a", picture, "c.jpg"]))) == [b"a", picture, "c.jpg"]


def test_a_folder_without_pictures_is_named(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(PictureError, match=r"empty' has no pictures. Looked for .jpg"):
        list(each_source([folder, tmp_path / "empty"]))


def test_each_picture_says_where_it_is_from(folder):
    video = write_video(folder.parent / "v.mp4", [plain(GREEN)] * 5)
    sources = [folder, str(video), plain(GREEN), (folder / "a.jpg").read_bytes(), folder / "a.jpg"]
    read = list(read_sources(sources, every=2))
    a, b = str(folder / "a.jpg"), str(folder / "b.PNG")
    assert [one.source for one in read] == [a, b, *[str(video)] * 3, "#4", "#5", a]
    assert [one.frame for one in read] == [None, None, 0, 2, 4, None, None, None]
    assert [one.seconds for one in read] == [None, None, 0.0, 0.2, 0.4, None, None, None]
    assert all(np.abs(np.asarray(one.image)[20, 20].astype(int) - GREEN).max() < 12 for one in read)


def test_nothing_is_read_before_its_turn(tmp_path):
    given = []

    def sources():
        for n in range(3):
            given.append(n)
            yield plain(GREEN)

    pictures = read_sources(sources())
    assert given == []
    next(pictures)
    assert given == [0]


@pytest.mark.parametrize(("source", "said"), [(7, "int does not hold"), (b"x", "#2 is not a JPEG")])
def test_what_is_no_picture_is_named(source, said):
    with pytest.raises(PictureError, match=said):
        list(read_sources([plain(GREEN), source]))


def test_a_zip_archive_is_named_as_such(tmp_path):
    with zipfile.ZipFile(tmp_path / "shapes.zip", "w") as archive:
        archive.writestr("valid/a.jpg", b"")
    with pytest.raises(PictureError, match=r"shapes\.zip' is a ZIP archive, not a picture\. Unpack it"):
        list(read_sources(tmp_path / "shapes.zip"))


def test_an_open_file_is_not_taken_for_many(folder):
    with (folder / "a.jpg").open("rb") as file, pytest.raises(PictureError, match="BufferedReader does not hold"):
        list(read_sources(file))


def test_urls_are_fetched_if_allowed_and_never_else(folder, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    files = {"/a.jpg": (folder / "a.jpg").read_bytes(), "/text.jpg": b"hello"}
    with web_server(files) as (address, asked):
        with pytest.raises(ConfigError, match=r"is a URL; they are not fetched by default.*--urls .*urls=True"):
            list(read_sources(f"{address}/a.jpg"))
        assert asked == []
        (read,) = read_sources(f"{address}/a.jpg", urls=True)
        assert (read.source, read.image.size) == (f"{address}/a.jpg", (64, 48))
        with pytest.raises(PictureError, match=r"/text\.jpg' is not a JPEG"):
            list(read_sources(f"{address}/text.jpg", urls=True))
        with pytest.raises(PictureError, match=r"/v\.mp4' is not a file. Download it first"):
            list(read_sources(f"{address}/v.mp4", urls=True))
    assert asked == ["/a.jpg", "/text.jpg"]


def test_a_pipe_in_a_folder_is_not_waited_for(folder):
    os.mkfifo(folder / "pipe.png")
    os.mkfifo(folder / "pipe")
    (folder / "gone.png").symlink_to(folder / "nowhere.png")  # named when it is read
    assert picture_names(folder) == ["a.jpg", "b.PNG", "gone.png"]
