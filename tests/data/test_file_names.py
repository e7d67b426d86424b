"""Which file a written name means."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxwright.data.file_names import FolderNames, Found, is_hidden, is_other_picture_name


@pytest.fixture
def folder(tmp_path):
    def make(*names):
        for name in names:
            (tmp_path / "split" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "split" / name).write_bytes(b"")
        return FolderNames(tmp_path / "split")

    return make


MEANT = {
    "a.jpg": "a.jpg",
    "./images/b c.jpg": "images/b c.jpg",
    "images\\b c.jpg": "images/b c.jpg",
    "images%5Cb%20c.jpg": "images/b c.jpg",
    "IMAGES/B C.JPG": "images/b c.jpg",
    "b c.jpg": "images/b c.jpg",
    "train/images/b c.jpg": "images/b c.jpg",
    "/content/drive/My Drive/images/b c.jpg": "images/b c.jpg",
    "C:\\Users\\me\\images\\b c.jpg": "images/b c.jpg",
    "\\\\server\\share\\images\\b c.jpg": "images/b c.jpg",
    "..\\..\\media\\upload\\4\\b c.jpg": "images/b c.jpg",
    "https://host.example/f/b%20c.jpg?key=1": "images/b c.jpg",
    "/data/local-files/?d=images%5Cb%20c.jpg": "images/b c.jpg",
    "Gro\u0308\u00dfe.jpg": "Gr\u00f6\u00dfe.jpg",
    " a.jpg": "a.jpg",
}


@pytest.mark.parametrize("written", MEANT)
def test_a_name_means_the_file_that_shares_most_of_its_end(folder, written):
    found = folder("a.jpg", "images/b c.jpg", "Gr\u00f6\u00dfe.jpg").find(written)
    assert found.name == MEANT[written]
    assert found.guessed is (written not in ("a.jpg", "./images/b c.jpg"))


def test_the_longest_common_end_decides(folder):
    names = folder("one/images/a.jpg", "two/images/a.jpg", "b/a.jpg")
    assert names.find("/x/two/images/a.jpg").name == "two/images/a.jpg"
    assert names.find("images/a.jpg").candidates == ("one/images/a.jpg", "two/images/a.jpg")
    assert names.find("a.jpg").candidates == ("b/a.jpg", "one/images/a.jpg", "two/images/a.jpg")


def test_of_spellings_the_exact_one_is_meant(folder):
    names = folder("a.jpg", "A.jpg")
    assert names.find("a.jpg") == Found("a.jpg")
    assert names.find("a.JPG").candidates == ("A.jpg", "a.jpg")


def test_a_name_that_leads_to_a_real_file_elsewhere_means_nothing_here(folder, tmp_path):
    names = folder("a.jpg")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.jpg").write_bytes(b"")
    assert names.find("../other/a.jpg") == Found(None, outside=True)
    assert names.find(str(tmp_path / "other" / "a.jpg")) == Found(None, outside=True)
    assert names.find(str(tmp_path / "split" / "a.jpg")) == Found("a.jpg", guessed=True)
    assert names.find("../gone/b.jpg") == Found(None, outside=True)
    assert names.find("b.jpg") == Found(None)


def test_a_file_belongs_to_its_own_name(folder):
    """``day2/1.jpg`` is not the ``day1/1.jpg`` that another entry lists: its boxes would land on the wrong picture."""
    names = folder("day1/1.jpg", "3.jpg")
    found = names.resolve(["day1/1.jpg", "day2/1.jpg", "x/3.jpg", "y/3.jpg"])
    assert found["day1/1.jpg"] == Found("day1/1.jpg")
    assert [found[name].name for name in ("day2/1.jpg", "x/3.jpg", "y/3.jpg")] == [None, None, None]


def test_spellings_of_one_name_are_one_file(folder):
    found = folder("images/a.jpg").resolve(["images\\a.jpg", "IMAGES/a.jpg"])
    assert {one.name for one in found.values()} == {"images/a.jpg"}


def test_hidden_files_are_nobodys(folder):
    names = folder("sub/._a.jpg", "__MACOSX/a.jpg", ".cache/a.jpg")
    assert names.files == ()
    assert names.find("a.jpg") == Found(None)
    assert all(map(is_hidden, ("._a.jpg", "x/.DS_Store", "Thumbs.db", "__MACOSX/a.jpg")))
    assert not is_hidden("a.b/c.jpg")


@pytest.mark.parametrize("name", ["a.HEIC", "a.dng", "a.jxl", "a.gif", "a.tiff", "a.avif", "a.mpo"])
def test_other_pictures_are_known_by_their_suffix(name):
    assert is_other_picture_name(name)


@pytest.mark.parametrize("name", ["a.jpg", "a.PNG", "a.txt", "a", "a.json", "a.pdf", "labels.cache"])
def test_what_is_read_and_what_is_no_picture_is_not_among_them(name):
    assert not is_other_picture_name(name)


@given(st.text(max_size=40))
def test_any_text_gives_an_answer(tmp_path_factory, written):
    names = FolderNames(tmp_path_factory.getbasetemp())
    found = names.find(written.replace("\0", ""))
    assert found.name is None or names.holds(found.name)


@given(
    st.text(
        st.characters(codec="utf-8", exclude_characters="/\\\0%?:", exclude_categories=("Cc",)), min_size=1, max_size=20
    )
)
def test_every_normal_form_is_found(tmp_path_factory, stem):
    place = tmp_path_factory.mktemp("form")
    name = unicodedata.normalize("NFC", f"x{stem.strip()}x.jpg")
    (place / name).write_bytes(b"")
    assert FolderNames(place).find(unicodedata.normalize("NFD", name)).name == name


@pytest.mark.parametrize(
    ("here", "written", "meant"),
    [
        ("a.jpg", "a.jpeg", "a.jpg"),
        ("a.jpg", "a.png", "a.jpg"),
        ("a.jpg", "a.HEIC", "a.jpg"),
        ("a.jpg", "a", "a.jpg"),
        ("a.JPG", "C:\\data\\a.png", "a.JPG"),
        ("a.jpg", "/data/upload/12/ab12cd34-a.jpg", "a.jpg"),
        ("ab12cd34-a.jpg", "a.jpg", "ab12cd34-a.jpg"),
        ("ab12cd34-a.jpg", "ab12cd34-a.png", "ab12cd34-a.jpg"),
        ("ab12cd34-a.jpg", "00000000-a.jpg", None),  # two hashes are two files
        ("a-ab12cd34-b.jpg", "a-b.jpg", None),  # no hash stands in the middle
        ("a.png b.jpg", "a.jpg", None),  # the other pictures are JPEG: this one is missing, and a.png may be its mask
        ("a.png a.bmp", "a.jpg", ("a.bmp", "a.png")),
        ("a.xml", "a.jpg", None),
        ("a.jpg", "a.xml", None),
    ],
)
def test_a_picture_of_another_format_or_behind_a_hash(tmp_path, here, written, meant):
    for name in here.split():
        (tmp_path / name).touch()
    found = FolderNames(tmp_path).find(written)
    assert found.candidates == (meant if isinstance(meant, tuple) else ())
    assert found.name == (None if isinstance(meant, tuple) else meant)
    assert found.guessed == isinstance(meant, str)
