"""The choice of a threshold against a slow reference that tries every score."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boxwright.metrics import GroundTruth, match_detections, precision_recall
from boxwright.metrics.bootstrap import intervals, resample_counts
from boxwright.metrics.fbeta import class_fbeta_at, fbeta_at
from boxwright.metrics.objective import MIN_BOXES, Choice, Objective, choose, chosen_in_resamples
from boxwright.runtime import ConfigError, Detections
from boxwright.runtime.spec import DEFAULT_THRESHOLD
from support.scenes import CLASSES, scenes
from support.simulation import World, repeated

OBJECTIVES = ["f2", "f1", "f0.5", "precision>=0.4", "precision>=1", "recall>=0.5", "recall>=0.2"]


def one_by_one(matches, objective):
    """The threshold and what it maximises, every score tried; where no score keeps to a bound, the closest."""
    occurring = sorted(set(matches.scores.tolist()), reverse=True)
    if not occurring:
        return DEFAULT_THRESHOLD, None
    if objective.figure == "f":
        values = [fbeta_at(matches, score, objective.number) for score in occurring]
    else:
        row, boxes = matches.at(0.5), max(1, int(matches.boxes_per_class.sum()))
        values = []
        for score in occurring:
            kept = matches.scores >= score
            hits, counted = (matches.hit[row] & kept).sum(), (kept & ~matches.ignored[row]).sum()
            figures = {"precision": hits / max(counted, 1), "recall": hits / boxes}
            held, wanted = figures[objective.figure], figures[objective.maximised]
            values.append(1 + wanted if held >= objective.number else held)
    best = max(values)
    at = next(place for place, value in enumerate(values) if value > best - 1e-12)
    return occurring[at], best


@settings(max_examples=100)
@given(scenes(), st.sampled_from(OBJECTIVES))
def test_the_choice_is_the_best_of_all_scores(scene, text):
    objective = Objective.parse(text)
    matches = match_detections(*scene, CLASSES)
    threshold, value = one_by_one(matches, objective)
    if objective.figure != "f" and value is not None and value < 1:
        with pytest.raises(ConfigError):
            choose(matches, objective, resamples=2)
    else:
        choice = choose(matches, objective, resamples=2)
        assert choice.threshold == threshold
        if value is not None:
            assert choice.value == pytest.approx(value - (objective.figure != "f"), abs=1e-12)


@settings(max_examples=100)
@given(scenes(), st.sampled_from(OBJECTIVES), st.integers(0, 1000))
def test_a_resample_chooses_as_its_pictures_would(scene, text, seed):
    truths, detections = scene
    objective = Objective.parse(text)
    counts = resample_counts(len(truths), 5, seed)
    chosen = chosen_in_resamples(match_detections(truths, detections, CLASSES), objective, counts)
    for threshold, drawn in zip(chosen, counts, strict=True):
        matches = match_detections(repeated(truths, drawn), repeated(detections, drawn), CLASSES)
        assert threshold == one_by_one(matches, objective)[0]


@pytest.mark.parametrize(
    ("text", "figure", "number", "written"),
    [
        ("f2", "f", 2.0, "f2"),
        ("F1", "f", 1.0, "f1"),
        ("f0.5", "f", 0.5, "f0.5"),
        ("f2.0", "f", 2.0, "f2"),
        ("precision>=0.95", "precision", 0.95, "precision>=0.95"),
        (" Precision ≥ .95 ", "precision", 0.95, "precision>=0.95"),
        ("recall >= 1", "recall", 1.0, "recall>=1"),
    ],
)
def test_objectives_are_read_and_written(text, figure, number, written):
    objective = Objective.parse(text)
    assert objective == Objective(figure, number)
    assert str(objective) == written
    assert Objective.parse(str(objective)) == objective


@pytest.mark.parametrize(
    "text",
    ["", "f", "f0", "f-1", "fnan", "finf", "map", "precision", "precision>0.9", "precision>=95", "recall>=0", "f2 x"],
)
def test_other_objectives_name_what_is_allowed(text):
    with pytest.raises(ConfigError, match=r"recall>=0\.9") as caught:
        Objective.parse(text)
    assert repr(text) in caught.value.message


def test_what_is_maximised():
    assert [Objective.parse(text).maximised for text in ("f2", "precision>=.9", "recall>=.9")] == [
        "f2",
        "recall",
        "precision",
    ]


def test_a_bound_is_kept_and_the_rest_is_as_high_as_can_be():
    matches = World().draw(80, seed=0)
    curve = precision_recall(matches)
    careful = choose(matches, Objective.parse("precision>=0.9"), resamples=50)
    precision, recall = curve.at(careful.threshold)
    assert precision >= 0.9
    assert recall == careful.value
    assert recall == curve.recall[curve.precision >= 0.9].max()
    thorough = choose(matches, Objective.parse("recall>=0.8"), resamples=50)
    precision, recall = curve.at(thorough.threshold)
    assert recall >= 0.8
    assert precision == thorough.value
    assert thorough.threshold < careful.threshold


@pytest.mark.parametrize(("text", "best"), [("precision>=1", "precision is 0.5"), ("recall>=1", "recall is 0.5")])
def test_what_cannot_be_attained_says_what_can(text, best):
    truth = [GroundTruth.of([[0, 0, 9, 9], [20, 0, 29, 9]], [0, 0])]
    detections = [Detections([[50, 50, 59, 59], [0, 0, 9, 9]], [0.75, 0.5], [0, 0])]
    with pytest.raises(ConfigError, match=rf"{best}00, at threshold 0\.500"):
        choose(match_detections(truth, detections, 1), Objective.parse(text))


def test_recall_without_boxes_cannot_be_measured():
    matches = match_detections([GroundTruth.of([], [])], [Detections([[0, 0, 9, 9]], [0.5], [0])], 1)
    with pytest.raises(ConfigError, match="no boxes"):
        choose(matches, Objective.parse("recall>=0.5"))


def test_without_detections_the_default_stands():
    matches = match_detections([GroundTruth.of([[0, 0, 9, 9]], [0])] * 2, [Detections.empty()] * 2, 1)
    choice = choose(matches, Objective.parse("f2"))
    assert (choice.threshold, choice.value) == (DEFAULT_THRESHOLD, 0.0)
    assert (choice.interval.low, choice.interval.high) == (DEFAULT_THRESHOLD, DEFAULT_THRESHOLD)
    assert choice.per_class == {}


@pytest.mark.parametrize("text", ["precision>=0.95", "recall>=0.9"])
@pytest.mark.parametrize("crowd", [False, True])
def test_a_bound_is_not_attained_where_nothing_that_counts_is_detected(text, crowd):
    truth = GroundTruth.of([[0, 0, 9, 9], [50, 50, 59, 59]], [0, 0], [False, True])
    detections = Detections([[50, 50, 59, 59]] * crowd, [0.5] * crowd, [0] * crowd)
    with pytest.raises(ConfigError, match="is not attained") as caught:
        choose(match_detections([truth] * 2, [detections] * 2, 1), Objective.parse(text))
    assert caught.value.remedy == "Ask for less, or train a better model."


@pytest.mark.parametrize("detected", [False, True])
def test_without_boxes_a_value_has_no_interval(detected):
    truths = [GroundTruth.of([], [])] * 4
    detections = [Detections([[0, 0, 9, 9]], [0.5], [0]) if detected else Detections.empty(), *[Detections.empty()] * 3]
    matches = match_detections(truths, detections, 1)
    choice = choose(matches, Objective.parse("f1"), resamples=50)
    assert choice.value == (0.0 if detected else 1.0)
    assert np.isnan([choice.value_interval.low, choice.value_interval.high]).all()
    every = intervals(matches, choice.threshold, resamples=50).figures.values()
    assert all(np.isnan([one.low, one.high]).all() for one in every)


def test_classes_with_few_boxes_have_no_threshold_of_their_own():
    matches = World(boxes=(3.0, 1.0, 0.02)).draw(80, seed=1)
    choice = choose(matches, Objective.parse("f2"), resamples=200)
    assert matches.boxes_per_class[1] >= MIN_BOXES > matches.boxes_per_class[2]
    assert choice.per_class.keys() == {0, 1}
    for label, threshold in choice.per_class.items():
        scores = matches.scores[matches.labels == label]
        values = [class_fbeta_at(matches, score)[label] for score in scores]
        assert threshold == scores[np.argmax(values)]


def test_a_class_that_cannot_attain_the_bound_has_no_threshold_of_its_own():
    """Of the second class only every third box is found."""
    boxes = [[0, 0, 9, 9]]
    truths = [GroundTruth.of(boxes, [label]) for label in (0, 1) for _ in range(MIN_BOXES)]
    detections = [
        Detections(boxes, [0.5 + number / 1000], [0 if number < MIN_BOXES else 1])
        if number < MIN_BOXES or number % 3 == 0
        else Detections.empty()
        for number in range(2 * MIN_BOXES)
    ]
    matches = match_detections(truths, detections, 2)
    assert (matches.boxes_per_class >= MIN_BOXES).all()
    choice = choose(matches, Objective.parse("recall>=0.6"), resamples=20)
    assert choice.per_class.keys() == {0}


def test_the_intervals_hold_the_choice_and_repeat():
    matches = World().draw(80, seed=2)
    choice = choose(matches, Objective.parse("f2"), resamples=300)
    assert choice.threshold in choice.interval
    assert set(choice.interval.__dict__.values()) & set(matches.scores.tolist())
    assert choice.value in choice.value_interval
    assert choice.value_interval == intervals(matches, choice.threshold, resamples=300).figures["f2"]
    assert choice == choose(matches, Objective.parse("f2"), resamples=300)
    assert isinstance(choice, Choice)
