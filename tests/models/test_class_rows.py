from dataclasses import replace

import pytest
import torch

from boxwright.models import CATALOGUE
from boxwright.models.class_rows import pair_classes, start_head
from boxwright.models.family import ClassRows
from boxwright.runtime import ClassEntry
from boxwright.runtime.networks import build_network
from support.networks import TRIED, spec_of


@pytest.mark.parametrize(
    ("ours", "theirs", "pairs"),
    [
        (["cat", "dog"], ["dog", "cat"], {0: 1, 1: 0}),
        (["cat"], ["dog", "cat", "eel"], {0: 1}),  # a subset
        (["eel", "cat", "ray"], ["cat"], {1: 0}),  # a superset
        (["eel"], ["cat"], {}),
        (["Traffic-Light ", "hot__dog"], ["hot dog", "traffic light"], {0: 1, 1: 0}),
        (["Straße", "e\u0301el"], ["\u00e9el", "STRASSE"], {0: 1, 1: 0}),
        (["cat", "Cat"], ["Cat", "cat"], {0: 1, 1: 0}),  # equal names before those that only fold to the same
        (["Cat"], ["CAT", "cat"], {}),  # nobody can say which
        (["Cat", "CAT"], ["cat"], {}),
        (["N/A"], ["N/A", "N/A"], {}),
        (["a", "a"], ["a", "a"], {0: 0, 1: 1}),  # the same list is the same list
        ([], ["cat"], {}),
    ],
)
def test_classes_are_paired_by_name(ours, theirs, pairs):
    assert pair_classes(ours, theirs) == pairs


ROW = CATALOGUE["retinanet_resnet50_fpn"]
HEAD = "head.classification_head.cls_logits"


def head_of(classes, first=0.0, width=2):
    """A class head of 9 anchors in which each row says its anchor and its label."""
    labels = torch.arange(classes + 1, dtype=torch.float32)
    rows = first + (100 * torch.arange(9, dtype=torch.float32)[:, None] + labels).flatten()
    return {f"{HEAD}.weight": rows[:, None].repeat(1, width), f"{HEAD}.bias": rows}


def test_rows_follow_the_names_in_every_anchor_and_the_background_comes_along():
    own, theirs = head_of(3, first=10_000), head_of(2)
    values, start = start_head(ROW, own, theirs, (["eel", "cat", "dog"], ["dog", "cat"]))
    assert (start.kept, start.new, start.warning) == (("cat", "dog"), ("eel",), "")
    for anchor in range(9):
        rows = values[f"{HEAD}.bias"][4 * anchor : 4 * anchor + 4] - 100 * anchor
        assert rows.tolist() == [0, 10_001, 2, 1]
    assert torch.equal(values[f"{HEAD}.weight"][:, 1], values[f"{HEAD}.bias"])
    assert own[f"{HEAD}.bias"][0] == 10_000  # what was there is not written into


def test_four_values_per_class_and_an_entry_behind_the_classes_stay_together():
    layout = ClassRows("boxes", inner=4, before=1, after=1)
    row = type("Row", (), {"rows_of": lambda self, name: layout if layout.describes(name) else None})()
    ours, theirs = torch.full((16,), -1.0), torch.arange(16.0)
    values, _ = start_head(row, {"a.boxes": ours}, {"a.boxes": theirs}, (["b", "c"], ["a", "b"]))
    assert values["a.boxes"].tolist() == [0, 1, 2, 3, 8, 9, 10, 11, -1, -1, -1, -1, 12, 13, 14, 15]


@pytest.mark.parametrize("names", [None, ["one", "two", "three"], ["LABEL_0", "LABEL_1"]])
def test_unknown_names_are_assumed_to_be_ours_only_with_a_warning(names):
    """Nobody named them, or the names at hand are another file's."""
    values, start = start_head(ROW, head_of(2, 10_000), head_of(2), (["eel", "cat"], names))
    assert torch.equal(values[f"{HEAD}.bias"], head_of(2)[f"{HEAD}.bias"])
    assert start.kept == ("eel", "cat")
    assert "taken to be eel, cat, in this order" in start.warning
    values, start = start_head(ROW, head_of(3, 10_000), head_of(2), (["eel", "cat", "ray"], None))
    assert values == {}
    assert start.new == ("eel", "cat", "ray")
    assert (start.reading, start.warning) == ("of 2 classes that have no names", "")


@pytest.mark.parametrize(
    "theirs",
    [
        head_of(2, width=3),
        {**head_of(2), f"{HEAD}.bias": torch.zeros(28)},
        {**head_of(2), f"{HEAD}.bias": torch.zeros(36)},
        {**head_of(2), f"{HEAD}.bias": torch.tensor(0.0)},
        {f"{HEAD}.weight": head_of(2)[f"{HEAD}.weight"]},
    ],
)
def test_a_head_that_does_not_fit_is_not_taken_in_parts(theirs):
    values, start = start_head(ROW, head_of(2), theirs, (["a", "b"], ["a", "b"]))
    assert values == {}
    assert (start.kept, start.new, start.reading) == ((), ("a", "b"), "of another shape")


def test_a_file_without_a_head_is_not_spoken_of():
    assert start_head(ROW, head_of(2), {"backbone.x": torch.zeros(1)}, (["a", "b"], None)) == ({}, None)


@pytest.mark.parametrize("architecture", TRIED)
def test_a_row_names_every_tensor_that_depends_on_the_classes(architecture):
    """Whatever changes its size with their number."""
    row, spec = CATALOGUE[architecture], spec_of(architecture, 64)
    with torch.device("meta"):  # shapes without values
        few = build_network(spec).state_dict()
        many = build_network(replace(spec, classes=(*spec.classes, ClassEntry(9, "more")))).state_dict()
    assert {name for name in few if few[name].shape != many[name].shape} == {name for name in few if row.rows_of(name)}
    assert {row.rows_of(name).classes(len(many[name])) for name in many if row.rows_of(name)} == {4}
