"""YAML of others: anchors, aliases and merges are refused before anything is made of them."""

import pytest
import yaml

from boxwright.host.plain_yaml import require_plain


@pytest.mark.parametrize(
    "text",
    ["a: &a 1", "a: &a []\nb: *a", "&a b: 1", "a: {<<: {b: 1}}", "<<: {b: 1}", "!!merge x: {b: 1}", b"a: &a {}"],
)
def test_what_stands_for_a_copy_is_refused(text):
    with pytest.raises(yaml.YAMLError, match=r"^line \d: .* is not read; write out"):
        require_plain(text)


@pytest.mark.parametrize(
    "text", ["", "a: 1\nb: [x, {c: d}]", "a: 'x & y'", "a: '*b'", "a: 2 * 3 & 4", "'<<': 1", 'a: "<<"', b"a: 1"]
)
def test_what_is_plain_passes(text):
    require_plain(text)


def test_what_is_no_yaml_is_said_to_be_none():
    with pytest.raises(yaml.YAMLError):
        require_plain("a: [")
