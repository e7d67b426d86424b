"""The population stability index and the counts it is made of."""

import json

import numpy as np
import pytest

from boxwright.metrics.stability import ReportedCounts, score_buckets, stability_index
from boxwright.runtime import Detections

NAMES = ("cat", "dog", "fish")


def found(*pairs):
    """Detections of (label, score)."""
    labels, scores = zip(*pairs, strict=True) if pairs else ((), ())
    return Detections(np.zeros((len(pairs), 4)), np.array(scores), np.array(labels, np.int64))


def test_a_score_is_in_the_bucket_that_ends_at_or_above_it():
    assert score_buckets(np.array([0.0, 0.05, 0.1, 0.11, 0.5, 0.51, 0.999, 1.0])).tolist() == [0, 0, 0, 1, 4, 5, 9, 9]
    assert score_buckets(np.array([0.5, 1.0], np.float32)).tolist() == [4, 9]
    assert score_buckets(np.zeros(0)).tolist() == []


def test_counts_by_class_by_score_and_pictures_without_any():
    counts = ReportedCounts.of([found((0, 0.95), (0, 0.45), (2, 0.91)), found(), found((2, 0.5))], 3)
    assert counts.classes.tolist() == [2, 0, 2, 1]
    assert counts.scores.tolist() == [0, 0, 0, 0, 2, 0, 0, 0, 0, 2]
    assert counts.pictures == 3


def test_a_document_is_read_back():
    counts = ReportedCounts.of([found((0, 0.95), (2, 0.2)), found()], 3)
    document = json.loads(json.dumps(counts.to_document(NAMES)))
    assert document == {
        "pictures": 2, "empty": 1, "classes": {"cat": 1, "dog": 0, "fish": 1}, "scores": [0, 1, 0, 0, 0, 0, 0, 0, 0, 1],
    }  # fmt: skip
    again = ReportedCounts.from_document(document, NAMES)
    assert again.classes.tolist() == counts.classes.tolist()
    assert again.scores.tolist() == counts.scores.tolist()
    assert again.pictures == 2


@pytest.mark.parametrize(
    "changed",
    [
        None, [], {}, {"classes": []}, {"classes": {"cat": 1}}, {"scores": [1, 2]}, {"scores": None}, {"pictures": "2"},
        {"empty": None}, {"empty": -1}, {"pictures": True}, {"classes": {"cat": 1.5, "dog": 0, "fish": 0}},
    ],
)  # fmt: skip
def test_a_document_of_another_kind_is_none(changed):
    sound = ReportedCounts.of([found((0, 0.9))], 3).to_document(NAMES)
    document = {**sound, **changed} if isinstance(changed, dict) and changed else changed
    assert ReportedCounts.from_document(sound, NAMES) is not None
    assert ReportedCounts.from_document(document, NAMES) is None


def test_the_index_is_the_sum_of_its_definition():
    expected, seen = np.array([500, 300, 200]), np.array([200, 300, 500])
    p, q = (expected * 0.4 + 0.5) / 401.5, (seen * 0.8 + 0.5) / 801.5
    by_chance = 2 * (1 / 400 + 1 / 800)
    index = stability_index(expected, seen, (400, 800))
    assert index == pytest.approx(sum((q - p) * np.log(q / p)) - by_chance)
    assert index == pytest.approx(stability_index(seen, expected, (800, 400)))


def test_equal_shares_give_nothing_and_an_empty_side_neither():
    counts = np.array([50, 30, 0, 20])
    assert stability_index(counts, counts * 3, (100, 300)) == 0
    assert stability_index(counts, counts * 0, (100, 300)) == 0
    assert stability_index(counts * 0, counts, (100, 300)) == 0


def test_a_bucket_that_both_lack_changes_nothing():
    one = stability_index(np.array([40, 60]), np.array([60, 40]), (100, 100))
    assert one == stability_index(np.array([40, 0, 60, 0]), np.array([60, 0, 40, 0]), (100, 100)) > 0


def test_counts_weigh_no_more_than_pictures():
    """A hundred boxes in one picture say as little about the next one as one box does."""
    few, many = np.array([6, 4]), np.array([600, 400])
    seen = np.array([400, 600])
    assert stability_index(many, seen, (10, 1000)) == stability_index(few, seen, (10, 1000))
    assert stability_index(many, seen, (1000, 1000)) > stability_index(many, seen, (10, 1000))


def test_a_class_that_disappears_is_finite_and_large():
    index = stability_index(np.array([500, 500]), np.array([1000, 0]), (1000, 1000))
    assert 1 < index < np.inf


@pytest.mark.parametrize("num_classes", [1, 3, 20])
def test_pictures_of_one_source_rarely_reach_the_alert(num_classes):
    """All detections of a picture are of one class here, so that they are as far from independent as can be."""
    generator = np.random.default_rng(num_classes)
    shares = generator.dirichlet(np.ones(num_classes))

    def pictures(count):
        main = generator.choice(num_classes, count, p=shares)
        return [
            found(*((int(label), float(score)) for score in generator.beta(6, 3, generator.poisson(4))))
            for label in main
        ]

    def index():
        one, other = (ReportedCounts.of(pictures(count), num_classes) for count in (80, 200))
        both = (one.pictures, other.pictures)
        return stability_index(one.classes, other.classes, both), stability_index(one.scores, other.scores, both)

    drawn = np.array([index() for _ in range(40)])
    assert (drawn > 0.25).any(axis=1).mean() <= 0.05
