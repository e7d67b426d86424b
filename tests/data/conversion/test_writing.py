import json
import zipfile

import pytest

from boxwright.data import inspect_folder
from boxwright.data.conversion import READERS, convert
from boxwright.data.conversion.convert import _json
from boxwright.runtime import ConfigError, DataError


@pytest.fixture
def ds(tmp_path, picture, text):
    """Pictures of one name in several folders of a split, in upper and lower case."""
    for name in ("x/a.jpg", "y/a.jpg", "y/z/A.jpg", "y_a.jpg", "b.jpg"):
        picture(tmp_path / "src/images/train" / name)
        text((tmp_path / "src/labels/train" / name).with_suffix(".txt"), "0 0.5 0.5 0.5 0.5")
    picture(tmp_path / "src/images/val/a.jpg")
    text(tmp_path / "src/data.yaml", "train: images/train", "val: images/val", "names: [c]")
    return tmp_path / "src"


def test_sub_folders_are_flattened_and_names_stay_unique(ds, tmp_path, written):
    result = convert(ds, tmp_path / "out", "yolo")
    content = written(tmp_path / "out")["train"]
    assert list(content) == ["b.jpg", "a.jpg", "y_a.jpg", "y_z_A.jpg", "y_a_2.jpg"]
    originals = ("b.jpg", "x/a.jpg", "y/a.jpg", "y/z/A.jpg", "y_a.jpg")
    for name, original in zip(content, originals, strict=True):
        assert (tmp_path / "out/train" / name).read_bytes() == (ds / "images/train" / original).read_bytes()
    assert len({name.casefold() for name in content}) == 5
    assert any(
        "train: pictures renamed" in note and "3, the first from 'y/a.jpg' to 'y_a.jpg'" in note
        for note in result.notes
    )


def test_names_that_windows_would_take_for_paths_are_changed(ds, tmp_path, picture, written):
    picture(ds / "images/val/c:\\d.jpg")
    convert(ds, tmp_path / "out", "yolo")
    assert list(written(tmp_path / "out")["valid"]) == ["a.jpg", "c__d.jpg"]


def test_progress_is_told_for_each_picture(ds, tmp_path):
    calls = []
    convert(ds, tmp_path / "out", "yolo", advance=lambda *told: calls.append(told))
    assert calls == [("copy", number, 6) for number in range(1, 7)]
    calls.clear()
    convert(ds, tmp_path / "anew", "yolo", split=(0.5, 0.5), advance=lambda *told: calls.append(told))
    assert calls == [("compare", 6, 6), *(("copy", number, 6) for number in range(1, 7))]


def test_an_empty_folder_is_used_and_a_missing_parent_made(ds, tmp_path):
    (tmp_path / "empty").mkdir()
    assert convert(ds, tmp_path / "empty", "yolo").out == tmp_path / "empty"
    convert(ds, tmp_path / "a/b/out", "yolo")
    assert (tmp_path / "a/b/out/train/a.jpg").is_file()
    assert (tmp_path / "empty/valid/a.jpg").is_file()


def test_the_new_folder_has_the_rights_of_any_new_folder(ds, tmp_path):
    (tmp_path / "usual").mkdir()
    convert(ds, tmp_path / "out", "yolo")
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_nothing_is_overwritten(ds, tmp_path, text):
    text(tmp_path / "full/file.txt", "mine")
    for out in (tmp_path / "full", tmp_path / "full/file.txt"):
        with pytest.raises(ConfigError, match="exists already"):
            convert(ds, out, "yolo")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="exists already"):
        convert(ds, tmp_path / "link", "yolo")
    with pytest.raises(ConfigError, match="Choose another folder"):
        convert(ds, tmp_path / "full/file.txt/out", "yolo")
    for name in ("a\0b", "a" * 400, "\ud800"):
        with pytest.raises(ConfigError, match="cannot be written"):
            convert(ds, tmp_path / name, "yolo")
    assert (tmp_path / "full/file.txt").read_text() == "mine"


def test_a_failure_in_the_middle_leaves_nothing(ds, tmp_path):
    def vanish(text, done, total):
        if done == 2:
            (ds / "images/train/y/z/A.jpg").unlink()

    before = sorted(tmp_path.iterdir())
    with pytest.raises(ConfigError, match=r"A\.jpg"):
        convert(ds, tmp_path / "out", "yolo", advance=vanish)
    assert sorted(tmp_path.iterdir()) == before


def test_an_interruption_leaves_nothing(ds, tmp_path):
    def interrupt(text, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(ds, tmp_path / "out", "yolo", advance=interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["src"]


def test_the_source_is_left_alone_and_may_not_hold_the_result(ds, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in ds.rglob("*") if path.is_file()}
    convert(ds, tmp_path / "beside", "yolo")
    with pytest.raises(ConfigError, match="lies inside"):
        convert(ds, ds / "converted", "yolo")
    assert {path: path.stat().st_mtime_ns for path in ds.rglob("*") if path.is_file()} == before


def test_an_empty_folder_keeps_its_rights(ds, tmp_path):
    (tmp_path / "private").mkdir(mode=0o700)
    convert(ds, tmp_path / "private", "yolo")
    assert (tmp_path / "private" / "train" / "a.jpg").is_file()
    assert (tmp_path / "private").stat().st_mode & 0o777 == 0o700


def test_bad_arguments_are_named(ds, tmp_path):
    with pytest.raises(ConfigError, match=r"'tfrecord' is unknown\. Use one of yolo, voc, coco"):
        convert(ds, tmp_path / "out", "tfrecord")
    with pytest.raises(ConfigError, match=r"boxes 'wxhy' is unknown\. Use one of xywh, xyxy, cxcywh"):
        convert(ds, tmp_path / "out", "coco", boxes="wxhy")
    with pytest.raises(ConfigError, match="boxes 'xyxy' does not fit format 'yolo'"):
        convert(ds, tmp_path / "out", "yolo", boxes="xyxy")
    with pytest.raises(ConfigError, match="boxes 'xyxy' does not fit format 'yolo'"):
        convert(ds, tmp_path / "out", boxes="xyxy")
    with pytest.raises(ConfigError, match=r"pictures '.*' does not fit format 'yolo'"):
        convert(ds, tmp_path / "out", "yolo", pictures=tmp_path)
    with pytest.raises(ConfigError, match="nowhere: no such folder"):
        convert(ds, tmp_path / "out", "coco", pictures=tmp_path / "nowhere")
    for name in READERS:
        with pytest.raises(DataError, match="no such file or folder"):
            convert(tmp_path / "nothing", tmp_path / "out", name)


@pytest.mark.parametrize(
    ("name", "fault"),
    [("score", "'score' is a key"), (" ", "is blank"), ("a\tb", "control character"), ("a\u2028b", "control")],
)
def test_names_that_the_check_refuses_are_not_written(ds, tmp_path, text, name, fault):
    text(ds / "data.yaml", "train: images/train", "val: images/val", f"names: [{json.dumps(name)}]")
    with pytest.raises(DataError, match=f"data.yaml: the class name .*{fault}.*Rename the class"):
        convert(ds, tmp_path / "out", "yolo")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["नेपा\u200dल", "a\u00a0b", "🐟", "7"])
def test_other_names_are_names(ds, tmp_path, text, categories, name):
    text(ds / "data.yaml", "train: images/train", "val: images/val", f"names: ['{name}']")
    convert(ds, tmp_path / "out", "yolo")
    assert categories(tmp_path / "out") == {1: name}
    assert [one.name for one in inspect_folder(tmp_path / "out").classes] == [name]


def test_a_zip_archive_is_read_as_its_folder(ds, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
        for one in ds.rglob("*"):
            archive.write(one, one.relative_to(ds))
    convert(ds, tmp_path / "one", "yolo")
    convert(tmp_path / "export.zip", tmp_path / "other", "yolo")
    files = {one.relative_to(tmp_path / "one"): one.read_bytes() for one in (tmp_path / "one").rglob("*.*")}
    assert files == {one.relative_to(tmp_path / "other"): one.read_bytes() for one in (tmp_path / "other").rglob("*.*")}


def test_json_nested_too_deep_is_refused():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(DataError, match="nested too deep"):
        _json({"info": deep}, "train", [])
