"""Resampled figures against those of pictures that are really repeated."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boxwright.metrics import GroundTruth, average_precision, match_detections
from boxwright.metrics.bootstrap import (
    _of_size,
    bootstrap_fbeta,
    bootstrap_map,
    intervals,
    intervals_by_size,
    resample_counts,
)
from boxwright.metrics.fbeta import class_fbeta_at, fbeta_at
from boxwright.metrics.figures import HEADLINE, figures_of
from boxwright.runtime import Detections
from support.scenes import CLASSES, scenes
from support.simulation import World, repeated

THRESHOLDS = np.array([0.3, 0.5, 0.1])


def untied(detections, seed=0):
    """The same detections with scores that no two share: among equals, which copy of a picture comes first matters."""
    ends = np.cumsum([len(one) for one in detections])
    scores = np.split((np.random.default_rng(seed).permutation(ends[-1]) + 1) / (ends[-1] + 1), ends[:-1])
    return [Detections(one.boxes, score, one.labels) for one, score in zip(detections, scores, strict=True)]


def expected(truths, detections):
    """All figures of a resample, the slow way."""
    matches = match_detections(truths, detections, CLASSES)
    precision = average_precision(matches)
    fbeta = np.where(matches.boxes_per_class > 0, class_fbeta_at(matches, THRESHOLDS), np.nan)
    macro = np.nanmean(fbeta) if (matches.boxes_per_class > 0).any() else np.nan
    figures = figures_of(matches, THRESHOLDS)
    heads = [precision.map, precision.map_50, *precision.per_class, fbeta_at(matches, THRESHOLDS), macro, *fbeta]
    return [*heads, figures.precision, figures.recall]


def resampled(matches, counts):
    """All figures of all resamples: float64 [R, 6 + 2 K]."""
    precision, fbeta = bootstrap_map(matches, counts), bootstrap_fbeta(matches, THRESHOLDS, counts)
    average = [precision.figures["map"], precision.figures["map_50"], *precision.by_class["map"].T]
    score = [fbeta.figures["f2"], fbeta.figures["f2_macro"], *fbeta.by_class["f2"].T]
    return np.stack([*average, *score, fbeta.figures["precision"], fbeta.figures["recall"]], axis=1)


@given(st.one_of(scenes(), scenes(crowded=True)))
def test_pictures_drawn_once_give_the_figures_themselves(scene):
    truths, detections = scene
    once = np.ones((2, len(truths)), np.uint8)
    figures = resampled(match_detections(truths, detections, CLASSES), once)
    for row in figures:
        assert row.tolist() == pytest.approx(expected(truths, detections), abs=1e-12, nan_ok=True)


@settings(max_examples=100)
@given(st.one_of(scenes(), scenes(crowded=True)), st.integers(0, 1000))
def test_a_picture_drawn_twice_counts_twice(scene, seed):
    truths, detections = scene
    detections = untied(detections, seed)
    counts = resample_counts(len(truths), 4, seed)
    figures = resampled(match_detections(truths, detections, CLASSES), counts)
    for row, drawn in zip(figures, counts, strict=True):
        slow = expected(repeated(truths, drawn), repeated(detections, drawn))
        assert row.tolist() == pytest.approx(slow, abs=1e-12, nan_ok=True)


@given(st.one_of(scenes(), scenes(crowded=True)), st.integers(0, 1000))
def test_figures_by_size_are_cocos_on_every_resample(scene, seed):
    truths, detections = scene
    detections = untied(detections, seed)
    matches = match_detections(truths, detections, CLASSES)
    counts = np.concatenate([np.ones((1, len(truths)), np.uint8), resample_counts(len(truths), 2, seed)])
    by_size = [bootstrap_map(_of_size(matches, number), counts).figures["map"] for number in range(3)]
    for row, drawn in enumerate(counts):
        slow = average_precision(match_detections(repeated(truths, drawn), repeated(detections, drawn), CLASSES))
        expected = [slow.map_small, slow.map_medium, slow.map_large]
        assert [one[row] for one in by_size] == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_an_interval_by_size_is_that_of_all_where_all_boxes_have_it():
    corner = np.stack([np.arange(6) * 50.0, np.zeros(6)], axis=1)
    places = np.concatenate([corner, corner + 40], axis=1)
    truths = [GroundTruth.of(places, np.arange(6) % CLASSES) for _ in range(12)]
    found = np.random.default_rng(1)
    detections = [
        Detections(places + found.normal(0, 1, (6, 4)), found.random(6), np.arange(6) % CLASSES) for _ in truths
    ]
    matches = match_detections(truths, detections, CLASSES)
    measured = intervals_by_size(matches, resamples=50)
    assert measured["map_medium"] == intervals(matches, THRESHOLDS, resamples=50).figures["map"]
    assert np.isnan([measured["map_small"].low, measured["map_large"].high]).all()


def test_blocks_of_resamples_do_not_show():
    """So many resamples that they are worked on apart, against each by itself."""
    matches = World().draw(40, seed=3)
    counts = resample_counts(40, 300)
    alone = np.concatenate([resampled(matches, counts[row : row + 1]) for row in range(0, 300, 7)])
    assert resampled(matches, counts)[::7] == pytest.approx(alone, abs=1e-12)


@settings(max_examples=20)
@given(st.integers(1, 300), st.integers(0, 1000))
def test_a_picture_drawn_twice_counts_twice_with_many_boxes(boxes, seed):
    """As above with more boxes of a class than COCO has recalls, and pictures whose class is drawn rarely."""
    generator = np.random.default_rng(seed)
    corner = np.stack([np.arange(boxes) * 20.0, np.zeros(boxes)], axis=1)
    places = np.concatenate([corner, corner + 10], axis=1)
    labels = generator.integers(0, CLASSES, (4, boxes))
    truths = [
        GroundTruth.of(places[: boxes // (1 + number)], row[: boxes // (1 + number)])
        for number, row in enumerate(labels)
    ]
    detections = untied(
        [Detections(places + generator.normal(0, 1, places.shape), np.linspace(0, 1, boxes), row) for row in labels]
    )
    counts = resample_counts(4, 4, seed)
    figures = resampled(match_detections(truths, detections, CLASSES), counts)
    for row, drawn in zip(figures, counts, strict=True):
        assert row.tolist() == pytest.approx(
            expected(repeated(truths, drawn), repeated(detections, drawn)), nan_ok=True
        )


def test_draws_add_up_and_repeat():
    counts = resample_counts(50, 200, seed=4)
    assert counts.dtype == np.uint8
    assert (counts.sum(axis=1) == 50).all()
    assert np.array_equal(counts, resample_counts(50, 200, seed=4))
    assert not np.array_equal(counts, resample_counts(50, 200, seed=5))
    assert counts.mean(axis=0) == pytest.approx(np.ones(50), abs=0.3)
    assert counts.var() == pytest.approx(1 - 1 / 50, rel=0.05)
    assert resample_counts(0, 3).shape == (3, 0)


def test_without_pictures_boxes_or_detections():
    nothing = match_detections([], [], CLASSES)
    assert np.isnan(bootstrap_map(nothing, resample_counts(0, 3)).figures["map"]).all()
    assert bootstrap_fbeta(nothing, 0.5, resample_counts(0, 3)).figures["f2"].tolist() == [1.0] * 3
    unfound = match_detections([GroundTruth.of([[0, 0, 9, 9]], [1])], [Detections.empty()], CLASSES)
    samples = bootstrap_map(unfound, resample_counts(1, 2))
    assert samples.figures["map"].tolist() == [0.0, 0.0]
    assert np.isnan(samples.by_class["map"][:, [0, 2]]).all()
    assert np.isnan(intervals(nothing, 0.5, 20).figures["map"].low)


def one_in_many(with_a_hit, labels=(0,), pictures=40):
    """Pictures with a box each and a stray detection of each label; those named find theirs, at a low score."""
    truths, detections = [], []
    for number in range(pictures):
        truths.append(GroundTruth.of([[0, 0, 9, 9]], [labels[number % len(labels)]]))
        boxes = [[50, 50, 59, 59]] * len(labels) + [[0, 0, 9, 9]] * (number in with_a_hit)
        scores = [0.9] * len(labels) + [0.1] * (number in with_a_hit)
        detections.append(Detections(boxes, scores, [*labels, *[labels[0]] * (number in with_a_hit)]))
    return match_detections(truths, detections, CLASSES)


def test_resamples_without_the_one_picture_that_has_a_hit():
    matches = one_in_many({7})
    counts = resample_counts(40, 60)
    missed = counts[:, 7] == 0
    assert 10 < missed.sum() < 40
    assert (bootstrap_map(matches, counts[missed]).figures["map"] == 0).all()
    assert ((bootstrap_map(matches, counts).figures["map"] == 0) == missed).all()


@pytest.mark.parametrize(("labels", "hits"), [((0, 1), {0}), ((0, 1), set()), ((2,), set())])
def test_classes_without_any_hit_are_zero(labels, hits):
    matches, counts = one_in_many(hits, labels), resample_counts(40, 60)
    for samples in (bootstrap_map(matches, counts), bootstrap_map(matches, counts[counts[:, 0] == 0])):
        assert (samples.by_class["map"][:, labels[-1]] == 0).all()
        assert np.isnan(np.delete(samples.by_class["map"], labels, axis=1)).all()
        assert not np.isnan(samples.figures["map"]).any()
    assert intervals(matches, 0.5, 60).figures["map"].low == 0.0


def test_intervals_are_of_each_figure_and_class():
    matches = World(boxes=(2.0, 1.0, 0.0)).draw(60, seed=1)
    measured = intervals(matches, THRESHOLDS, resamples=200)
    precision = average_precision(matches)
    assert measured.figures.keys() == {"map", "map_50", "f2", "f2_macro", "precision", "recall"}
    assert precision.map_50 in measured.figures["map_50"]
    assert fbeta_at(matches, THRESHOLDS) in measured.figures["f2"]
    for name in ("map", "f2"):
        *with_boxes, without = measured.by_class[name]
        assert without is None
        assert all(0.05 < interval.high - interval.low < 0.4 for interval in with_boxes)
    assert measured == intervals(matches, THRESHOLDS, resamples=200)
    assert measured != intervals(matches, THRESHOLDS, resamples=200, seed=1)


def test_a_class_of_one_picture_has_no_interval():
    boxes = [[0, 0, 9, 9], [20, 0, 29, 9]]
    truths = [GroundTruth.of(boxes, [0, 1]), GroundTruth.of(boxes, [0, 0]), GroundTruth.of(boxes[:1], [0])]
    detections = [Detections(boxes, [0.9, 0.8], [0, 1]), Detections(boxes, [0.7, 0.2], [0, 0]), Detections.empty()]
    measured = intervals(match_detections(truths, detections, 2), 0.1, 50)
    assert measured.by_class["map"][0] is not None
    assert measured.by_class["map"][1] is None


def test_every_figure_that_comes_first_has_an_interval():
    matches = World().draw(20, seed=0)
    assert intervals(matches, THRESHOLDS, resamples=20).figures.keys() == HEADLINE.keys()
