"""Paths and URLs: what they are called, and what of them is not shown."""

import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxwright.data import read_folder
from boxwright.host.places import HIDDEN, as_given, in_command, name_of, remember_copy, shown_place, without_secrets
from boxwright.runtime import DataError

SECRETS = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.~%", min_size=20, max_size=40)


@pytest.mark.parametrize(
    ("place", "shown"),
    [
        ("https://host/set.zip", "https://host/set.zip"),
        ("https://host/set.zip?version=3&key=abc", "https://host/set.zip?version=3&key=***"),
        ("https://me:word@host:8443/set.zip", "https://***@host:8443/set.zip"),
        ("https://host/set.zip?x=0123456789abcdef#part", "https://host/set.zip?x=***#part"),
        ("https://host/set.zip?key=", "https://host/set.zip?key="),
        ("https://host/@home/set.zip", "https://host/@home/set.zip"),
        ("ftp://me:word@host/set", "ftp://***@host/set"),
        ("s3://bucket/key=0123456789abcdef?key=1", "s3://bucket/key=0123456789abcdef?key=1"),
        (Path("a folder?key=1"), "a folder?key=1"),
        ("a@b/folder", "a@b/folder"),
    ],
)
def test_passwords_and_keys_of_urls_are_not_shown(place, shown):
    assert shown_place(place) == shown


@given(SECRETS, st.sampled_from(["key", "X-Amz-Signature", "t"]))
def test_no_secret_is_left_in_a_text_and_showing_twice_changes_nothing(secret, name):
    url = f"https://me:{secret}@host/set.zip?version=3&{name}={secret}"
    assert secret not in shown_place(url)
    assert shown_place(shown_place(url)) == shown_place(url)
    told = without_secrets(f"403 for {url}, with {secret}", url)
    assert secret not in told
    assert told == f"403 for {shown_place(url)}, with {HIDDEN}"


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("https://host/sets/fish.zip?key=a/b", "fish.zip"),
        ("https://host/sets/fish/", "fish"),
        ("s3://bucket/sets/what?", "what?"),
        (Path("sets/fish"), "fish"),
    ],
)
def test_a_place_has_the_name_of_its_last_part(place, name):
    assert name_of(place) == name


def test_copies_are_called_what_they_are_copies_of(tmp_path):
    remember_copy(tmp_path / "stores" / "set.zip", "https://me:word@host/set.zip")
    remember_copy(tmp_path / "zips" / "a set", tmp_path / "stores" / "set.zip")
    remember_copy(tmp_path / "zips" / "b", "it's mine.zip")
    assert as_given(f"{tmp_path}/zips/a set/train: missing") == "https://***@host/set.zip/train: missing"
    assert as_given(f"check {tmp_path}/zips/b", in_commands=True) == """check 'it'"'"'s mine.zip'"""
    assert as_given(f"check '{tmp_path}/zips/a set'", in_commands=True) == "check 'https://***@host/set.zip'"
    remember_copy(tmp_path / "zips" / "c", "-c.zip")
    assert as_given(f"check {tmp_path}/zips/c", in_commands=True) == "check ./-c.zip"
    assert as_given(f"{tmp_path}/zips/other") == f"{tmp_path}/zips/other"


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
