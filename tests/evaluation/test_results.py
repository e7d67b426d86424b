import numpy as np
import pytest

from boxwright.data import draw_demo_data, read_split
from boxwright.data.contract import ClassEntry
from boxwright.evaluation import SplitResults, ground_truth_of
from boxwright.evaluation.results import detections_of, detections_to_columns
from boxwright.metrics import GroundTruth
from boxwright.runtime import ArchiveError, Detections

ONE = Detections(np.array([[1, 2, 3, 4], [5, 6, 7, 8]]), np.array([0.9, 0.1]), np.array([1, 0]))


def results():
    truths = (GroundTruth.of([[0, 0, 5, 5]], [1], [True]), GroundTruth.of([], []), GroundTruth.of([[1, 1, 2, 2]], [0]))
    sizes = np.array([[10, 20], [30, 40], [50, 60]])
    return SplitResults(
        "valid", ("pez", "único"), ("a.jpg", "b/ü.jpg", "c.jpg"), sizes, truths, (ONE, ONE.empty(), ONE)
    )


def test_what_is_saved_is_read_back(tmp_path):
    written = results()
    written.save(tmp_path / "detections.npz")
    read = SplitResults.load(tmp_path / "detections.npz")
    assert (read.split, read.class_names, read.file_names) == ("valid", written.class_names, written.file_names)
    assert np.array_equal(read.sizes, written.sizes)
    for one, two in zip(read.truths, written.truths, strict=True):
        for name in ("boxes", "labels", "crowd", "area"):
            assert np.array_equal(getattr(one, name), getattr(two, name))
            assert getattr(one, name).dtype == getattr(two, name).dtype
    for one, two in zip(read.detections, written.detections, strict=True):
        assert np.array_equal(one.boxes, two.boxes)
        assert np.array_equal(one.scores, two.scores)
        assert np.array_equal(one.labels, two.labels)
    assert [path.name for path in tmp_path.iterdir()] == ["detections.npz"]


def test_no_pictures_and_no_detections_are_kept_too(tmp_path):
    empty = SplitResults("test", ("a",), (), np.zeros((0, 2), np.int64), (), ())
    empty.save(tmp_path / "empty.npz")
    assert SplitResults.load(tmp_path / "empty.npz").detections == ()
    assert detections_of(detections_to_columns([])) == []


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"no zip at all"])
def test_a_broken_file_is_named(tmp_path, content):
    path = tmp_path / "detections.npz"
    path.write_bytes(content)
    with pytest.raises(ArchiveError, match=r"detections\.npz: no readable detections.*Measure the run anew"):
        SplitResults.load(path)


def test_a_file_that_would_need_pickle_is_refused(tmp_path):
    path = tmp_path / "detections.npz"
    np.savez(path, split=np.array([{"code": 1}], dtype=object))
    with pytest.raises(ArchiveError, match="no readable detections"):
        SplitResults.load(path)


def test_a_single_array_is_no_results(tmp_path):
    path = tmp_path / "detections.npz"
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(ArchiveError, match="no readable detections"):
        SplitResults.load(path)


def test_damaged_files_are_read_or_refused(tmp_path):
    path = tmp_path / "detections.npz"
    results().save(path)
    whole, generator, refused = path.read_bytes(), np.random.default_rng(0), 0
    for number in range(200):
        damaged = bytearray(whole)
        for place in generator.integers(0, len(whole), number % 3):
            damaged[place] ^= 1 << int(generator.integers(8))
        path.write_bytes(damaged[: generator.integers(len(whole))] if number % 3 == 0 else damaged)
        try:
            assert SplitResults.load(path).class_names == results().class_names
        except ArchiveError:
            refused += 1
    assert 100 < refused < 200


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("found_labels", [1, 0, 2, 0], "found_labels has a 2, with 2 classes"),
        ("found_labels", [1, 0, -1, 0], "found_labels has a -1"),
        ("truth_labels", [1, 7], "truth_labels has a 7"),
        ("truth_labels", [1.0, 0.0], "truth_labels is float64"),
        ("sizes", np.zeros((3, 3), int), r"sizes is \[3, 3\], not \[P, 2\]"),
        ("sizes", np.zeros(3, int), r"sizes is int64 \[3\]"),
        ("found_counts", [2, -1, 3], "found_counts do not add up"),
        ("truth_counts", [1, 0, 0], "truth_counts do not add up"),
        ("truth_area", np.zeros(1), "GroundTruth needs"),
        (
            "names",
            np.frombuffer(b'{"split": 1, "class_names": [], "file_names": []}', np.uint8),
            "a name is not a text",
        ),
        ("names", np.frombuffer(b"[", np.uint8), "no readable detections"),
        ("names", None, "names is missing"),
    ],
)
def test_columns_that_do_not_fit_are_refused(tmp_path, name, value, reason):
    path = tmp_path / "detections.npz"
    results().save(path)
    with np.load(path) as file:
        columns = {**file, name: value}
    np.savez(path, **{key: np.asarray(column) for key, column in columns.items() if column is not None})
    with pytest.raises(ArchiveError, match=reason):
        SplitResults.load(path)


def test_names_are_kept_to_the_character(tmp_path):
    names = ("ends in nul\0", "\udcff lone", "\u2028", "")
    written = SplitResults("nul\0", names, names, np.ones((4, 2), int), (GroundTruth.of([], []),) * 4, (ONE,) * 4)
    written.save(tmp_path / "detections.npz")
    read = SplitResults.load(tmp_path / "detections.npz")
    assert (read.split, read.class_names, read.file_names) == ("nul\0", names, names)


def test_matches_are_made_once():
    made = results()
    assert made.matches() is made.matches()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ArchiveError, match=r"none\.npz"):
        SplitResults.load(tmp_path / "none.npz")


def test_as_many_names_as_pictures():
    with pytest.raises(ValueError, match="as many"):
        SplitResults("valid", ("a",), ("a.jpg",), np.zeros((1, 2), np.int64), (), ())


def test_of_a_split_keeps_names_sizes_and_truth(tmp_path):
    data = draw_demo_data(tmp_path, sizes={"train": 2, "valid": 3})
    classes = (ClassEntry(1, "circle"), ClassEntry(2, "square"), ClassEntry(3, "triangle"))
    split = read_split(data, "valid", classes)
    made = SplitResults.of(split, data / "valid", [one.name for one in classes], [Detections.empty()] * 3)
    assert all((data / "valid" / name).is_file() for name in made.file_names)
    assert made.sizes.tolist() == [[record.width, record.height] for record in split.pictures]
    assert [len(one.labels) for one in made.truths] == [len(one.labels) for one in ground_truth_of(split)]
    assert made.matches().boxes_per_class.sum() == split.boxes
