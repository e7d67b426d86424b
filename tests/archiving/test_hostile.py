"""A hostile archive is refused with one clear error and no side effect, whichever way it comes in."""

import io
import json
import random
import re
import sys

import pytest
from PIL import Image
from rich.console import Console

import boxwright
from boxwright.cli import main
from boxwright.cli.archive import print_contents
from boxwright.runtime import ArchiveError, open_bundle
from boxwright.runtime.bundle import SPEC
from support.command_line import boxwright as command
from support.hostile_archives import HOSTILE, listed, packed, reason, small_members, snapshot

MUTATIONS = 400
VERBS = (
    ["predict", "{}", "../in/picture.png"],
    ["serve", "{}", "--port", "0"],
    ["archive", "--inspect", "{}"],
)


@pytest.fixture(scope="module")
def members(mar):
    return small_members(mar)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working folder of one's own, temporary files included; the archive goes into ``in``."""
    for name in ("in", "cwd", "tmp"):
        (tmp_path / name).mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "in" / "picture.png")
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    return tmp_path


def assert_refused(mar, place, monkeypatch, capsys, match):
    """Through every way in: from Python, and by the verbs that open archives."""
    before = snapshot(place)
    for way in (open_bundle, boxwright.Predictor, boxwright.inspect):
        with pytest.raises(ArchiveError, match=r"hostile\.mar") as caught:
            way(mar)
        assert len(str(caught.value).splitlines()) == 1
        assert re.search(match, str(caught.value)), str(caught.value)
    for verb in (
        ["predict", mar, place / "in" / "picture.png"],
        ["serve", mar, "--port", 0],
        ["archive", "--inspect", mar],
    ):
        monkeypatch.setattr(sys, "argv", ["boxwright", *map(str, verb)])
        with pytest.raises(SystemExit) as left:
            main()
        printed = capsys.readouterr()
        assert (left.value.code, printed.out) == (2, ""), printed
        assert printed.err.startswith("Error: "), printed.err
        assert printed.err.count("\n") == 1, printed.err
    assert snapshot(place) == before


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_archive_is_refused_and_leaves_no_trace(members, place, monkeypatch, capsys, what):
    mar = place / "in" / "hostile.mar"
    mar.write_bytes(HOSTILE[what](members, place / "canary"))
    assert_refused(mar, place, monkeypatch, capsys, reason(what))


def test_a_folder_with_an_archives_name_is_refused(place, monkeypatch, capsys):
    (place / "in" / "hostile.mar").mkdir()
    assert_refused(place / "in" / "hostile.mar", place, monkeypatch, capsys, "folder|holds neither")


def test_the_good_archive_they_are_made_of_is_accepted(members, tmp_path):
    mar = tmp_path / "good.mar"
    mar.write_bytes(packed(members, deflated=members))
    assert open_bundle(mar).read("handler.py") == members["handler.py"]
    assert {member.name for member in boxwright.inspect(mar).members} == set(members) - {"MAR-INF/SHA256SUMS"}


@pytest.mark.parametrize(
    "verb", [["predict", "{}", "../in/picture.png"], ["serve", "{}"], ["archive", "--inspect", "{}"]]
)
def test_the_command_says_one_line_and_no_traceback(members, place, verb):
    mar = place / "in" / "hostile.mar"
    mar.write_bytes(HOSTILE["pickle with code"](members, place / "canary"))
    before = snapshot(place)
    done = command(*(word.format(mar) for word in verb))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert snapshot(place) == before


def mutate(content, chance):
    """One of: a bit flipped, bytes cut, inserted, swapped, zeroed; more often near the directory at the end."""
    content = bytearray(content)
    tail = len(content) - 4000
    where = chance.randrange(tail, len(content)) if chance.random() < 0.5 else chance.randrange(len(content))
    length = chance.choice((1, 2, 4, 16, 300))
    kind = chance.randrange(5)
    if kind == 0:
        content[where] ^= 1 << chance.randrange(8)
    elif kind == 1:
        del content[where : where + length]
    elif kind == 2:
        content[where:where] = chance.randbytes(length)
    elif kind == 3:
        other = chance.randrange(len(content) - length)
        mine, theirs = content[where : where + length], content[other : other + length]
        content[where : where + length], content[other : other + length] = theirs, mine
    else:
        content[where : where + length] = bytes(len(content[where : where + length]))
    return bytes(content)


def test_an_archive_with_bytes_changed_is_the_same_or_refused(members, tmp_path):
    mar, chance = tmp_path / "mutated.mar", random.Random(0)
    good = packed(members)
    mar.write_bytes(good)
    original = open_bundle(mar)
    same = 0
    for _ in range(MUTATIONS):
        mar.write_bytes(mutate(good, chance))
        try:
            bundle = open_bundle(mar)
        except ArchiveError:
            continue
        assert (bundle.spec, bundle.version, bundle.members) == (original.spec, original.version, original.members)
        assert all(bundle.read(name) == members[name] for name in bundle.members)
        same += 1
    assert same < MUTATIONS / 4, "most changes matter"


def test_what_is_altered_after_opening_is_noticed_when_it_is_read(members, tmp_path):
    mar = tmp_path / "good.mar"
    mar.write_bytes(packed(members))
    bundle = open_bundle(mar)
    mar.write_bytes(packed({**members, "handler.py": b"pass"}))
    with pytest.raises(ArchiveError, match="SHA-256"):
        bundle.read("handler.py")
    mar.write_bytes(packed({name: content for name, content in members.items() if name != "handler.py"}))
    with pytest.raises(ArchiveError, match=r"handler\.py"):
        bundle.read("handler.py")


ODD = [None, -1, 7.5, 1e300, "", "\x1b[2J", [], {}, [1, 2], {"a": 1}, True, 2**55, ["a"] * 3, {"valid": {}}]


def places(document, before=()):
    """Every place in a JSON document, as the keys that lead to it."""
    for key, value in document.items() if isinstance(document, dict) else enumerate(document):
        yield (*before, key)
        if isinstance(value, (dict, list)):
            yield from places(value, (*before, key))


def with_value(document, place, value):
    changed = json.loads(json.dumps(document))
    node = changed
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = value
    return changed


def test_a_specification_with_values_of_any_kind_is_refused_or_shown(members, tmp_path):
    """With hashes that fit: whoever changes a value can change its hash."""
    mar, chance = tmp_path / "odd.mar", random.Random(0)
    document = json.loads(members[SPEC])
    everywhere = list(places(document))
    shown = 0
    for _ in range(150):
        changed = with_value(document, chance.choice(everywhere), chance.choice(ODD))
        mar.write_bytes(packed(listed({**members, SPEC: json.dumps(changed).encode()})))
        try:
            contents = boxwright.inspect(mar)
        except ArchiveError as error:
            assert len(str(error).splitlines()) == 1
            continue
        console = Console(file=io.StringIO(), markup=False, highlight=False)
        print_contents(console, contents)
        assert "\x1b" not in console.file.getvalue()
        json.dumps(contents.to_document())
        shown += 1
    assert 30 < shown < 150
