"""Results files of other tools: what is measured, what is said, what is refused."""

import copy
import io
import json
from contextlib import redirect_stdout

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import boxwright
from boxwright.data import read_truth
from boxwright.evaluation import SplitResults
from boxwright.evaluation.results import RESULTS
from boxwright.evaluation.results_files import read_detections
from boxwright.metrics.average_precision import average_precision
from boxwright.runtime import ConfigError, DataError, Detections, ModelSpec
from support.broken import document as small_document
from support.broken import write_data
from support.results_files import results_for, truth_document, write

KNOWN = {
    "map": 0.50458, "map_50": 0.69697, "map_75": 0.57298, "map_small": 0.58563, "map_medium": 0.51940,
    "map_large": 0.50140, "ar_1": 0.38681, "ar_10": 0.59368, "ar_100": 0.59535,
}  # fmt: skip
"""Of the public fixture, as pycocotools gives it: shared/reference/metrics.md."""


@pytest.fixture
def truth():
    return truth_document()


@pytest.fixture
def found(truth):
    return results_for(truth)


@pytest.fixture
def measure(truth, tmp_path):
    """A function that measures entries by the annotations of ``truth``."""

    def evaluate(entries, **options):
        data = write(tmp_path / "truth.json", truth)
        return boxwright.evaluate(write(tmp_path / "other.json", entries), data, **options)

    return evaluate


@pytest.fixture
def best(measure, found):
    """The figures of the detections as they should be written."""
    return figures(measure(found))


def figures(evaluation):
    """With None for NaN, which is not equal to itself."""
    return evaluation.figures.to_document(evaluation.spec.class_names)


def changed(entries, **functions):
    """Copies with the values of some keys replaced by a function of the entry; None removes the key."""
    copies = [{**one, **{key: of(one) for key, of in functions.items()}} for one in entries]
    return [{key: value for key, value in one.items() if value is not None} for one in copies]


def theirs(truth, found):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = copy.deepcopy(truth)
        for number, one in enumerate(coco.dataset["annotations"], start=1):
            one["id"] = number  # they take a match with id 0 for none
        coco.createIndex()
        run = COCOeval(coco, coco.loadRes(copy.deepcopy(found)), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run.stats


def test_the_public_fixture_gives_its_known_figures(real_data):
    folder = real_data / "coco_val2014_100"
    results = folder / "instances_val2014_fakebbox100_results.json"
    evaluation = boxwright.evaluate(results, folder / "instances_val2014_100.json")
    assert {name: getattr(evaluation.figures, name) for name in KNOWN} == pytest.approx(KNOWN, abs=1e-5)
    assert (evaluation.spec.name, evaluation.spec.detections) == ("instances_val2014_fakebbox100_results", 734)
    assert (evaluation.split, len(evaluation.spec.classes)) == ("instances_val2014_100", 80)
    assert evaluation.spec.notes == ()


@given(seed=st.integers(0, 10**6), pictures=st.integers(1, 8))
def test_all_twelve_figures_are_pycocotools(seed, pictures, tmp_path_factory):
    """Decimals, tied scores, crowds, more than a hundred detections, ids out of order, boxes over the edge."""
    generator = np.random.default_rng(seed)
    truth = truth_document(pictures, seed)
    truth["categories"] = truth["categories"][1:]
    for one in truth["annotations"]:
        one["iscrowd"] = int(generator.random() < 0.2)
        one["area"] = float(generator.choice([0.0, 500.0, 5000.0, 50000.0]))
        one["bbox"][0] += float(generator.choice([0, 400]))
    found = results_for(truth, seed)
    for number in range(150):
        near = found[number % len(found)]
        box = (np.array(near["bbox"]) + generator.normal(0, 9, 4)).clip(1).round(2).tolist()
        found.append({**near, "bbox": box, "score": round(float(generator.uniform()), 1)})
    folder = tmp_path_factory.mktemp("pair")
    data = read_truth(write(folder / "truth.json", truth))
    precision = average_precision(read_detections(write(folder / "other.json", found), data)[0].matches())
    ours = [value for name, value in vars(precision).items() if not name.startswith("per_class")]
    assert [-1 if value != value else value for value in ours] == pytest.approx(theirs(truth, found), abs=1e-12)


def test_scores_that_float32_cannot_tell_apart_stay_apart(measure, truth):
    """The stray has the better score by 1e-12; in float32 the hit would come first."""
    box = truth["annotations"][0]
    hit = {"image_id": box["image_id"], "category_id": 2, "bbox": box["bbox"], "score": 0.5}
    stray = {**hit, "image_id": truth["images"][3]["id"], "bbox": [0, 0, 5.0, 5.0], "score": 0.5 + 1e-12}
    first = measure([hit, stray]).results.matches()
    assert first.hit[0].tolist() == [False, True]
    assert first.scores.tolist() == [0.5 + 1e-12, 0.5]


def test_a_runs_own_detections_give_the_runs_own_figures(run, demo_data, tmp_path):
    spec, results = ModelSpec.load(run / "spec.json"), SplitResults.load(run / RESULTS)
    document = json.loads((demo_data / "valid" / "_annotations.coco.json").read_text())
    ids = {image["file_name"]: image["id"] for image in document["images"]}
    categories = [entry.id for entry in spec.classes]
    pairs = zip(results.file_names, results.detections, strict=True)
    entries = [one for name, found in pairs for one in found.to_coco(ids[name], categories)]
    path = write(tmp_path / "own.json", entries)
    own = boxwright.evaluate(run, demo_data)
    read = boxwright.evaluate(path, demo_data, threshold=own.spec.operating_point.threshold)
    assert figures(read) == figures(own)
    assert read.intervals.figures == own.intervals.figures
    assert read.spec.notes == ()
    contenders, (comparison,) = boxwright.compare([run, path], demo_data)
    assert [one.name for one in contenders] == [spec.name, "own"]
    assert all(one.difference == 0 for one in comparison.figures)
    assert contenders[0].spec.operating_point.threshold == pytest.approx(spec.operating_point.threshold)


def test_what_predict_writes_is_measured_by_file_names(run, demo_data, tmp_path):
    """Without image ids; with everything down to score 0, the figures are the run's own."""
    results = SplitResults.load(run / RESULTS)
    spec = ModelSpec.load(run / "spec.json")
    entries = [
        {"file_name": name, "category_id": one["category_id"], "class": "-", "bbox": one["bbox"], "score": one["score"]}
        for name, found in zip(results.file_names, results.detections, strict=True)
        for one in found.to_coco(0, [entry.id for entry in spec.classes])
    ]
    read = boxwright.evaluate(write(tmp_path / "own.json", entries), demo_data)
    assert read.figures.map == boxwright.evaluate(run, demo_data).figures.map


# --- the threshold


def test_without_a_threshold_f2_is_the_best_on_these_pictures_and_that_is_said(measure, found):
    evaluation = measure(found)
    assert evaluation.figures.f2 == evaluation.figures.best_f2
    document = evaluation.to_document()
    assert document["threshold_from"] == "highest F2 on these same pictures"
    given = measure(found, threshold=0.6)
    assert (given.figures.threshold, given.to_document()["threshold_from"]) == (0.6, "given")
    assert given.figures.f2 < evaluation.figures.f2
    assert given.figures.map == evaluation.figures.map


def test_no_detections_have_figures_and_a_note(measure):
    evaluation = measure([])
    assert (evaluation.figures.map, evaluation.figures.f2, evaluation.figures.recall) == (0, 0, 0)
    assert evaluation.spec.notes == ("The file holds no detections.",)


def test_a_list_that_was_cut_is_told(measure, found):
    notes = measure([one for one in found if one["score"] >= 0.4]).spec.notes
    assert len(notes) == 1
    assert notes[0].startswith("The lowest score is 0.4")


# --- pictures


IDS = {
    "digits": lambda image: str(image["id"]),
    "zeros before": lambda image: f"{image['id']:012}",
    "whole floats": lambda image: float(image["id"]),
    "file names": lambda image: image["file_name"],
    "stems": lambda image: image["file_name"][:-4],
    "numbers of stems": lambda image: int(image["file_name"][:-4]),
    "numbers of stems as text": lambda image: str(int(image["file_name"][:-4])),
    "paths": lambda image: f"/data/valid/{image['file_name']}",
    "paths of Windows": lambda image: f"C:\\data\\{image['file_name']}",
    "capitals": lambda image: image["file_name"].upper(),
    "another suffix": lambda image: image["file_name"].replace(".jpg", ".png"),
}


@pytest.mark.parametrize("kind", IDS)
def test_image_ids_of_other_tools_are_matched(measure, truth, found, best, kind):
    by_id = {image["id"]: IDS[kind](image) for image in truth["images"]}
    evaluation = measure(changed(found, image_id=lambda one: by_id[one["image_id"]]))
    assert figures(evaluation) == best
    said = any("names of files" in note for note in evaluation.spec.notes)
    assert said == (kind not in ("digits", "zeros before", "whole floats"))


def test_stems_with_points_and_mixed_ids_are_matched(measure, truth, found, best):
    """Ultralytics writes a number where the stem is one, and the stem where it is none."""
    names = {image["id"]: (f"a.b.{at}" if at % 2 else f"{at + 500}") for at, image in enumerate(truth["images"])}
    for image in truth["images"]:
        image["file_name"] = f"{names[image['id']]}.jpg"
    stems = {number: int(name) if name.isdigit() else name for number, name in names.items()}
    assert figures(measure(changed(found, image_id=lambda one: stems[one["image_id"]]))) == best


def test_the_folder_tells_pictures_of_the_same_name_apart(measure, truth, found, best):
    for at, image in enumerate(truth["images"]):
        image["file_name"] = f"cam{at % 2}/{at // 2}.jpg"
    names = {image["id"]: image["file_name"] for image in truth["images"]}
    assert figures(measure(changed(found, image_id=lambda one: f"/x/{names[one['image_id']]}"))) == best
    with pytest.raises(DataError, match=r"no image_id of .*'0\.jpg' \(detection 0\)\. Several pictures are called"):
        measure(changed(found, image_id=lambda one: names[one["image_id"]].split("/")[1]))


def test_where_ids_and_stems_both_fit_the_boxes_decide(measure, truth, found, best):
    """Pictures that are called by numbers that are ids of other pictures."""
    ids = [image["id"] for image in truth["images"]]
    for at, image in enumerate(truth["images"]):
        image["file_name"] = f"{ids[at - 1]}.jpg"
    stems = {image["id"]: int(image["file_name"][:-4]) for image in truth["images"]}
    by_stem = measure(changed(found, image_id=lambda one: stems[one["image_id"]]))
    assert figures(by_stem) == best
    assert "Pictures are matched by image_id, read as names of files: of the best 36" in by_stem.spec.notes[0]
    by_id = measure(found)
    assert figures(by_id) == best
    assert "Pictures are matched by image_id: of the best 36" in by_id.spec.notes[0]


def test_unknown_pictures_are_counted_and_the_first_is_named(measure, found):
    found[3]["image_id"] = found[7]["image_id"] = 5
    with pytest.raises(DataError, match=r"2 of 36 detections have no image_id of .*truth\.json.* 5 \(detection 3\)"):
        measure(found)


def test_counting_from_another_number_is_recognised(measure, found):
    with pytest.raises(DataError, match="With every id one lower, all would fit: write the ids"):
        measure(changed(found, image_id=lambda one: one["image_id"] + 1))


# --- classes


def test_categories_by_place_in_the_list_are_recognised(measure, found):
    places = {2: 0, 3: 1, 7: 2}
    with pytest.raises(DataError, match=r"have no category_id of .*sorted list of ids, counted from 0, all would fit"):
        measure(changed(found, category_id=lambda one: places[one["category_id"]]))


def test_unknown_categories_are_counted_and_the_first_is_named(measure, found):
    found[4]["category_id"] = 99
    with pytest.raises(
        DataError, match=r"1 of 36 detections have no category_id of .* 99 \(detection 4\)\. It has 2, 3"
    ):
        measure(found)


def test_categories_counted_from_0_are_recognised_although_0_is_listed(measure, truth, found):
    """Roboflow's id 0 is the group; a detector that counts its classes from 0 names it."""
    for group in (truth["categories"], truth["annotations"], found):
        for one in group:
            key = "id" if "name" in one else "category_id"
            one[key] = {2: 1, 3: 2, 7: 3}.get(one[key], 0)
    assert measure(found).figures.map > 0.3
    with pytest.raises(DataError, match=r"0% have its class by category_id\. With every id one higher, 100% would"):
        measure(changed(found, category_id=lambda one: one["category_id"] - 1))


def test_a_few_detections_of_a_group_are_left_out_with_a_note(measure, found, best):
    extra = [{**found[0], "category_id": 0, "score": 0.2}]
    evaluation = measure(found + extra)
    assert figures(evaluation) == best
    note = "1 detection is left out: their categories, as 0 ('animals'), are no classes here."
    assert evaluation.spec.notes == (note,)


def test_names_of_classes_beside_the_ids_win(measure, found, best):
    """SAHI and others count their own ids and write the names."""
    names = {2: "fish", 3: "ray", 7: "star"}
    with_names = changed(found, category_name=lambda one: names[one["category_id"]])
    assert measure(with_names).spec.notes == ()
    evaluation = measure(changed(with_names, category_id=lambda one: one["category_id"] % 3))
    assert figures(evaluation) == best
    assert evaluation.spec.notes == ("Classes are matched by their names; category_id gives others, or none.",)
    assert figures(measure(changed(found, category_id=lambda one: names[one["category_id"]]))) == best


def test_a_whole_document_with_scores_is_taken_with_its_own_ids(measure, truth, found, best):
    """As exporters write predictions: pictures and categories numbered anew."""
    own_pictures = {image["id"]: at for at, image in enumerate(truth["images"])}
    own_categories = {2: 1, 3: 2, 7: 3}
    document = {
        "images": [{**image, "id": own_pictures[image["id"]]} for image in truth["images"]],
        "categories": [{"id": own_categories.get(one["id"], 0), "name": one["name"]} for one in truth["categories"]],
        "annotations": changed(
            found,
            image_id=lambda one: own_pictures[one["image_id"]],
            category_id=lambda one: own_categories[one["category_id"]],
        ),
    }
    evaluation = measure(document)
    assert figures(evaluation) == best
    assert len(evaluation.spec.notes) == 1
    assert figures(measure({**truth, "annotations": found})) == best


# --- boxes


@pytest.mark.parametrize(
    ("name", "write_box"),
    [
        ("xyxy", lambda x, y, w, h: [x, y, x + w, y + h]),
        ("cxcywh", lambda x, y, w, h: [x + w / 2, y + h / 2, w, h]),
        ("yxhw", lambda x, y, w, h: [y, x, h, w]),
        ("xywhn", lambda x, y, w, h: [x / 640, y / 480, w / 640, h / 480]),
    ],
)
def test_boxes_that_mean_something_else_are_named_and_can_be_read(measure, found, best, name, write_box):
    written = changed(found, bbox=lambda one: write_box(*one["bbox"]))
    with pytest.raises(DataError, match=rf"its boxes are .* \({name}\): .* evaluate --boxes {name}"):
        measure(written)
    assert measure(written, boxes=name).figures.map == pytest.approx(best["map"], abs=1e-9)
    with pytest.raises(ConfigError, match="Boxes 'corners' are unknown"):
        measure(written, boxes="corners")


def test_without_annotated_boxes_the_sizes_of_the_pictures_tell(measure, truth, found):
    truth["annotations"] = truth["annotations"][:1]
    corners = changed(found, bbox=lambda one: [one["bbox"][0] + 200, one["bbox"][1] + 100, 630.0, 470.0])
    with pytest.raises(DataError, match=r"\(xyxy\): so they lie inside their pictures"):
        measure(corners)


@given(seed=st.integers(0, 10**6), largest=st.integers(20, 320))
def test_a_poor_detector_is_neither_another_reading_nor_another_counting(seed, largest, tmp_path_factory):
    """Boxes and classes by chance: measured, not refused."""
    generator = np.random.default_rng(seed)
    truth = truth_document(12, seed)
    poor = changed(
        results_for(truth) * 6,
        bbox=lambda one: [*generator.uniform(0, 160, 2), *generator.uniform(5, largest, 2)],
        category_id=lambda one: int(generator.choice([2, 3, 7])),
    )
    folder = tmp_path_factory.mktemp("poor")
    _, spec = read_detections(write(folder / "other.json", poor), read_truth(write(folder / "truth.json", truth)))
    assert spec.notes == ()


def test_a_detector_of_one_class_is_no_other_counting(measure, truth, found):
    for number, one in enumerate(truth["annotations"]):
        one["category_id"] = 3 if number else 2
    assert measure(changed(found, category_id=lambda one: 2)).figures.map < 0.1


# --- what is no results file


BAD = [
    ({"score": float("nan")}, r"detection 5: score = nan is not a number from 0 to 1"),
    ({"score": 93.5}, r"detection 5: score = 93\.5 is not a number from 0 to 1\. A score is a share"),
    ({"score": None}, r"detection 5: score = None"),
    ({"score": "0.5"}, r"detection 5: score = '0\.5'"),
    ({"bbox": [1, 2, float("nan"), 4]}, r"detection 5: bbox = \[1, 2, nan, 4\] is not four finite numbers"),
    ({"bbox": [1, 2, float("inf"), 4]}, r"detection 5: bbox"),
    ({"bbox": [1, 2, 3]}, r"detection 5: bbox = \[1, 2, 3\] is not four"),
    ({"bbox": ["1", "2", "3", "4"]}, r"detection 5: bbox"),
    ({"bbox": [30, 40, 0, 20]}, r"detection 5: bbox = \[30\.0, 40\.0, 0\.0, 20\.0\] has no area"),
    ({"bbox": [30, 40, 10, -20]}, r"detection 5: bbox .* has no area"),
    ({"bbox": None}, r"detection 5 has no 'bbox'\. A results file is"),
    ({"image_id": [1]}, r"detection 5: image_id = \[1\] is no id"),
    ({"image_id": True}, r"detection 5: image_id = True is no id"),
    ({"image_id": None}, r"detection 5: image_id = None is no id"),
    ({"category_id": None}, r"detection 5: category_id = None is no id"),
]


@pytest.mark.parametrize(("change", "words"), BAD, ids=[str(change) for change, _ in BAD])
def test_a_wrong_value_is_named_by_its_place(measure, found, change, words):
    found[5].update(change)
    with pytest.raises(DataError, match=r"other\.json: " + words):
        measure(found)


def test_several_wrong_values_are_counted(measure, found):
    for one in found[5:8]:
        one["score"] = -1
    with pytest.raises(DataError, match=r"detection 5: score = -1 .* \(and 2 more like it\)"):
        measure(found)


NO_RESULTS = [
    ("{", "no readable JSON"),
    ("", "the file is empty"),
    ("[" * 100_000, "no readable JSON"),
    ("7", "holds a number, not a list"),
    ("[1, 2]", "detection 0 is a number"),
    ('{"model": "yolo", "maps": []}', r"is no results file, but a JSON object with 'model', 'maps'"),
    ('[{"image_id": 40, "category_id": 2, "segmentation": {}, "score": 1}]', "has no 'bbox', only 'segmentation'"),
    ('[{"image_id": 40, "category_id": 2, "keypoints": [], "score": 1}]', "has no 'bbox', only 'keypoints'"),
    ('[{"category_id": 2, "bbox": [1, 2, 3, 4], "score": 1}]', "no detection has 'image_id'"),
    ('[{"image_id": 40, "bbox": [1, 2, 3, 4], "score": 1}]', "no detection has 'category_id'"),
    ('[{"file_name": "a.mp4", "frame": 3, "category_id": 2, "bbox": [1, 2, 3, 4], "score": 1}]', "frame of a video"),
]


@pytest.mark.parametrize(("text", "words"), NO_RESULTS, ids=[words for _, words in NO_RESULTS])
def test_what_is_no_results_file_is_told(truth, tmp_path, text, words):
    (tmp_path / "other.json").write_text(text)
    with pytest.raises(DataError, match=r"other\.json.*" + words):
        boxwright.evaluate(tmp_path / "other.json", write(tmp_path / "truth.json", truth))


def test_ground_truth_given_by_mistake_is_recognised(measure, truth):
    with pytest.raises(DataError, match=r"holds annotations \(ground truth\), not detections.*give it as --data"):
        measure(truth)
    truth["annotations"][2]["score"] = 0.5
    with pytest.raises(DataError, match=r"annotation 0 has no score \(and 22 more like it\)"):
        measure(truth)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"gone\.json: no such file"):
        boxwright.evaluate(tmp_path / "gone.json", write(tmp_path / "truth.json", truth_document()))


# --- options that do not go together


def test_options_of_models_do_not_go_with_a_results_file(measure, found, tmp_path):
    with pytest.raises(ConfigError, match=r"Device cuda:0 does not go with .*other\.json"):
        measure(found, device="cuda:0")
    with pytest.raises(ConfigError, match=r"--split test does not go with .*truth\.json"):
        measure(found, split="test")
    with pytest.raises(ConfigError, match="Threshold"):
        measure(found, threshold=1.5)
    with pytest.raises(ConfigError, match="cannot be held against an endpoint"):
        boxwright.evaluate_endpoint(tmp_path / "other.json", tmp_path, url="http://127.0.0.1:1")
    with pytest.raises(ConfigError, match="is no results file"):
        boxwright.evaluate(tmp_path, tmp_path, boxes="xyxy")


# --- folders, and compare


def entries_for(document):
    return [
        {"image_id": one["image_id"], "category_id": one["category_id"], "bbox": one["bbox"], "score": 0.05 + at / 99}
        for at, one in enumerate(document["annotations"])
    ]


def test_a_folder_and_its_annotation_file_give_the_same(tmp_path):
    content = small_document(6)
    data = write_data(tmp_path / "data", train=content, valid=content)
    path = write(tmp_path / "other.json", entries_for(content))
    of_folder = boxwright.evaluate(path, data)
    of_file = boxwright.evaluate(path, data / "valid" / "_annotations.coco.json")
    assert figures(of_folder) == figures(of_file)
    assert of_folder.figures.map == 1
    assert of_folder.results.class_names == ("fish", "ray")
    assert (of_folder.split, of_file.split) == ("valid", "_annotations.coco")


def test_a_folder_without_its_pictures_says_that_the_file_is_enough(tmp_path):
    content = small_document(6)
    data = write_data(tmp_path / "data", valid=content)
    for picture in (data / "valid").glob("*.jpg"):
        picture.unlink()
    path = write(tmp_path / "other.json", entries_for(content))
    with pytest.raises(DataError, match=r"measure without pictures: --data .*_annotations\.coco\.json"):
        boxwright.evaluate(path, data)


def test_two_files_are_compared_each_where_its_f2_is_highest(truth, found, tmp_path):
    data = write(tmp_path / "truth.json", truth)
    good = write(tmp_path / "good.json", found)
    halved = changed(found[: len(found) // 2], score=lambda one: one["score"] / 2)
    poor = write(tmp_path / "poor.json", halved)
    contenders, (comparison,) = boxwright.compare([good, poor], data)
    points = [boxwright.evaluate(path, data).spec.operating_point for path in (good, poor)]
    assert [one.spec.operating_point for one in contenders] == points
    assert points[0].threshold > points[1].threshold
    assert comparison["map"].difference < 0
    contenders, _ = boxwright.compare([good, poor], data, threshold=0.3)
    assert {one.spec.operating_point.threshold for one in contenders} == {0.3}


def test_a_run_keeps_its_point_beside_a_file_with_a_given_threshold(run, demo_data, tmp_path):
    document = json.loads((demo_data / "test" / "_annotations.coco.json").read_text())
    path = write(tmp_path / "other.json", entries_for(document))
    own = ModelSpec.load(run / "spec.json").operating_point
    given, _ = boxwright.compare([run, path], demo_data, "test", threshold=0.1)
    assert [one.spec.operating_point.threshold for one in given] == [own.threshold, 0.1]
    both, _ = boxwright.compare([run, path], demo_data, "test")
    assert {one.spec.operating_point.split for one in both} == {"test"}
    assert both[0].spec.operating_point == boxwright.evaluation.operating.best_point(both[0].results)


def test_what_compare_cannot_do_is_told(run, demo_data, truth, found, tmp_path):
    data, path = write(tmp_path / "truth.json", truth), write(tmp_path / "other.json", found)
    with pytest.raises(ConfigError, match=r"other\.json: a results file holds no annotated boxes\. Give --data"):
        boxwright.compare([path, path])
    with pytest.raises(ConfigError, match=r"needs pictures, and .*truth\.json is a file"):
        boxwright.compare([run, path], data)
    with pytest.raises(ConfigError, match="A threshold is for results files"):
        boxwright.compare([run, run], threshold=0.5)
    with pytest.raises(DataError, match="have no image_id"):
        boxwright.compare([run, path], demo_data)


def test_what_networks_find_stays_float32():
    found = Detections([[1, 2, 3, 4]], [0.1], [0])
    assert found.select(np.array([0])).boxes.dtype == np.float32
