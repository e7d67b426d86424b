"""YOLO data sets as tools and people leave them: where the classes and pictures are, and which labels are whose."""

import json
import shutil

import pytest
from PIL import Image

from boxwright.data.conversion import SplitCounts, convert
from boxwright.runtime import DataError

CLASSES = ("cat", "dog")
LINE = "1 0.5 0.5 0.25 0.5"
BOX = [24.0, 12.0, 16.0, 24.0]


@pytest.fixture
def lay(tmp_path, picture, text):
    """Writes pictures of 64 x 48 with one label each; names are relative to the data set."""

    def write(*names, label="labels"):
        for name in names:
            file = picture(tmp_path / "ds" / name)
            text((tmp_path / "ds" / name.replace("images/", f"{label}/")).with_suffix(".txt"), LINE)
            assert file.is_file()
        return tmp_path / "ds"

    return write


@pytest.fixture
def boxes(written):
    """Every box of a converted folder by picture."""

    def read(out):
        return {
            name: [one["bbox"] for one in found]
            for split in written(out).values()
            for name, (_, found) in split.items()
        }

    return read


def notes_with(result, *parts):
    return [note for note in result.notes if all(part in note for part in parts)]


@pytest.mark.parametrize("file", ["classes.txt", "obj.names", "birds.names", "labels/classes.txt"])
def test_a_list_of_classes_is_enough(lay, tmp_path, text, boxes, categories, file):
    root = lay(*(f"images/{n}.jpg" for n in range(5)))
    text(root / file, *CLASSES, "")
    result = convert(root, tmp_path / "out", "yolo")
    assert boxes(tmp_path / "out") == {f"{n}.jpg": [BOX] for n in range(5)}
    assert categories(tmp_path / "out") == {1: "cat", 2: "dog"}
    assert notes_with(result, file, "the classes were read from it")
    assert notes_with(result, "one split")


@pytest.mark.parametrize(
    ("place", "file"),
    [
        ("images/{split}/{n}.jpg", "labels/{split}/classes.txt"),  # LabelImg
        ("{split}/images/{n}.jpg", "{split}/labels/classes.txt"),
        ("images/{split}/{n}.jpg", "images/{split}/predefined_classes.txt"),
        ("{split}/{n}.jpg", "{split}/_darknet.labels"),  # Roboflow's YOLO Darknet
    ],
)
def test_each_split_may_have_the_list_of_classes(lay, tmp_path, text, categories, place, file):
    root = lay(*(place.format(split=split, n=n) for split in ("train", "valid") for n in range(3)))
    for split in ("train", "valid"):
        text(root / file.format(split=split), *CLASSES)
    result = convert(root, tmp_path / "out")
    assert result.splits == {"train": SplitCounts(3, 3), "valid": SplitCounts(3, 3)}
    assert categories(tmp_path / "out") == {1: "cat", 2: "dog"}
    assert not notes_with(result, "left out")
    text(root / file.format(split="valid"), "dog", "cat")
    with pytest.raises(DataError, match=r"the classes are .* in train|the classes are .* in \w+/train"):
        convert(root, tmp_path / "again", "yolo")


def test_label_studios_notes_are_enough_and_must_agree_with_classes_txt(lay, tmp_path, text, categories):
    root = lay("images/a.jpg", "images/b.jpg")
    text(root / "notes.json", json.dumps({"categories": [{"id": 1, "name": "dog"}, {"id": 0, "name": 7}]}))
    convert(root, tmp_path / "out", "yolo")
    assert categories(tmp_path / "out") == {1: "7", 2: "dog"}
    text(root / "classes.txt", "cat", "dog")
    with pytest.raises(DataError, match=r"\['cat', 'dog'\] in classes\.txt, and \['7', 'dog'\] in notes\.json"):
        convert(root, tmp_path / "again", "yolo")


@pytest.mark.parametrize(
    "names", [("images/train/a.jpg", "images/val/b.jpg"), ("train/images/a.jpg", "valid/images/b.jpg")]
)
def test_folders_of_splits_are_splits_without_a_yaml(lay, tmp_path, text, names):
    root = lay(*names)
    text(root / "classes.txt", *CLASSES)
    result = convert(root, tmp_path / "out", "yolo")
    assert result.splits == {"train": SplitCounts(1, 1), "valid": SplitCounts(1, 1)}


def test_pictures_beside_their_labels_and_lists_of_them(lay, tmp_path, text):
    """As YOLO_mark and Darknet have it; the lists hold no labels and are no orphans."""
    root = lay("a.jpg", "b.jpg", "c.jpg")
    text(root / "classes.txt", *CLASSES)
    text(root / "train.txt", "a.jpg", "b.jpg")
    text(root / "val.txt", "c.jpg")
    result = convert(root, tmp_path / "out", "yolo")
    assert result.splits == {"train": SplitCounts(2, 2), "valid": SplitCounts(1, 1)}
    assert not notes_with(result, "label files")


def test_cvats_yolo_1_1(lay, tmp_path, text, boxes):
    root = lay("obj_train_data/cam/a.jpg", "obj_train_data/b.jpg", "obj_valid_data/c.png")
    text(root / "obj.names", *CLASSES)
    text(
        root / "obj.data", "classes = 2", "train = data/train.txt", "valid = data/valid.txt", "names = data/obj.names",
        "backup = backup/",
    )  # fmt: skip
    text(root / "train.txt", "data/obj_train_data/cam/a.jpg", "data/obj_train_data/b.jpg")
    text(root / "valid.txt", "data/obj_valid_data/c.png")
    result = convert(root, tmp_path / "out", "yolo")
    assert result.splits == {"train": SplitCounts(2, 2), "valid": SplitCounts(1, 1)}
    assert boxes(tmp_path / "out") == {"a.jpg": [BOX], "b.jpg": [BOX], "c.png": [BOX]}
    assert notes_with(result, "train.txt", "2", "'data/obj_train_data/cam/a.jpg'", "'obj_train_data/cam/a.jpg'")
    text(root / "obj.data", "classes = 3", "train = data/train.txt", "names = data/obj.names")
    with pytest.raises(DataError, match=r"classes is not 2"):
        convert(root, tmp_path / "again", "yolo")


def test_darknets_own_layout(lay, tmp_path, text):
    root = lay("data/obj/a.jpg", "data/obj/b.jpg")
    text(root / "data/obj.names", *CLASSES)
    text(root / "data/obj.data", "classes=2", "train=data/train.txt", "valid=data/gone.txt", "names=data/obj.names")
    text(root / "data/train.txt", "data/obj/a.jpg", "x64/Release/data/obj/b.jpg")
    result = convert(root, tmp_path / "out", "yolo")
    assert sum(counts.boxes for counts in result.splits.values()) == 2
    assert notes_with(result, "valid = 'data/gone.txt' is not there")


@pytest.mark.parametrize(
    "lines",
    [
        ("train: images\\train", "val: images\\val"),
        ("train: ..\\images\\train", "val: ..\\images\\val"),
        ("train: D:\\ds\\images\\train", "val: D:\\ds\\images\\val"),
        ("path: /content/ds", "train: /content/ds/images/train", "val: /content/ds/images/val"),
        ("train: /content/drive/My Drive/Images/Train", "val: /content/drive/My Drive/Images/val"),
        ('train: "D:\\tmp\\new\\images\\train"', 'val: "D:\\tmp\\new\\images\\val"'),
        ('path: "D:\\Users\\me"', "train: images/train", "val: images/val"),
        ("train: C:\\ds\\train.txt", "val: C:\\ds\\val.txt"),
    ],
)
def test_paths_of_another_machine(lay, tmp_path, text, lines):
    root = lay("images/train/a.jpg", "images/val/b.jpg")
    text(root / "data.yaml", *lines, "names: [cat, dog]")
    text(root / "train.txt", "D:\\ds\\images\\train\\a.jpg")
    text(root / "val.txt", "/content/ds/images/val/B.JPG")
    result = convert(root, tmp_path / "out", "yolo")
    assert result.splits == {"train": SplitCounts(1, 1), "valid": SplitCounts(1, 1)}
    assert notes_with(result, "read as") or notes_with(result, "path does not exist here")


def test_a_folder_of_one_split_is_never_taken_for_another(lay, tmp_path, text):
    root = lay("images/a.jpg", "images/b.jpg")
    text(root / "data.yaml", "train: images", "val: ../valid/images", "names: [cat, dog]")
    with pytest.raises(DataError, match=r"val names '\.\./valid/images', which does not exist"):
        convert(root, tmp_path / "out", "yolo")
    text(root / "data.yaml", "train: D:\\x\\images", "val: D:\\y\\images", "names: [cat, dog]")
    with pytest.raises(DataError, match="which does not exist"):
        convert(root, tmp_path / "out", "yolo")


def test_of_two_places_none_is_guessed(lay, tmp_path, text):
    root = lay("one/images/train/a.jpg", "two/images/train/b.jpg")
    text(root / "data.yaml", "train: D:\\images\\train", "names: [cat, dog]")
    with pytest.raises(DataError, match="may mean 'one/images/train' and 'two/images/train'"):
        convert(root, tmp_path / "out", "yolo")
    text(root / "data.yaml", "train: list.txt", "names: [cat, dog]")
    shutil.copy(root / "one/images/train/a.jpg", root / "two/images/train/a.jpg")
    text(root / "list.txt", "b.jpg", "a.jpg")
    with pytest.raises(DataError, match=r"line 2: 'a\.jpg' may mean 'one/images/train/a\.jpg' and 'two/"):
        convert(root, tmp_path / "out", "yolo")


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("shot (1).jpg", "shot_(1).txt"),
        ("shot (1).jpg", "shot_1.txt"),
        ("Shot.jpg", "shot.txt"),
        ("caf\u00e9.jpg", "cafe\u0301.txt"),
        ("a b.jpg", "a%20b.txt"),
        ("x.jpg", "0a1b2c3d-x.txt"),
        ("0a1b2c3d-x.jpg", "x.txt"),
        ("x.jpg", "x.jpg.txt"),
    ],
)
def test_a_label_file_of_nearly_the_same_name_is_taken_and_said(lay, tmp_path, text, boxes, name, label):
    root = lay("images/train/other.jpg", f"images/train/{name}", "images/val/b.jpg")
    (root / "labels/train" / name).with_suffix(".txt").rename(root / "labels/train" / label)
    text(root / "data.yaml", "train: images/train", "val: images/val", "names: [cat, dog]")
    result = convert(root, tmp_path / "out", "yolo")
    assert list(boxes(tmp_path / "out").values()) == [[BOX]] * 3
    assert notes_with(result, "were taken: 1;", repr(f"labels/train/{label}"), repr(name))


def test_nearly_the_same_twice_is_an_error(lay, tmp_path, text):
    root = lay("images/a.jpg", "images/shot (1).jpg", "images/shot_(1).jpg")
    text(root / "classes.txt", *CLASSES)
    convert(root, tmp_path / "out", "yolo")
    (root / "labels/shot (1).txt").rename(root / "labels/shot-1.txt")
    (root / "labels/shot_(1).txt").unlink()
    with pytest.raises(
        DataError, match=r"pictures shot \(1\)\.jpg and shot_\(1\)\.jpg; label files labels/shot-1\.txt"
    ):
        convert(root, tmp_path / "again", "yolo")


def test_two_hashes_before_one_name_are_two_pictures(lay, tmp_path, text, boxes):
    root = lay("images/00000001-shot.jpg", "images/00000002-shot.jpg")
    text(root / "classes.txt", *CLASSES)
    (root / "labels/00000002-shot.txt").rename(root / "labels/00000003-shot.txt")
    result = convert(root, tmp_path / "out", "yolo")
    assert boxes(tmp_path / "out")["00000002-shot.jpg"] == []
    assert notes_with(result, "belong to no picture were left out: 1, the first 'labels/00000003-shot.txt'")


def test_labels_without_a_picture_are_counted_and_hidden_ones_are_none(lay, tmp_path, text):
    root = lay("images/train/a.jpg", "images/val/b.jpg", "images/more/c.jpg")
    text(root / "data.yaml", "train: images/train", "val: images/val", "names: [cat, dog]")
    for name in ("train/gone.txt", "val/lost.txt", "train/._a.txt", "__MACOSX/a.txt"):
        text(root / "labels" / name, LINE)
    text(root / "labels/readme.txt", "Drawn by hand")
    result = convert(root, tmp_path / "out", "yolo")
    assert notes_with(result, "belong to no picture were left out: 2, the first 'labels/train/gone.txt'")
    assert notes_with(result, "of pictures in no split", "left out: 1, the first 'labels/more/c.txt'")


def test_pictures_in_other_formats_are_counted_and_named(lay, tmp_path, text):
    """By suffix, and by content where a phone's HEIC was only renamed."""
    root = lay("images/train/a.jpg", "images/val/b.jpg", "images/train/c.jpg")
    text(root / "data.yaml", "train: images/train", "val: images/val", "names: [cat, dog]")
    for name in ("x.HEIC", "y.heic", "z.jxl", "w.mpo", "v.dng", "._x.heic"):
        (root / "images/train" / name).write_bytes(b"not read")
    (root / "images/train/c.jpg").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    Image.new("RGB", (9, 9)).save(root / "images/val/d.png", "GIF")
    result = convert(root, tmp_path / "out", "yolo")
    assert result.splits == {"train": SplitCounts(1, 1), "valid": SplitCounts(1, 1)}
    said = "1 .dng, 2 .heic, 1 .jpg that is HEIC, 1 .jxl, 1 .mpo; the first is 'c.jpg'. Save them as JPEG"
    assert notes_with(result, "images/train", said)
    assert notes_with(result, "images/val", "1 .png that is GIF")


def test_a_folder_of_other_formats_alone_says_so(lay, tmp_path, text):
    root = lay("images/train/a.jpg")
    (root / "images/train/a.jpg").rename(root / "images/train/a.heic")
    text(root / "data.yaml", "train: images/train", "names: [cat, dog]")
    with pytest.raises(DataError, match=r"no picture is in it.*1 \.heic; the first is 'a\.heic'"):
        convert(root, tmp_path / "out", "yolo")
    (root / "data.yaml").unlink()
    text(root / "classes.txt", *CLASSES)
    with pytest.raises(DataError, match=r"1 \.heic"):
        convert(root, tmp_path / "out", "yolo")


@pytest.mark.parametrize(
    ("name", "fault"),
    [('"a\\tb"', "holds a control character"), ('" "', "is blank"), ("score", "endpoint"), ("cat", "used twice")],
)
def test_names_that_check_refuses_are_refused(lay, tmp_path, text, name, fault):
    root = lay("images/train/a.jpg")
    text(root / "data.yaml", "train: images/train", f"names: [cat, {name}]")
    with pytest.raises(DataError, match=rf"data\.yaml: the class name .* {fault}"):
        convert(root, tmp_path / "out", "yolo")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        ("train: a".encode("utf-16"), "UTF-16"),
        (b"PK\x03\x04", "ZIP archive; unzip it"),
        (b" ", "the file is empty"),
    ],
)
def test_what_a_file_is_instead_is_said(lay, tmp_path, content, said):
    root = lay("images/train/a.jpg")
    (root / "data.yaml").write_bytes(content)
    with pytest.raises(DataError, match=said):
        convert(root, tmp_path / "out", "yolo")


def test_a_folder_around_the_data_set_is_said(lay, tmp_path, text):
    root = lay("inner/images/a.jpg", "inner/images/b.jpg")
    text(root / "inner/data.yaml", "train: images", "val: images", "names: [cat, dog]")
    result = convert(root, tmp_path / "out", "yolo")
    assert notes_with(result, "read as described by inner/data.yaml")


def test_more_pixels_than_the_server_takes_are_kept(lay, tmp_path, text):
    root = lay("images/a.png", "images/b.png")
    text(root / "classes.txt", *CLASSES)
    Image.new("1", (8192, 6200)).save(root / "images/a.png")
    assert sum(counts.pictures for counts in convert(root, tmp_path / "out", "yolo").splits.values()) == 2
