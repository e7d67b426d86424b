import json
import shlex
import shutil
from dataclasses import replace

import pytest
from PIL import Image

from boxwright.config import TrainConfig, save_config
from boxwright.metrics import GroundTruth
from boxwright.runtime import Detections, ModelSpec, open_bundle
from support.command_line import boxwright
from support.made import made_results, made_run


@pytest.fixture
def weak(tmp_path):
    return made_run(tmp_path / "my runs" / "weak", made_results(0.5, noise=5.0), "weak")


@pytest.fixture
def strong(tmp_path):
    truths = made_results(0.5, noise=5.0).truths  # the same boxes to the last bit
    return made_run(tmp_path / "strong", replace(made_results(0.9), truths=truths), "strong")


def point_of(run):
    return ModelSpec.load(run / "spec.json").operating_point


def test_compare_says_prints_and_writes(weak, strong, tmp_path):
    files = ["--json", tmp_path / "out" / "c.json", "--html", tmp_path / "pages" / "c.html"]
    done = boxwright("compare", weak, strong, *files)
    assert done.returncode == 0, done.stderr
    assert "On the same 60 pictures (valid):" in done.stdout
    assert "of strong is" in done.stdout
    document = json.loads((tmp_path / "out" / "c.json").read_text())
    (comparison,) = document["comparisons"]
    assert (document["first"], comparison["second"], document["split"]) == ("weak", "strong", "valid")
    f2 = comparison["figures"]["f2"]
    assert f2["stands"]
    assert f2["interval"][0] < f2["difference"] < f2["interval"][1]
    lines = [line.split() for line in done.stdout.splitlines()]
    cat = comparison["per_class"]["cat"]["map"]
    assert ["cat", *(f"{cat[key]:.4f}" for key in ("first", "second", "difference"))] in [line[:4] for line in lines]
    assert "2 runs on the same 60 pictures" in (tmp_path / "pages" / "c.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["compare", "{weak}", "{strong}", "--device", "cuda:7"], "--device decides nothing without --data"),
        (["compare", "a.json", "b.json", "--data", "d", "--device", "cpu"], "no model is run for results files"),
        (["evaluate", "a.json", "--data", "d", "--json", "a.json"], "--json a.json would overwrite"),
        (["evaluate", "{weak}", "--html", "{weak}/spec.json"], "would overwrite a file of"),
        (
            ["export", "{weak}", "--to", "state-dict", "--out", "{weak}/model_state_dict.pth"],
            "would overwrite a file of",
        ),
        (
            ["archive", "m.mar", "--inspect", "--gate", "--name", "a", "--no-export"],
            "--name, --no-export, --gate cannot",
        ),
        (["archive", "{weak}", "--no-export", "--tolerance", "0.1"], "--tolerance decides nothing without exports"),
        (["archive", "{weak}", "--no-export", "--data", "d"], "--data decides nothing without exports"),
    ],
    ids=lambda value: " ".join(value)[:50],
)
def test_options_that_would_decide_nothing_are_refused(weak, strong, tmp_path, arguments, said):
    (tmp_path / "a.json").write_text("[]")
    (weak / "model_state_dict.pth").touch()
    done = boxwright(*(one.format(weak=weak, strong=strong) for one in arguments), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, ""), done.stdout + done.stderr
    assert said in " ".join(done.stderr.split())


def test_threshold_shows_the_point_and_leaves_it(strong):
    before, point = (strong / "spec.json").read_bytes(), point_of(strong)
    done = boxwright("threshold", strong)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"strong: score {point.threshold:.3f}, for f2: {point.value:.4f} on valid\n")
    low, high = point.interval
    assert f"\n95 % of resampled validation sets would choose {low:.3f} to {high:.3f}\n" in done.stdout
    cat = f"{point.per_class['cat']:.3f}"
    assert ["cat", "60", cat, f"{point.threshold:.3f}"] in [line.split() for line in done.stdout.splitlines()]
    assert (strong / "spec.json").read_bytes() == before
    assert not (strong / "report.html").exists()


def test_threshold_by_class_is_told_as_such_everywhere(weak, tmp_path):
    done = boxwright("threshold", weak, "--by-class", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    point = point_of(weak)
    low, high = sorted(point.per_class.values())
    words = f"each class from its own score ({low:.3f} to {high:.3f})"
    assert low < high
    assert done.stdout.startswith(f"weak: {words}, for f2: ")
    assert f"one score for all, {point.threshold:.3f}: 95 % of resampled" in done.stdout
    assert f"boxwright archive {shlex.quote(str(weak))}\n" in done.stdout
    assert f"{weak} does not say where its pictures are; give --data: boxwright report '{weak}' " in done.stdout
    assert f"The operating point is {words}:" in (weak / "report.html").read_text(encoding="utf-8")
    back = boxwright("threshold", weak, "--global", "--objective", "F1")
    assert back.stdout.startswith(f"weak: score {point_of(weak).threshold:.3f}, for f1: ")


def test_threshold_says_why_a_class_has_none_of_its_own(tmp_path):
    """Cats are few, dogs are never found."""
    both, dog = GroundTruth.of([[0, 0, 50, 50], [80, 0, 120, 50]], [0, 1]), GroundTruth.of([[0, 0, 9, 9]], [1])
    cat_and_stray = Detections([[0, 0, 50, 50], [150, 150, 190, 190]], [0.9, 0.2], [0, 1])
    truths, found = [both, dog] * 20, [cat_and_stray, Detections.empty()] * 20
    results = replace(made_results(0.5, pictures=40), truths=tuple(truths), detections=tuple(found))
    run = made_run(tmp_path / "run", results, "run")
    done = boxwright("threshold", run, "--objective", "precision>=0.9", "--by-class")
    assert done.returncode == 0, done.stderr
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert "cat 20 none: fewer than 30 boxes 0.550" in lines
    assert "dog 40 none: precision>=0.9 not attained 0.550" in lines


def test_report_writes_the_page_with_its_pictures(strong, tmp_path):
    (tmp_path / "data" / "valid").mkdir(parents=True)
    for number in range(60):
        Image.new("RGB", (200, 200)).save(tmp_path / "data" / "valid" / f"{number}.jpg")
    save_config(TrainConfig(data=tmp_path / "data"), strong / "config.yaml")
    done = boxwright("report", strong)
    assert (done.returncode, done.stdout) == (0, f"Report: {strong / 'report.html'}\n"), done.stderr
    assert 'class="frame"' in (strong / "report.html").read_text(encoding="utf-8")
    (tmp_path / "data").rename(tmp_path / "moved")
    gone = boxwright("report", strong)
    assert gone.returncode == 0
    assert f"The pictures are no longer at {tmp_path / 'data' / 'valid'}; give --data" in gone.stdout
    found = boxwright("report", strong, "--data", tmp_path / "moved")
    assert (found.returncode, found.stdout) == (0, f"Report: {strong / 'report.html'}\n"), found.stderr


def test_pictures_that_training_has_seen_are_noticed_in_another_folder(run, demo_data, tmp_path):
    seen = "have name and size of one that the run was trained on"
    data = tmp_path / "data"
    shutil.copytree(demo_data, data)
    assert seen not in boxwright("evaluate", run, "--data", data, "--split", "test").stdout
    shutil.rmtree(data / "test")
    (data / "train").rename(data / "test")
    count = len(list((data / "test").glob("*.jpg")))
    assert f"Warning: {count} of these pictures {seen}" in boxwright(
        "evaluate", run, "--data", data, "--split", "test"
    ).stdout.replace("\n", " ")


def test_evaluate_at_a_threshold_that_was_asked_for(run, demo_data, tmp_path):
    page = tmp_path / "pages" / "e.html"
    done = boxwright("evaluate", run, "--data", demo_data, "--threshold", 0.7, "--html", page)
    assert done.returncode == 0, done.stderr
    assert "\nat score 0.700; with one score for all classes, F2 is highest on these pictures at 0." in done.stdout
    text = page.read_text(encoding="utf-8")
    assert "Measured at a score of 0.700, as asked for." in text
    assert f"boxwright predict {run} PICTURE --threshold 0.7" in text
    assert '<table id="splits">' not in text  # the training data's counts are not this folder's


def test_threshold_shows_that_of_an_archive(mar):
    done = boxwright("threshold", mar)
    assert done.returncode == 0, done.stderr
    spec = open_bundle(mar).spec
    assert done.stdout.startswith(f"{spec.name}: score {spec.operating_point.threshold:.3f}")
    refused = boxwright("threshold", mar, "--by-class")
    assert "an archive keeps no detections" in refused.stderr


WRONG = [
    (["compare", "{weak}"], "One model alone"),
    (["compare", "{weak}", "nowhere"], "nowhere"),
    (["compare", "{weak}", "{made}"], "were measured on other pictures"),
    (["compare", "{weak}", "a.mar"], "a.mar: an archive keeps no detections"),
    (["compare", "{weak}", "{weak}", "--split", "test"], "--data FOLDER"),
    (["compare", "{weak}", "{weak}", "--json", "."], "--json . is a folder"),
    (["compare", "{weak}", "{weak}", "--html", "."], "--html . is a folder"),
    (["threshold", "nowhere"], "nowhere"),
    (["threshold", "a.mar"], "a.mar"),
    (["threshold", "nowhere", "--by-class"], "nowhere"),
    (["threshold", "{weak}", "--objective", "best"], "Objective 'best' is unknown"),
    (["threshold", "{weak}", "--objective", "recall>=2"], "out of range"),
    (["threshold", "{weak}", "--objective", "recall>=0.999"], "recall>=0.999 is not attained"),
    (["report", "nowhere"], "nowhere"),
    (["report", "a.mar"], "a.mar"),
    (["report", "{weak}", "--data", "nowhere"], "nowhere/valid: holds none of the pictures"),
]


@pytest.mark.parametrize(("arguments", "culprit"), WRONG, ids=[" ".join(arguments) for arguments, _ in WRONG])
def test_wrong_input_gives_one_clear_error_and_exit_code_2(weak, tmp_path, arguments, culprit):
    made = made_run(tmp_path / "made", made_results(0.5, pictures=20), "made")
    work = tmp_path / "work"
    work.mkdir()
    (work / "a.mar").write_bytes(b"PK")
    before = (weak / "spec.json").read_bytes()
    done = boxwright(*(argument.format(weak=weak, made=made) for argument in arguments), cwd=work)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith("Error: ")
    assert culprit in done.stderr
    assert done.stderr.count("\n") == 1
    assert (weak / "spec.json").read_bytes() == before
    assert not (weak / "report.html").exists()
    assert [path.name for path in work.iterdir()] == ["a.mar"]
