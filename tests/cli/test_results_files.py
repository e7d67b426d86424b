"""``boxwright evaluate RESULTS.json`` and ``compare`` with one."""

import json

import pytest

from support.command_line import boxwright
from support.results_files import results_for, truth_document, write


@pytest.fixture
def data(tmp_path):
    return write(tmp_path / "truth.json", truth_document())


@pytest.fixture
def results(tmp_path):
    return write(tmp_path / "other.json", results_for(truth_document()))


def test_the_known_figures_come_out_of_the_command(real_data, tmp_path):
    folder = real_data / "coco_val2014_100"
    results = folder / "instances_val2014_fakebbox100_results.json"
    files = ["--json", tmp_path / "e.json", "--html", tmp_path / "pages" / "e.html"]
    done = boxwright("evaluate", results, "--data", folder / "instances_val2014_100.json", *files)
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "e.json").read_text())
    known = {"map": 0.50458, "map_50": 0.69697, "map_75": 0.57298, "map_small": 0.58563, "ar_100": 0.59535}
    assert {name: document[name] for name in known} == pytest.approx(known, abs=1e-5)
    assert (document["detections"], document["threshold_from"]) == (734, "highest F2 on these same pictures")
    assert "mAP        0.5046" in done.stdout
    assert "A results file has no operating point: this score was chosen on the very pictures" in done.stdout
    page = (tmp_path / "pages" / "e.html").read_text(encoding="utf-8")
    assert "results file, measured on instances_val2014_100: 100 pictures and 830 boxes of 80 classes" in page
    assert "A results file has no operating point" in page
    assert "boxwright predict" not in page
    assert "The pictures were missing when this page was written." in page


def test_a_threshold_boxes_and_notes_are_told(results, data, tmp_path):
    corners = [
        {**one, "bbox": [*one["bbox"][:2], one["bbox"][0] + one["bbox"][2], one["bbox"][1] + one["bbox"][3]]}
        for one in results_for(truth_document())
        if one["score"] >= 0.3
    ]
    options = ["--data", data, "--threshold", "0.4", "--json", tmp_path / "e.json"]
    wrong = boxwright("evaluate", write(tmp_path / "corners.json", corners), *options)
    assert wrong.returncode == 2
    assert "left, top, right, bottom (xyxy)" in wrong.stderr
    assert wrong.stderr.count("\n") == 1
    done = boxwright("evaluate", tmp_path / "corners.json", *options, "--boxes", "xyxy")
    assert done.returncode == 0, done.stderr
    assert "at score 0.400; with one score for all classes, F2 is highest" in done.stdout
    assert "Measured at a score of 0.400, as asked for." in done.stdout
    assert "Note: The lowest score is 0.3" in done.stdout
    document = json.loads((tmp_path / "e.json").read_text())
    assert document["threshold_from"] == "given"
    assert document["notes"][0].startswith("The lowest score")


def test_compare_says_which_threshold_each_side_has(run, demo_data, tmp_path):
    document = json.loads((demo_data / "valid" / "_annotations.coco.json").read_text())
    entries = [
        {"image_id": one["image_id"], "category_id": one["category_id"], "bbox": one["bbox"], "score": 0.5}
        for one in document["annotations"]
    ]
    other = write(tmp_path / "other.json", entries)
    files = ["--json", tmp_path / "c.json", "--html", tmp_path / "c.html"]
    done = boxwright("compare", run, other, "--data", demo_data, *files)
    assert done.returncode == 0, done.stderr
    assert "other: score 0.250. That is where the F2 of each is highest on these very pictures" in done.stdout
    assert "Note: other: The lowest score is 0.5." in done.stdout
    assert "mAP of other is" in done.stdout
    document = json.loads((tmp_path / "c.json").read_text())
    assert set(document["measured_at"]) == {"tiny", "other"}
    assert set(document["measured_at"]["other"]["thresholds"].values()) == {0.25}
    page = (tmp_path / "c.html").read_text(encoding="utf-8")
    assert "2 detectors on the same 16 pictures" in page
    assert "other: score 0.250" in page
    given = boxwright("compare", run, other, "--data", demo_data, "--threshold", "0.4")
    assert "other: score 0.400. That is the score asked for" in given.stdout


def test_what_predict_writes_is_measured_and_the_page_shows_the_pictures(run, demo_data, tmp_path):
    files = ["--html", tmp_path / "e.html", "--json", tmp_path / "e.json"]
    found = tmp_path / "found.json"
    assert boxwright("predict", run, demo_data / "test", "--threshold", "0", "--json", found).returncode == 0
    for data in (demo_data, demo_data / "test" / "_annotations.coco.json"):
        split = ["--split", "test"] if data == demo_data else []
        done = boxwright("evaluate", found, "--data", data, *split, *files)
        assert done.returncode == 0, done.stderr
        assert 'class="frame"' in (tmp_path / "e.html").read_text(encoding="utf-8")
        theirs = json.loads((tmp_path / "e.json").read_text())
        assert (theirs["notes"], theirs["images"]) == ([], 8)
    boxwright("evaluate", run, "--data", demo_data, "--split", "test", "--json", tmp_path / "own.json")
    own = json.loads((tmp_path / "own.json").read_text())
    assert {name: theirs[name] for name in ("map", "best_f2")} == {name: own[name] for name in ("map", "best_f2")}


WRONG = [
    (["evaluate", "truth.json", "--data", "truth.json"], "holds annotations (ground truth), not detections"),
    (["evaluate", "other.json", "--data", "other.json"], "is not a COCO document"),
    (["evaluate", "other.json", "--data", "gone.json"], "gone.json: no such file"),
    (["evaluate", "gone.json", "--data", "truth.json"], "gone.json: no such file"),
    (["evaluate", "other.json", "--data", "nowhere"], "nowhere: no such folder"),
    (["evaluate", "other.json", "--data", "truth.json", "--split", "test"], "--split test does not go with truth.json"),
    (["evaluate", "other.json", "--data", "truth.json", "--boxes", "corners"], "Boxes 'corners' are unknown"),
    (["evaluate", "other.json", "--data", "truth.json", "--endpoint", "http://x"], "held against an endpoint"),
    (["evaluate", "other.json", "--data", "truth.json", "--device", "cuda:0"], "Device cuda:0 does not go with"),
    (["compare", "other.json", "other.json"], "other.json: a results file holds no annotated boxes"),
]


@pytest.mark.parametrize(("arguments", "culprit"), WRONG, ids=[" ".join(arguments) for arguments, _ in WRONG])
def test_wrong_input_gives_one_clear_error_and_exit_code_2(results, data, tmp_path, arguments, culprit):
    done = boxwright(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith("Error: ")
    assert culprit in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("missing", ["annotations", "detections"])
def test_without_boxes_or_detections_no_score_is_chosen(missing, tmp_path):
    document = truth_document()
    found = [] if missing == "detections" else results_for(document)
    document["annotations"] = [] if missing == "annotations" else document["annotations"]
    truth, results = write(tmp_path / "truth.json", document), write(tmp_path / "other.json", found)
    done = boxwright("evaluate", results, "--data", truth, "--json", tmp_path / "e.json")
    assert done.returncode == 0, done.stderr
    words = " ".join(done.stdout.split())
    assert "Measured at the default, a score of 0.500: without annotated boxes or detections" in words
    assert "where F2 is highest" not in words
    measured = json.loads((tmp_path / "e.json").read_text())
    assert (measured["best_threshold"], measured["threshold_from"]) == (0.5, "the default: nothing could be chosen")


def test_one_threshold_has_one_number(data, results, tmp_path):
    done = boxwright("evaluate", results, "--data", data, "--json", tmp_path / "e.json")
    assert done.returncode == 0, done.stderr
    measured = json.loads((tmp_path / "e.json").read_text())
    assert {one["threshold"] for one in measured["per_class"].values()} == {measured["best_threshold"]}
    assert f"at score {measured['best_threshold']:.3f}" in done.stdout
