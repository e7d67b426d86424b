"""Files that are whole or not there at all."""

import os

import pytest

from boxwright.host.files import writing


def test_a_file_is_whole_or_as_it_was(tmp_path):
    (tmp_path / "a.json").write_text("before")
    with pytest.raises(UnicodeEncodeError), writing(tmp_path / "a.json") as part:
        part.write_text("half \udcff")
    assert (tmp_path / "a.json").read_text() == "before"
    with writing(tmp_path / "new" / "b.json") as part:
        part.write_text("whole")
        assert not (tmp_path / "new" / "b.json").exists()
    assert [one.name for one in (tmp_path / "new").iterdir()] == ["b.json"]


def test_links_and_pipes_are_written_through(tmp_path):
    (tmp_path / "a.json").write_text("before")
    (tmp_path / "link").symlink_to(tmp_path / "a.json")
    with writing(tmp_path / "link") as part:
        part.write_text("after")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "a.json").read_text() == "after"
    os.mkfifo(tmp_path / "pipe")
    with writing(tmp_path / "pipe") as part:
        assert part == tmp_path / "pipe"
