"""Paths in the commands that are printed for people to paste."""

import shlex
from pathlib import Path

import pytest

from boxwright.data import read_folder
from boxwright.host.console import in_command
from boxwright.runtime import DataError


@pytest.mark.parametrize("name", ["data", "-data", "--help", "my data", "it's", "-a b"])
def test_a_path_in_a_command_is_one_word_and_no_option(name):
    (word,) = shlex.split(in_command(Path(name)))
    assert not word.startswith("-")
    assert Path(word) == Path(name)


def test_what_is_as_it_should_be_stays(tmp_path):
    assert in_command(tmp_path) == str(tmp_path)
    assert in_command("s3://bucket/data") == "s3://bucket/data"


def test_an_error_leads_to_a_folder_whose_name_begins_with_a_dash(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for split in ("train", "valid"):
        folder = Path("-data", split)
        folder.mkdir(parents=True)
        (folder / "_annotations.coco.json").write_text("no JSON")
    with pytest.raises(DataError, match=r"See: boxwright check \./-data"):
        read_folder(Path("-data"))
