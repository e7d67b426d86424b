import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from boxwright.data import inspect_folder
from boxwright.data.conversion import convert
from boxwright.data.conversion.coco import read_coco
from boxwright.data.conversion.source import SourcePicture
from boxwright.data.conversion.splitting import group_copies, stratify
from boxwright.runtime import ConfigError, DataError

SHARES = st.sampled_from([(0.8, 0.2), (0.5, 0.5), (0.8, 0.1, 0.1), (0.34, 0.33, 0.33), (0.02, 0.97, 0.01)])


@st.composite
def labelled_groups(draw, most=6):
    """Groups of pictures; a picture has some of six classes, or none, which counts as one."""
    one = st.sets(st.integers(1, 6), max_size=most).map(lambda some: some or {None})
    groups = draw(st.lists(st.lists(one, min_size=1, max_size=4), min_size=3, max_size=60))
    return [Counter(label for picture in group for label in picture) for group in groups], [len(one) for one in groups]


def bounds(groups):
    """By label, as the docstring states it: max(most in one group, all in groups with other labels)."""
    labels = {label for group in groups for label in group}
    return {
        label: max(
            max(group[label] for group in groups),
            sum(group[label] for group in groups if len(group) > 1),
        )
        for label in labels
    }


@given(groups=labelled_groups(), shares=SHARES, seed=st.integers(0, 99))
def test_every_class_has_its_share_in_every_split(groups, shares, seed):
    labels, sizes = groups
    places = stratify(labels, sizes, shares, seed)
    assert len(places) == len(labels)
    assert set(places) == set(range(len(shares)))  # none is empty
    assert places == stratify(labels, sizes, shares, seed)
    for label, bound in bounds(labels).items():
        total = sum(group[label] for group in labels)
        for split, share in enumerate(shares):
            has = sum(group[label] for group, place in zip(labels, places, strict=True) if place == split)
            assert abs(has - share * total) <= bound + 1e-6 or Counter(places)[split] == 1, (label, split)


@given(counts=st.lists(st.integers(1, 30), min_size=1, max_size=6), shares=SHARES, seed=st.integers(0, 99))
def test_classes_that_come_alone_are_off_by_less_than_one_picture(counts, shares, seed):
    labels = [Counter([label]) for label, count in enumerate(counts, start=1) for _ in range(count)]
    if len(labels) < 60:  # enough that no split is filled up afterwards
        labels += [Counter([7])] * 300
    places = stratify(labels, [1] * len(labels), shares, seed)
    by_class = Counter((next(iter(group)), place) for group, place in zip(labels, places, strict=True))
    totals = Counter(next(iter(group)) for group in labels)
    for label, total in totals.items():
        for split, share in enumerate(shares):
            assert abs(by_class[label, split] - share * total) < 1 + 1e-6


def test_many_small_classes_do_not_all_go_to_the_largest_split():
    """Three pictures in each of 80 classes: 0.3 of a picture each for valid and test."""
    labels = [Counter([label]) for label in range(80) for _ in range(3)]
    places = Counter(stratify(labels, [1] * 240, (0.8, 0.1, 0.1), 0))
    assert places[0] == pytest.approx(192, abs=3)
    assert places[1] == pytest.approx(24, abs=3)


def test_another_seed_is_another_split():
    labels = [Counter([1])] * 40
    assert len({tuple(stratify(labels, [1] * 40, (0.5, 0.5), seed)) for seed in range(10)}) == 10


def test_real_classes_keep_their_shares(real_data):
    """Aquarium, seven classes, several in a picture: each within 2 pictures of its share."""
    pictures = read_coco(real_data / "aquarium").pictures
    labels = [Counter({one.category for one in picture.objects} or {None}) for picture in pictures]
    shares = (0.8, 0.1, 0.1)
    for seed in range(5):
        places = stratify(labels, [1] * len(labels), shares, seed)
        for label in set().union(*labels):
            total = sum(group[label] for group in labels)
            for split, share in enumerate(shares):
                has = sum(group[label] for group, place in zip(labels, places, strict=True) if place == split)
                assert abs(has - share * total) <= 2


def pictures_of(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return [SourcePicture(folder / name, name, 1, 1, (), "train") for name in files]


def test_copies_are_grouped_by_content_and_source_name(tmp_path):
    files = {
        "a.jpg": b"one",
        "dog_jpg.rf.0a1b.jpg": b"two",
        "b/a.jpg": b"one",
        "dog_jpg.rf.Zz9_-x.jpg": b"three",
        "cat_jpg.rf.0a1b.jpg": b"four",
        "c.png": b"three",  # the same as a copy of dog: all three together
        "d.png": b"size",  # as long as others, of other content
    }
    assert group_copies(pictures_of(tmp_path, files)) == [[0, 2], [1, 3, 5], [4], [6]]


@given(
    names=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5), st.integers(0, 4)), unique=True, max_size=20)
)
def test_groups_of_copies_are_a_partition_and_closed(tmp_path_factory, names):
    files = {f"{name}.rf.{number}.jpg": bytes([content]) for name, number, content in names}
    pictures = pictures_of(tmp_path_factory.mktemp("copies"), files)
    groups = group_copies(pictures)
    assert sorted(index for group in groups for index in group) == list(range(len(pictures)))
    group_of = {index: number for number, group in enumerate(groups) for index in group}
    for i, one in enumerate(pictures):
        for j, other in enumerate(pictures):
            same = one.path.read_bytes() == other.path.read_bytes()
            if same or one.path.name.split(".rf.")[0] == other.path.name.split(".rf.")[0]:
                assert group_of[i] == group_of[j]


@pytest.fixture
def scenes(tmp_path):
    """Four frames each of twelve scenes; a frame is its scene with a little noise. One file is there twice, and two
    pictures that do not look alike are Roboflow's copies of one."""
    generator = np.random.default_rng(5)
    names = []
    for scene in range(12):
        blocks = generator.integers(0, 256, (6, 8, 3)).repeat(20, 0).repeat(20, 1)
        for frame in range(4):
            noisy = (blocks + generator.integers(-6, 7, blocks.shape)).clip(0, 255).astype(np.uint8)
            names.append(f"{scene}_{frame}.png" if frame else f"dog{scene // 2}_jpg.rf.{scene}.png")
            Image.fromarray(noisy).save(tmp_path / names[-1])
    (tmp_path / "copy.png").write_bytes((tmp_path / names[0]).read_bytes())
    document = {
        "images": [{"id": number, "file_name": name} for number, name in enumerate([*names, "copy.png"])],
        "annotations": [{"image_id": number, "category_id": 1, "bbox": [1, 2, 9, 9]} for number in range(len(names))],
        "categories": [{"id": 1, "name": "x"}],
    }
    (tmp_path / "all.json").write_text(json.dumps(document))
    return tmp_path


@pytest.mark.parametrize("shares", [None, (0.5, 0.5), (0.6, 0.2, 0.2)])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_check_finds_no_leak_in_a_new_split(scenes, tmp_path_factory, shares, seed):
    out = tmp_path_factory.mktemp("out") / "ds"
    result = convert(scenes, out, "coco", split=shares, seed=seed)
    codes = {finding.code for finding in inspect_folder(out).findings}
    assert codes.isdisjoint({"leak", "leak-similar", "leak-source"})
    assert codes >= {"similar-pictures", "same-picture"}  # they are there, within a split
    assert sum(counts.pictures for counts in result.splits.values()) == 49
    assert any(note.startswith("49 pictures are copies of others, look like others") for note in result.notes)


def test_look_alikes_are_grouped_as_the_check_groups_them(scenes):
    pictures = read_coco(scenes).pictures
    groups = {frozenset(pictures[index].path.name for index in group) for group in group_copies(pictures)}
    expected = set()
    for dog in range(6):
        pair = {f"{2 * dog + one}_{frame}.png" for one in (0, 1) for frame in (1, 2, 3)}
        copies = {f"dog{dog}_jpg.rf.{2 * dog + one}.png" for one in (0, 1)}
        expected.add(frozenset(pair | copies | ({"copy.png"} if dog == 0 else set())))
    assert groups == expected


def test_shares_that_a_large_group_prevents_are_said(tmp_path, scenes):
    """Of a fixed camera's pictures, nearly all are one group."""
    out = tmp_path.with_name(f"{tmp_path.name}_out")
    notes = convert(scenes, out, "coco", split=(0.05, 0.95)).notes
    assert any(note.startswith("The splits have 0.") and "group of copies or look-alikes has" in note for note in notes)


def test_pictures_that_all_look_alike_cannot_be_split(tmp_path, picture, text):
    picture(tmp_path / "ds/images/0.jpg")
    for number in range(1, 5):
        (tmp_path / f"ds/images/{number}.jpg").write_bytes((tmp_path / "ds/images/0.jpg").read_bytes())
        text(tmp_path / f"ds/labels/{number}.txt", "0 0.5 0.5 0.5 0.5")
    text(tmp_path / "ds/data.yaml", "train: images", "names: [a]")
    with pytest.raises(DataError, match=r"5 pictures in 1 groups of copies or look-alikes cannot make 2 splits"):
        convert(tmp_path / "ds", tmp_path / "out", "yolo")


def test_no_copy_is_parted_from_its_source(real_data, tmp_path, written):
    result = convert(real_data / "fish_tiny", tmp_path / "out", "coco", split=(0.5, 0.5))
    found = written(tmp_path / "out")
    sources = [{name.split(".rf.")[0] for name in content} for content in found.values()]
    assert not sources[0] & sources[1]
    assert any("5 pictures are copies" in note for note in result.notes)
    assert sum(len(content) for content in found.values()) == 7


@pytest.fixture
def flat(tmp_path, picture, text):
    """Twenty pictures in train, five of them without objects; classes in turn."""
    for number in range(20):
        picture(tmp_path / f"ds/images/{number}.jpg")
        text(tmp_path / f"ds/labels/{number}.txt", *([] if number % 4 == 0 else [f"{number % 2} 0.5 0.5 0.5 0.5"]))
    text(tmp_path / "ds/data.yaml", "train: images", "names: [a, b]")
    return tmp_path / "ds"


def test_pictures_without_objects_are_shared_out_too(flat, tmp_path, written):
    result = convert(flat, tmp_path / "out", "yolo", split=(0.6, 0.2, 0.2))
    empty = {
        split: sum(not rows for _, rows in content.values()) for split, content in written(tmp_path / "out").items()
    }
    assert empty == {"train": 3, "valid": 1, "test": 1}
    assert list(result.splits) == ["train", "valid", "test"]
    assert result.splits["train"].pictures == 12


def test_one_split_becomes_two(flat, tmp_path):
    result = convert(flat, tmp_path / "out", "yolo")
    assert {split: counts.pictures for split, counts in result.splits.items()} == {"train": 16, "valid": 4}
    assert "The source has one split; its pictures were split 0.8 train, 0.2 valid." in result.notes


def test_the_same_seed_gives_the_same_files_and_another_does_not(flat, tmp_path):
    def files(name, seed):
        out: Path = convert(flat, tmp_path / name, "yolo", split=(0.7, 0.3), seed=seed).out
        return {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}

    assert files("one", 3) == files("two", 3)
    assert files("three", 4).keys() != files("one_more", 3).keys()


def test_a_picture_in_two_splits_is_pooled_once(flat, tmp_path, text):
    text(flat / "data.yaml", "train: images", "val: images", "names: [a, b]")
    kept = convert(flat, tmp_path / "kept", "yolo")
    assert {split: counts.pictures for split, counts in kept.splits.items()} == {"train": 20, "valid": 20}
    assert any("Pictures in several splits: 20" in note for note in kept.notes)
    pooled = convert(flat, tmp_path / "pooled", "yolo", split=(0.5, 0.5))
    assert sum(counts.pictures for counts in pooled.splits.values()) == 20
    assert any("Each was taken once" in note for note in pooled.notes)


@pytest.mark.parametrize(
    "shares", [(), (1.0,), (0.8, 0.1), (0.8, 0.3), (1.0, 0.0), (1.2, -0.2), (0.25,) * 4, (float("nan"), 0.5)]
)
def test_shares_that_are_no_split_are_refused(flat, tmp_path, shares):
    with pytest.raises(ConfigError, match="does not fit"):
        convert(flat, tmp_path / "out", "yolo", split=shares)


def test_too_few_pictures_are_refused(flat, tmp_path, text):
    text(flat / "two.txt", "images/1.jpg", "images/2.jpg")
    text(flat / "data.yaml", "train: two.txt", "names: [a, b]")
    with pytest.raises(DataError, match="cannot make 3 splits"):
        convert(flat, tmp_path / "out", "yolo", split=(0.8, 0.1, 0.1))
    assert convert(flat, tmp_path / "out", "yolo").splits["valid"].pictures == 1
