import json

import pytest

from boxwright.runtime import ArchiveError, ClassEntry, ConfigError, InputSpec, ModelSpec, OperatingPoint

SPEC = ModelSpec(
    name="fish",
    architecture="fasterrcnn_tiny_fpn",
    classes=(ClassEntry(1, "fish"), ClassEntry(4, "pez volador, único")),
    input=InputSpec(192, 224, "stretch"),
    network={"norm_eps": 0.0},
    operating_point=OperatingPoint(0.3, "f2", 0.8, "valid", (0.2, 0.4), (0.7, 0.9), {"fish": 0.25}, True),
    measured={"valid": {"map": 0.5}},
)


def test_a_document_read_back_is_the_same():
    assert ModelSpec.from_json(SPEC.to_json()) == SPEC


def test_the_contract_depends_on_ids_names_and_order():
    swapped = ModelSpec("fish", "x", tuple(reversed(SPEC.classes)), SPEC.input)
    renamed = ModelSpec("fish", "x", (ClassEntry(1, "fish"), ClassEntry(4, "ray")), SPEC.input)
    assert len({SPEC.contract, swapped.contract, renamed.contract}) == 3


def altered(**changes):
    return json.dumps({**json.loads(SPEC.to_json()), **changes})


@pytest.mark.parametrize(
    ("text", "culprit"),
    [
        ("{", "not JSON"),
        ("[]", "not a model specification"),
        (altered(format=2), "format 1"),
        (altered(classes=[{"id": 1, "name": "shark"}]), "recorded hash"),
        (altered(surprise=1), "'surprise'"),
        (altered(classes=[{"id": 1}]), "ClassEntry"),
        (altered(input={"height": 192}), "InputSpec"),
        ('{"format": 1}', "'classes'"),
        ("[" * 100000, "not JSON"),
        (altered(operating_point={"threshold": None}), "Threshold None"),
        (altered(operating_point={"per_class": {"fish": 2}}), "Threshold 2"),
        (altered(operating_point={"per_class": [0.5]}), "by class name"),
        (altered(operating_point={"interval": [0.5]}), "two numbers"),
        (altered(operating_point={"value_interval": "ab"}), "two numbers"),
        (altered(network=5), "wrong type"),
        (altered(name=7), "wrong type"),
        (altered(input={"height": 64.0, "width": 64}), "integer from 1 to 8192"),
        (altered(input={"height": 64, "width": 64, "pad": [1, 2]}), "three numbers"),
    ],
)
def test_what_is_wrong_is_named(text, culprit):
    with pytest.raises(ArchiveError, match=culprit):
        ModelSpec.from_json(text)


@pytest.mark.parametrize(("height", "width"), [(0, 32), (32, 8193), (-32, 32), (True, 32), (33.0, 32)])
def test_a_canvas_has_sides_of_whole_pixels_in_range(height, width):
    with pytest.raises(ConfigError, match="integer from 1 to 8192"):
        InputSpec(height, width)


def test_strides_are_the_architectures_business():
    assert (InputSpec(432, 504).height, InputSpec(33, 1).width) == (432, 1)


def test_an_unknown_resize_is_refused():
    with pytest.raises(ConfigError, match="'squash'"):
        InputSpec(32, 32, "squash")


def test_thresholds_by_class_are_used_when_asked_for():
    point = OperatingPoint(0.3, per_class={"fish": 0.25, "gone": 0.9}, by_class=True)
    assert point.thresholds(["shark", "fish"]) == (0.3, 0.25)
    assert OperatingPoint(0.3, per_class={"fish": 0.25}).thresholds(["shark", "fish"]) == (0.3, 0.3)


def test_a_document_of_the_first_version_is_read():
    document = json.loads(SPEC.to_json())
    document["operating_point"] = {"threshold": 0.3, "objective": "f2", "value": 0.8, "split": "valid"}
    point = ModelSpec.from_json(json.dumps(document)).operating_point
    assert (point.threshold, point.interval, point.by_class) == (0.3, None, False)
