"""Folders after public reports, through check and ``--fix``: the right value, or one clear sentence."""

import gzip
import json
import shutil
import tarfile
from collections import Counter

import pytest

from boxwright import train
from boxwright.data import ANNOTATIONS, check, inspect_folder, read_folder, repair
from boxwright.data.conversion import convert
from boxwright.runtime import DataError


@pytest.fixture
def case(cases, tmp_path):
    """A copy of a case that can be written to."""

    def copy(name):
        return shutil.copytree(cases / name, tmp_path / "data", copy_function=shutil.copyfile)

    return copy


def findings(inspection, *levels):
    return Counter(one.code for one in inspection.findings if one.level in levels)


def messages(inspection, code):
    return [str(one) for one in inspection.findings if one.code == code]


def boxes(root):
    documents = [json.loads(path.read_text()) for path in sorted(root.glob(f"*/{ANNOTATIONS}"))]
    return sum(len(document["annotations"]) for document in documents)


READ_AS = {
    "01-backslash/src": r"'images\\000.jpg' is not there; read as 'images/000.jpg'",
    "18-extension-case/src": "'IMG_0000.jpg' is not there; read as 'IMG_0000.JPG'",
    "51-absolute-names/src": "'/home/annotator/export/train/000.jpg' is not there; read as '000.jpg'",
    "02-labelstudio-path/rf": "cb000000-shot.png' is not there; read as 'cb000000-shot.png'",
}


@pytest.mark.parametrize("name", READ_AS)
def test_a_name_that_means_a_file_is_read_so_and_written_by_the_repair(case, tmp_path, name):
    root = case(name)
    before = inspect_folder(root)
    assert findings(before, "error") == {}
    guessed = messages(before, "file-name-guessed")
    assert READ_AS[name] in guessed[0].replace("\\\\\\\\", "\\\\")
    records = read_folder(root).splits["train"].pictures
    assert all(record.path.is_file() and len(record.boxes) for record in records)
    repair(before, tmp_path / "out")
    assert boxes(tmp_path / "out") == boxes(root)
    assert not messages(inspect_folder(tmp_path / "out"), "file-name-guessed")


CLEAN = ["03-hash-ids/src", "05-voc-appledouble/rf", "53-number-names/src", "55-exif-orientation-0/src"]


@pytest.mark.parametrize("name", CLEAN)
def test_what_is_sound_gives_neither_an_error_nor_a_word_about_it(case, tmp_path, name):
    root = case(name)
    inspection = inspect_folder(root)
    assert set(findings(inspection, "error", "warning")) <= {"class-rare"}
    assert not messages(inspection, "exif-orientation")
    repair(inspection, tmp_path / "out")
    assert boxes(tmp_path / "out") == boxes(root)


def test_names_that_are_numbers_are_names(case):
    assert [one.name for one in read_folder(case("53-number-names/src")).classes] == ["0", "1"]


def test_ids_as_text_are_one_line_per_split(case):
    inspection = inspect_folder(case("04-string-ids/src"))
    assert findings(inspection, "error") == {"id-text": 2}
    assert "12 ids are text or too large, as '0000001_00000_d'" in messages(inspection, "id-text")[0]
    assert "boxwright convert" in inspection.of("error")[0].remedy


def test_swapped_sizes_lose_no_box(case, tmp_path):
    root = case("38-swapped-size/src")
    before = inspect_folder(root)
    assert findings(before, "error", "warning") == {"picture-size": 10}
    repair(before, tmp_path / "out")
    assert boxes(tmp_path / "out") == boxes(root)
    assert findings(inspect_folder(tmp_path / "out"), "error", "warning") == {}


def test_flat_polygons_are_turned_with_their_boxes(case, tmp_path):
    repair(inspect_folder(case("59-flat-polygon-exif/src")), tmp_path / "out")
    document = json.loads((tmp_path / "out" / "train" / ANNOTATIONS).read_text())
    assert [[image["width"], image["height"]] for image in document["images"][:1]] == [[120, 160]]
    for one in document["annotations"]:
        xs, ys = one["segmentation"][::2], one["segmentation"][1::2]
        assert one["bbox"] == [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]
    assert findings(inspect_folder(tmp_path / "out"), "error") == {}


READINGS = {"src": "left, top, right, bottom (xyxy)", "widthheight": "top, left, height, width (yxhw)"}


@pytest.mark.parametrize("part", READINGS)
def test_boxes_that_mean_something_else_are_one_error_with_the_way_out(case, part):
    inspection = inspect_folder(case(f"32-xyxy-with-polygons/{part}"))
    assert findings(inspection, "error") == {"boxes-reading": 2}
    sentence = messages(inspection, "boxes-reading")[0]
    assert READINGS[part] in sentence
    assert f"--boxes {READINGS[part][-5:-1]}" in sentence


def test_crowds_are_named_as_the_cause_also_by_training(case):
    root = case("31-crowd/all")
    with pytest.raises(DataError, match=r"all 24 annotations are crowds \(iscrowd: 1\); there is nothing to learn"):
        read_folder(root)
    assert findings(inspect_folder(root), "error") == {"split-without-boxes": 2}


def test_half_of_crowds_can_be_trained_on(case):
    inspection = inspect_folder(case("31-crowd/half"))
    assert findings(inspection, "error") == {}
    assert "crowd annotations: 12" in messages(inspection, "crowd")[0]


def test_a_jpeg_without_its_end_is_kept_and_a_cut_one_is_not(case, tmp_path):
    inspection = inspect_folder(case("28-jpeg-tails/src"))
    assert findings(inspection, "error") == {"picture-broken": 1, "picture-unsupported": 1}
    assert [one.file for one in inspection.findings if one.code == "picture-end"] == ["000.jpg"]
    repair(inspection, tmp_path / "out")
    assert (tmp_path / "out" / "train" / "000.jpg").is_file()


def test_a_test_split_without_annotations_is_a_warning(case):
    folder = read_folder(case("29-test-image-info/src"))
    assert findings(folder.inspection, "warning")["test-unannotated"] == 1
    assert set(folder.splits) == {"train", "valid"}


def test_a_repair_writes_valid_json(case, tmp_path):
    def refuse(constant):
        raise AssertionError(constant)

    root = case("22-nan/src")
    repair(inspect_folder(root), tmp_path / "out")
    for path in (tmp_path / "out").glob(f"*/{ANNOTATIONS}"):
        json.loads(path.read_text(), parse_constant=refuse)
    assert boxes(tmp_path / "out") == boxes(root)
    assert findings(inspect_folder(tmp_path / "out"), "error", "warning") == {}


UNREADABLE = {
    "utf16": "the text is UTF-16; save it as UTF-8",
    "cp1252": "not UTF-8 (byte 1865 is 0xfc; perhaps it is Windows-1252)",
    "lfs": "this is a Git LFS pointer, not the file itself; run: git lfs pull",
    "empty": "the file is empty",
}


@pytest.mark.parametrize("part", UNREADABLE)
def test_an_unreadable_file_is_called_what_it_is(case, part):
    inspection = inspect_folder(case(f"21-json-encodings/{part}"))
    assert UNREADABLE[part] in messages(inspection, "json-broken")[0]


def test_an_archive_is_read_as_it_is(cases, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    inspection = check(cases / "56-zip" / "export.zip")
    assert {name: len(document.images) for name, document in inspection.documents.items()} == {"train": 4, "valid": 4}
    assert not inspection.of("error")


def rewritten(root, change):
    """The annotation files of a folder, changed in place by ``change(document)``."""
    for path in root.glob(f"*/{ANNOTATIONS}"):
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))
    return root


def as_text(document):
    for one in document["images"]:
        one["id"] = str(one["id"])


def as_padded_text(document):
    for one in document["images"]:
        one["id"] = f"{one['id']:06d}"


def as_floats(document):
    for one in document["images"]:
        one["id"] = 1.2e18 + 1024 * one["id"]
    for one in document["annotations"]:
        one["image_id"] = 1.2e18 + 1024 * one["image_id"]


@pytest.mark.parametrize("spell", [as_text, as_padded_text, as_floats])
def test_an_id_that_its_links_spell_otherwise_keeps_its_boxes(case, tmp_path, spell):
    root = rewritten(case("03-hash-ids/src"), number_pictures)
    rewritten(root, spell)
    before = inspect_folder(root)
    assert findings(before, "error") == {"id-text": 2}
    repair(before, tmp_path / "out")
    assert boxes(tmp_path / "out") == boxes(root)
    counts = convert(root, tmp_path / "converted", "coco").splits
    assert sum(one.boxes for one in counts.values()) == boxes(root)
    assert findings(inspect_folder(tmp_path / "converted"), "error") == {}


def number_pictures(document):
    numbers = {one["id"]: position for position, one in enumerate(document["images"], start=1)}
    for one in document["images"]:
        one["id"] = numbers[one["id"]]
    for one in document["annotations"]:
        one["image_id"] = numbers[one["image_id"]]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (gzip.compress(b"{}", mtime=0), "the file is packed by gzip; unpack it: gunzip"),
        (b"<!DOCTYPE html>\n<html>Sign in</html>", "this is a web page, not the file itself; download it again"),
        (b"\n<html>", "this is a web page, not the file itself; download it again"),
        (b"/annex/objects/MD5E-s12--ab.json\n", "this is a git-annex pointer, not the file itself; run: git annex get"),
        (b"<<<<<<< HEAD\n{}", "the file holds both sides of a Git merge; settle the conflict"),
        (bytes(4096), "the file holds nothing but zero bytes; copy or export it again"),
    ],
)
def test_what_lies_in_the_place_of_annotations_is_called_what_it_is(case, content, said):
    root = case("22-nan/src")
    (root / "train" / ANNOTATIONS).write_bytes(content)
    assert said in messages(inspect_folder(root), "json-broken")[0]


def tarred(mode):
    def make(path, _):
        with tarfile.open(path, mode) as archive:
            archive.add(__file__, "train/notes.txt")

    return make


PACKED = {
    "tar": (tarred("w"), "is a tar archive"),
    "tar.gz": (tarred("w:gz"), "is packed by gzip"),
    "7z": (lambda path, _: path.write_bytes(b"7z\xbc\xaf'\x1c\0\4"), "is a 7z archive"),
    "rar": (lambda path, _: path.write_bytes(b"Rar!\x1a\x07\1\0"), "is a RAR archive"),
    "zip": (lambda path, whole: path.write_bytes(whole[:-200]), "is a ZIP archive whose end is missing"),
}


@pytest.mark.parametrize("kind", PACKED)
@pytest.mark.parametrize(
    "ask", [check, lambda path: convert(path, path.parent / "out"), lambda path: train(path, out=path.parent / "run")]
)
def test_what_is_packed_otherwise_is_called_what_it_is(cases, tmp_path, kind, ask):
    make, said = PACKED[kind]
    path = tmp_path / f"export.{kind}"
    make(path, (cases / "56-zip" / "export.zip").read_bytes())
    with pytest.raises(DataError, match=said):
        ask(path)
