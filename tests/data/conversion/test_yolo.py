import pytest
from pycocotools import mask

from boxwright.data import read_folder
from boxwright.data.conversion import SplitCounts, convert
from boxwright.runtime import DataError


@pytest.fixture
def pair(tmp_path, picture, text):
    """A train and a val picture of 64 x 48 with one box each, images/ and labels/ side by side."""
    for split, name in (("train", "a"), ("val", "b")):
        picture(tmp_path / f"ds/images/{split}/{name}.png")
        text(tmp_path / f"ds/labels/{split}/{name}.txt", "1 0.5 0.5 0.25 0.5")
    text(tmp_path / "ds/data.yaml", "path: .", "train: images/train", "val: images/val", "nc: 2", "names: [cat, dog]")
    return tmp_path / "ds"


def test_a_box_worked_out_by_hand(pair, tmp_path, written, categories):
    result = convert(pair, tmp_path / "out", "yolo")
    image, annotations = written(tmp_path / "out")["train"]["a.png"]
    assert (image["width"], image["height"]) == (64, 48)
    # cx 32, w 16: x 24; cy 24, h 24: y 12
    assert annotations == [
        {
            "id": 1,
            "image_id": 1,
            "category_id": 2,
            "bbox": [24.0, 12.0, 16.0, 24.0],
            "area": 384.0,
            "segmentation": [],
            "iscrowd": 0,
        }
    ]
    assert categories(tmp_path / "out") == {1: "cat", 2: "dog"}
    assert result.splits == {"train": SplitCounts(1, 1), "valid": SplitCounts(1, 1)}
    assert (tmp_path / "out/train/a.png").read_bytes() == (pair / "images/train/a.png").read_bytes()


def test_what_was_written_can_be_trained_on_and_classes_keep_their_index(pair, tmp_path):
    convert(pair / "data.yaml", tmp_path / "out", "yolo")
    folder = read_folder(tmp_path / "out")
    assert [one.name for one in folder.classes] == ["cat", "dog"]
    assert folder.splits["train"].pictures[0].labels.tolist() == [1]
    assert folder.splits["train"].pictures[0].boxes.tolist() == [[24, 12, 40, 36]]


def test_a_polygon_gives_its_box_and_its_outline(pair, tmp_path, text, written):
    text(pair / "labels/train/a.txt", "0 0.25 0.25 0.75 0.25 0.5 0.75", "")
    convert(pair, tmp_path / "out", "yolo")
    _, [one] = written(tmp_path / "out")["train"]["a.png"]
    assert one["segmentation"] == [[16.0, 12.0, 48.0, 12.0, 32.0, 36.0]]
    assert one["bbox"] == [16.0, 12.0, 32.0, 24.0]
    assert one["area"] == 384.0  # a triangle: half of 32 x 24


def test_an_outlines_area_is_what_pycocotools_paints(pair, tmp_path, picture, text, written):
    picture(pair / "images/train/a.png", 900, 700)
    text(pair / "labels/train/a.txt", "0 0.1 0.1 0.9 0.2 0.8 0.7 0.5 0.4 0.2 0.9")  # not convex
    convert(pair, tmp_path / "out", "yolo")
    _, [one] = written(tmp_path / "out")["train"]["a.png"]
    painted = mask.merge(mask.frPyObjects(one["segmentation"], 700, 900))
    assert one["area"] == pytest.approx(float(mask.area(painted)), rel=0.01)
    assert one["bbox"] == pytest.approx(mask.toBbox(painted).tolist(), abs=1.5)


def test_shares_are_of_the_upright_picture(pair, tmp_path, picture, written):
    (pair / "images/train/a.png").unlink()
    picture(pair / "images/train/a.jpg", 64, 48, sideways=True)
    convert(pair, tmp_path / "out", "yolo")
    image, [one] = written(tmp_path / "out")["train"]["a.jpg"]
    assert (image["width"], image["height"]) == (48, 64)
    assert one["bbox"] == [18.0, 16.0, 12.0, 32.0]


def test_pictures_without_objects_are_kept(pair, tmp_path, picture, text, written):
    picture(pair / "images/train/deep/empty.jpg")
    text(pair / "labels/train/deep/empty.txt")
    picture(pair / "images/train/none.jpg")
    result = convert(pair, tmp_path / "out", "yolo")
    split = written(tmp_path / "out")["train"]
    assert split["empty.jpg"][1] == []
    assert split["none.jpg"][1] == []
    assert result.splits["train"] == SplitCounts(3, 1)
    assert result.notes == ("1 of 4 pictures have no label file; they are kept without objects.",)


def test_roboflow_writes_a_path_that_leads_outside_and_means_inside(tmp_path, picture, text, written):
    ds = tmp_path / "ds"
    for split in ("train", "valid"):
        picture(ds / f"{split}/images/{split}.jpg")
        text(ds / f"{split}/labels/{split}.txt", "0 0.5 0.5 0.5 0.5")
        picture(tmp_path / f"{split}/images/stranger.jpg")
    lines = ("train: ../train/images", "val: ../valid/images", "test: ../test/images", "nc: 1", "names: ['no']")
    text(ds / "data.yaml", *lines)
    result = convert(ds, tmp_path / "out", "yolo")
    assert {split: list(content) for split, content in written(tmp_path / "out").items()} == {
        "train": ["train.jpg"],
        "valid": ["valid.jpg"],
    }
    assert any("there is no test" in note for note in result.notes)


def test_a_path_from_another_machine_falls_back_to_the_file(pair, tmp_path, text):
    text(pair / "data.yaml", "path: /nowhere/ds", "train: images/train", "val: images/val", "names: {0: cat, 1: dog}")
    result = convert(pair, tmp_path / "out", "yolo")
    assert result.splits["train"].boxes == 1
    assert [note for note in result.notes if "path does not exist here" in note]


def test_lists_of_folders_and_lists_of_pictures(pair, tmp_path, picture, text, written):
    picture(pair / "more/c.jpg")
    text(pair / "more/c.txt", "0 0.5 0.5 1 1")  # beside the picture
    text(pair / "val.txt", "./images/val/b.png", "", str(pair / "more/c.jpg"))
    text(pair / "data.yaml", "train: [images/train, more]", "val: val.txt", "names:", "  0: cat", "  1: dog")
    result = convert(pair, tmp_path / "out", "yolo")
    found = written(tmp_path / "out")
    assert {split: sorted(content) for split, content in found.items()} == {
        "train": ["a.png", "c.jpg"],
        "valid": ["b.png", "c.jpg"],
    }
    assert found["train"]["c.jpg"][1][0]["bbox"] == [0.0, 0.0, 64.0, 48.0]
    assert [note for note in result.notes if note.startswith("Pictures in several splits: 1.")]


def test_a_picture_named_twice_in_a_split_is_taken_once(pair, tmp_path, text):
    text(pair / "data.yaml", "train: [images/train, images/train]", "val: images/val", "names: [cat, dog]")
    result = convert(pair, tmp_path / "out", "yolo")
    assert result.splits["train"] == SplitCounts(1, 1)
    assert any("train names pictures again: 1." in note for note in result.notes)


def test_only_the_last_images_of_a_path_becomes_labels(tmp_path, picture, text, written):
    root = tmp_path / "images/ds"
    picture(root / "images/a.jpg")
    picture(root / "images/b.jpg")
    text(root / "labels/a.txt", "0 0.5 0.5 1 1")
    text(tmp_path / "labels/ds/images/a.txt", "0 0.1 0.1 0.1 0.1", "0 0.1 0.1 0.1 0.1")
    text(root / "data.yaml", "train: images", "names: [x]")
    result = convert(root, tmp_path / "out", "yolo")
    assert sum(counts.boxes for counts in result.splits.values()) == 1


def test_keypoints_go_with_a_note(pair, tmp_path, text, written):
    text(pair / "data.yaml", "train: images/train", "val: images/val", "names: [cat, dog]", "kpt_shape: [2, 3]")
    text(pair / "labels/train/a.txt", "1 0.5 0.5 0.25 0.5 0.1 0.1 2 0.2 0.2 1")
    result = convert(pair, tmp_path / "out", "yolo")
    assert written(tmp_path / "out")["train"]["a.png"][1][0]["bbox"] == [24.0, 12.0, 16.0, 24.0]
    assert "Keypoints were left out; boxes are kept." in result.notes


def test_pictures_of_other_kinds_are_said_and_hidden_ones_are_none(pair, tmp_path, picture, text):
    picture(pair / "images/train/x.tif")
    text(pair / "images/train/._a.png", "resource fork")
    picture(pair / "images/train/.ipynb_checkpoints/a-checkpoint.png")
    picture(pair / "images/train/.cache/deep/c.png")
    result = convert(pair, tmp_path / "out", "yolo")
    assert result.splits["train"].pictures == 1
    assert [note for note in result.notes if "1 .tif" in note]


def test_a_hidden_folder_that_is_named_is_read(pair, tmp_path, picture):
    picture(pair / ".hidden/images/a.png")
    lines = ("train: .hidden/images", "val: images/val", "names: [cat, dog]")
    (pair / "data.yaml").write_text("\n".join(lines))
    assert convert(pair, tmp_path / "out", "yolo").splits["train"].pictures == 1


def test_pictures_of_other_kinds_in_a_list_are_left_out_and_said(pair, tmp_path, picture, text, written):
    for name in ("x.gif", "y.TIF"):
        picture(pair / "images/train" / name)
    text(pair / "train.txt", "images/train/x.gif", "images/train/a.png", "images/train/y.TIF")
    text(pair / "data.yaml", "train: train.txt", "val: images/val", "names: [cat, dog]")
    result = convert(pair, tmp_path / "out", "yolo")
    assert list(written(tmp_path / "out")["train"]) == ["a.png"]
    said = (
        f"{pair / 'train.txt'}: left out pictures that are not JPEG, PNG, WebP or BMP: 1 .gif, 1 .tif; "
        "the first is 'x.gif'. Save them as JPEG to keep them and their labels."
    )
    assert said in result.notes


def test_names_are_texts_as_they_stand(pair, tmp_path, text, categories):
    text(pair / "data.yaml", "train: images/train", "val: images/val", "names: [no, 007]", "test: ")
    convert(pair, tmp_path / "out", "yolo")
    assert categories(tmp_path / "out") == {1: "no", 2: "007"}


@pytest.mark.parametrize(
    ("line", "culprits"),
    [
        ("0 0.5 0.5 0.5", ["3 numbers"]),
        ("0 0.5 0.5 0.5 0.5 0.9", ["5 numbers"]),
        ("0 0.1 0.1 0.2 0.2 0.3 0.3 0.4", ["7 numbers"]),
        ("0", ["0 numbers"]),
        ("0 a 0.5 0.5 0.5", ["'a' is not a number"]),
        ("0 0_1 0.5 0.5 0.5", ["'0_1'"]),
        ("0 nan 0.5 0.5 0.5", ["'nan'"]),
        ("0 1e400 0.5 0.5 0.5", ["inf is outside"]),
        ("1e400 0.5 0.5 0.5 0.5", ["class 1e400", "0..1"]),
        ("2 0.5 0.5 0.5 0.5", ["class 2", "0..1"]),
        ("-1 0.5 0.5 0.5 0.5", ["class -1"]),
        ("0.5 0.5 0.5 0.5 0.5", ["class 0.5"]),
        ("cat 0.5 0.5 0.5 0.5", ["'cat'"]),
        ("0 32 24 16 24", ["32 is outside 0..1", "not pixels"]),
        ("0 0.5 1.02 0.5 0.5", ["1.02"]),
        ("0 0.5 0.5 -0.005 0.5", ["-0.005 x 0.5"]),
        ("0 0.1 0.1 0.2 0.2 0.3 1.5", ["1.5"]),
    ],
)
def test_a_bad_line_is_named(pair, tmp_path, text, line, culprits):
    file = text(pair / "labels/train/a.txt", "0 0.5 0.5 1.005 0.5", "", line)
    with pytest.raises(DataError) as caught:
        convert(pair, tmp_path / "out", "yolo")
    assert all(culprit in str(caught.value) for culprit in [f"{file}, line 3", *culprits]), str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("lines", "culprit"),
    [
        (["train: images/train"], "names is missing"),
        (["train: images/train", "names: cat"], "names is missing or not a list"),
        (["train: images/train", "names: []"], "names is missing or not a list"),
        (["train: images/train", "names: [cat, [dog]]"], "name of class 1"),
        (["train: images/train", "names: [cat, cat]"], "'cat' is used twice"),
        (["train: images/train", "names: {0: cat, 2: dog}"], "without gaps"),
        (["train: images/train", "names: [cat, dog]", "nc: 3"], "nc is not 2"),
        (["train: images/nothing", "names: [cat, dog]"], "'images/nothing', which does not exist"),
        (['train: "images/\\0"', "names: [cat, dog]"], "does not exist"),
        (["train: {a: b}", "names: [cat, dog]"], "train is neither a path nor a list of paths"),
        (["train: [[a]]", "names: [cat, dog]"], "train is neither a path nor a list of paths"),
        (["train: labels", "names: [cat, dog]"], "no picture is in it"),
        (["train: list.txt", "names: [cat, dog]"], "list.txt, line 2: picture 'images/none.png' is missing"),
        (["names: [cat, dog]"], "neither train, val nor test"),
        (["train: images/train", "names: [cat, dog]", "kpt_shape: 17"], "kpt_shape"),
        (["train: images/train", "names: [cat, dog]", "kpt_shape: [0, 2]"], "kpt_shape"),
        (["[1, 2]"], "not keys and values"),
        (["names: [a", "b: c"], "broken YAML"),
        (["train: images/train", "names: [cat, dog]", "names: [dog, cat]"], "'names' is given twice"),
        (["train: images/train", "names: {0: cat, 1: dog, 1: bird}"], "'1' is given twice"),
        (["val: images/train", "valid: images", "names: [cat, dog]"], "val and valid name different pictures"),
        (["[" * 1500], "broken YAML"),
        (["a: &a [x, x]", "names: [*b]"], "broken YAML"),
        (["train: images/train", "names: &a [cat, dog]", "b: *a"], "an alias or a merge (&, *, <<) is not read"),
    ],
)
def test_a_bad_data_yaml_is_named(pair, tmp_path, text, lines, culprit):
    text(pair / "list.txt", "images/train/a.png", "images/none.png")
    text(pair / "data.yaml", *lines)
    with pytest.raises(DataError) as caught:
        convert(pair, tmp_path / "out", "yolo")
    assert culprit in str(caught.value)


def test_other_bad_sources_are_named(pair, tmp_path, text):
    with pytest.raises(DataError, match=r"no data\.yaml"):
        convert(pair / "images", tmp_path / "out", "yolo")
    text(pair / "images/one.yaml", "a: b")
    text(pair / "images/two.yaml", "a: b")
    with pytest.raises(DataError, match="several YAML files"):
        convert(pair / "images", tmp_path / "out", "yolo")
    (pair / "labels/train/a.txt").write_bytes(b"0 \xff")
    with pytest.raises(DataError, match=r"a\.txt: the text is not UTF-8"):
        convert(pair, tmp_path / "out", "yolo")
    text(pair / "labels/train/a.txt", "0 0.5 0.5 0.5 0.5")
    (pair / "images/train/a.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"a\.png"):
        convert(pair, tmp_path / "out", "yolo")
    for file in pair.rglob("labels/*/*.txt"):
        file.unlink()
    with pytest.raises(DataError, match="none of the 2 pictures has a label file"):
        convert(pair, tmp_path / "out", "yolo")
