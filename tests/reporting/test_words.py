import pytest

from boxwright.reporting.words import in_table, in_words, is_shared, measured_at
from boxwright.runtime import OperatingPoint

NAMES = ("cat", "dog", "fox")


def point(by_class, **own):
    return OperatingPoint(0.227, "f2", 0.7, "valid", (0.2, 0.3), per_class=own, by_class=by_class)


@pytest.mark.parametrize("own", [{}, {"cat": 0.131}])
def test_one_score_for_all(own):
    shared = point(by_class=False, **own)
    assert is_shared(shared, NAMES)
    assert in_words(shared, NAMES) == "score 0.227"
    assert measured_at(shared, NAMES) == "at score 0.227"
    assert in_table(shared, NAMES) == ("0.227", "0.200 to 0.300")


def test_a_score_for_each_class_has_not_the_interval_of_the_one_for_all():
    own = point(by_class=True, cat=0.131, dog=0.676)
    assert not is_shared(own, NAMES)
    assert measured_at(own, NAMES) == "with each class from its own score (0.131 to 0.676)"
    assert in_table(own, NAMES) == ("by class", "0.131 to 0.676")


def test_by_class_where_no_class_has_a_score_of_its_own():
    assert in_table(point(by_class=True), NAMES) == ("0.227", "0.200 to 0.300")


def test_by_class_where_all_have_the_same():
    same = point(by_class=True, cat=0.5, dog=0.5, fox=0.5)
    assert in_words(same, NAMES) == "score 0.500"
    assert in_table(same, NAMES) == ("0.500", "")
