import re

from boxwright.runtime import errors


def test_the_drawn_tree_is_the_real_one():
    drawn = re.findall(r"^\s+(?:[│ ]*[├└]── )?([A-Z]\w+)", errors.__doc__, flags=re.MULTILINE)
    assert sorted(drawn) == sorted(errors.__all__)


def test_every_error_has_the_one_base():
    assert all(issubclass(getattr(errors, name), errors.BoxwrightError) for name in errors.__all__)


def test_the_remedy_follows_the_culprit():
    assert str(errors.DataError("a.json: broken.", "Export it again.")) == "a.json: broken. Export it again."
