import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from boxwright.evaluation.analysis import analyse
from boxwright.evaluation.results import SplitResults
from boxwright.metrics import GroundTruth
from boxwright.reporting import Report, write_report
from boxwright.reporting.gallery import gallery, judge
from boxwright.reporting.page import as_json
from boxwright.reporting.words import sentence
from boxwright.runtime import Detections, OperatingPoint

CHARTS = (
    "loss", "map", "f2", "threshold", "precision-recall", "errors", "sizes", "calibration", "confusion", "boxes"
)  # fmt: skip


@pytest.fixture
def report(tmp_path):
    def write(case, **changes):
        path = tmp_path / "report.html"
        values = {"spec": case.spec, "results": case.results, "analysis": case.analysis}
        values |= {"epochs": case.epochs, "pictures": case.pictures, **changes}
        write_report(path, Report(**values))
        return path.read_text(encoding="utf-8")

    return write


@pytest.fixture(scope="module")
def case(make_case):
    return make_case()


def with_results(case, truths, found, sizes, point=None):
    names = tuple(f"{number}.jpg" for number in range(len(truths)))
    results = SplitResults("valid", case.results.class_names, names, sizes, tuple(truths), tuple(found))
    spec = dataclasses.replace(case.spec, operating_point=point or case.spec.operating_point)
    return dataclasses.replace(case, spec=spec, results=results, analysis=analyse(results, spec.operating_point))


def test_all_of_it_is_on_the_page(case, report):
    page = report(case, data_summary={"train": {"pictures": 31, "boxes": 77}, "valid": {"pictures": 10, "classes": 3}})
    assert set(CHARTS) <= set(re.findall(r'<figure id="chart-([\w-]+)"', page))
    figures = case.analysis.figures
    for value in (figures.map, figures.map_50, figures.f2, figures.precision, figures.recall):
        assert f"<dd>{value:.3f}</dd>" in page
    assert (
        "a score of 0.400 (95 % interval 0.350 to 0.480): there F2 on valid is highest, 0.710 (0.660 to 0.750)." in page
    )
    assert "boxwright predict RUN_OR_MAR PICTURE" in page
    assert (
        "best for a class alone, for 1 of the 3 classes; &#39;boxwright threshold RUN --by-class&#39; uses those."
        in page
    )
    assert f"<dd>{figures.f2_macro:.3f}</dd>" in page
    assert "training 12.5 pictures per second" in page
    assert "BSD-3-Clause" in page
    assert case.spec.contract in page
    assert ">31<" in page
    assert ">77<" in page


def test_it_is_one_file_that_asks_for_nothing(case, report):
    page = report(case)
    assert not re.search(r"(src|href|action)\s*=\s*[\"'](?!data:|#)", page)
    assert not re.search(r"url\(|@import|<link", page)
    assert "default-src 'none'" in page
    assert len(page) < 6_000_000


def test_without_pictures_epochs_or_summary_it_says_so(case, report, tmp_path):
    page = report(case, pictures=None, epochs=[])
    assert "The pictures were missing when" in page
    assert "No figures by epoch were recorded." in page
    assert "gallery-data" not in re.sub(r"<script>.*?</script>", "", page, flags=re.S)
    assert "The pictures were missing when" in report(case, pictures=tmp_path / "gone")


def test_a_split_without_boxes_has_dashes(case, report):
    nothing = with_results(case, [GroundTruth.of([], [])] * 2, [Detections.empty()] * 2, np.array([[9, 9]] * 2))
    page = report(nothing)
    assert "<dd>\N{EN DASH}</dd>" in page
    assert "chart-precision-recall" not in page
    assert "chart-calibration" not in page


def test_no_pictures_at_all_make_a_page(case, report):
    assert "0 pictures and 0 boxes" in report(with_results(case, [], [], np.zeros((0, 2), np.int64)))


def test_strays_on_pictures_without_boxes_make_a_page(case, report):
    stray = Detections([[0, 0, 5, 5]], [0.9], [0])
    page = report(with_results(case, [GroundTruth.of([], [])], [stray], np.array([[9, 9]])))
    assert "chart-calibration" in page


def test_an_old_run_without_keys_makes_a_page(case, report):
    bare = dataclasses.replace(case.spec, operating_point=OperatingPoint(), provenance={})
    page = report(case, spec=bare)
    assert "The operating point is the default, a score of 0.500: it was not chosen on data." in page
    assert "<summary>Settings" not in page


def test_thresholds_by_class_are_used_and_told(make_case, report):
    point = OperatingPoint(0.3, "f2", 0.7, "valid", (0.21, 0.39), per_class={"shark": 0.02}, by_class=True)
    case = make_case(point=point)
    page = report(case)
    assert (
        "The operating point is each class from its own score (0.020 to 0.300): there its F2 on valid is highest; "
        "F2 of all classes together is 0.700. It is what predict" in page
    )
    assert "0.210" not in page  # the interval of the one for all is drawn beside that alone
    assert "one for all: 0.300" in page
    assert "operating point 0.300" not in page
    assert "The thresholds of the classes are in use: see the table." in page
    assert "Of 3 classes 1 have a threshold of their own (see the table); the others have the one for all" in page
    assert '<output id="threshold-value" for="threshold">by class</output>' in page
    assert 'min="0.02"' in page
    data = json.loads(re.search(r'id="gallery-data">(.*?)</script>', page, re.S)[1])
    scores = [found[5] for picture in data["pictures"] for found in picture["found"]]
    assert data["thresholds"] == [0.3, 0.02, 0.3]
    assert 0.02 <= min(scores) < 0.05


def test_the_class_table_has_thresholds_in_use_and_own_side_by_side(make_case, report):
    for by_class, used in ((False, "0.400"), (True, "0.500")):
        point = OperatingPoint(0.4, "f2", 0.7, "valid", per_class={"fish": 0.5}, by_class=by_class)
        table = re.search(r'<table id="per-class">.*?</table>', report(make_case(point=point)), re.S)[0]
        cells = [re.findall(r">([^<>]*)</td>", row)[-2:] for row in re.findall(r"<tr>.*?</tr>", table)[1:]]
        assert cells == [[used, "0.500"], ["0.400", "\N{EN DASH}"], ["0.400", "\N{EN DASH}"]]


def test_a_threshold_that_was_asked_for_is_no_operating_point(make_case, report, tmp_path):
    page = report(make_case(point=OperatingPoint(0.7, objective="given")), source=tmp_path / "my run")
    assert "Measured at a score of 0.700, as asked for." in page
    assert "not chosen on data" not in page
    assert "asked for: 0.700" in page
    assert f"boxwright predict &#39;{tmp_path}/my run&#39; PICTURE --threshold 0.7" in page


def test_one_picture_of_one_class_without_detections_makes_a_page(make_case, report):
    one = make_case(names=("fish",), pictures=1)
    truth = GroundTruth.of([[5, 5, 50, 50]], [0])
    bare = with_results(one, [truth], [Detections.empty()], np.array([[240, 160]]))
    (one.pictures / "picture-0.jpg").rename(one.pictures / "0.jpg")
    page = report(bare, data_summary=None)
    assert "1 picture and 1 box of 1 class" in page
    assert page.count('class="frame"') == 1  # the picture whose box was missed


def test_of_many_classes_the_worst_and_the_most_mixed_up_are_shown(make_case, report):
    many = make_case(names=tuple(f"class {number}" for number in range(30)), pictures=40)
    page = report(many)
    assert "Classes most often mixed up" in page
    curves = re.search(r'<figure id="chart-precision-recall">.*?</figure>', page, re.S)[0]
    assert curves.count('<path class="line"') == 12
    assert re.search(r"12 of \d\d classes", curves)


def test_names_are_words_everywhere(make_case, report):
    hostile = ("<script>alert(1)</script>", "'\"&</title>", "</script><img src=x onerror=alert(2)>")
    case = make_case(names=hostile, files="pi<b>c'\"{}.jpg", name="<b>run</b> $(rm)")
    epochs = [*case.epochs, {"epoch": 1, "train/loss_<i>": 0.5}]
    page = report(case, epochs=epochs, source=Path("runs", "<b>run<b> $(rm)"))
    assert not re.search(r"<script>alert|<img src=x|<b>run|pi<b>|loss_<i>", page)
    assert "boxwright predict &#39;runs/&lt;b&gt;run&lt;b&gt; $(rm)&#39; PICTURE" in page
    assert len(re.findall(r"</script>", page)) == 2
    data = json.loads(re.search(r'id="gallery-data">(.*?)</script>', page, re.S)[1])
    assert tuple(data["names"]) == hostile


def test_json_does_not_end_its_element():
    assert as_json(["</script><!--", "é", 0.5]) == '["\\u003c/script>\\u003c!--","\\u00e9",0.5]'


@pytest.mark.parametrize(
    ("objective", "words", "own_words"),
    [
        (
            "f0.5",
            "there F0.5 on valid is highest, 0.700.",
            "there its F0.5 on valid is highest; F0.5 of all classes together is 0.700.",
        ),
        (
            "precision>=0.95",
            "with a precision of at least 0.95 on valid it has the highest recall, 0.700.",
            "there its recall on valid is highest with a precision of at least 0.95; recall of all classes together",
        ),
        (
            "recall>=0.9",
            "with a recall of at least 0.9 on valid it has the highest precision, 0.700.",
            "there its precision on valid is highest with a recall of at least 0.9; precision of all classes together",
        ),
    ],
)
def test_the_objective_is_told_in_words(objective, words, own_words):
    assert words in sentence(OperatingPoint(0.4, objective, 0.7, "valid"), ("fish", "shark"))
    own = OperatingPoint(0.4, objective, 0.7, "valid", per_class={"fish": 0.2}, by_class=True)
    assert own_words in sentence(own, ("fish", "shark"))


def test_the_gallery_takes_each_picture_once_and_the_worst_first(case):
    groups = gallery(case.results, case.analysis, case.pictures)
    names = [picture.name for group in groups for picture in group.pictures]
    assert [group.title for group in groups] == ["Missed", "Wrong class", "False alarms"]
    assert len(names) == len(set(names)) > 3
    missed = judge(case.analysis.matches, case.analysis.thresholds).missed
    counts = np.bincount(case.analysis.matches.truth_pictures[missed], minlength=len(case.results.truths))
    assert counts[case.results.file_names.index(names[0])] == counts.max()


def test_pictures_that_are_gone_or_elsewhere_are_left_out(case, tmp_path):
    Image.new("RGB", (10, 10)).save(tmp_path / "secret.jpg")
    (tmp_path / "valid").mkdir()
    names = ("../secret.jpg", str(tmp_path / "secret.jpg"), "nul\0.jpg", *case.results.file_names[3:])
    elsewhere = dataclasses.replace(case.results, file_names=names)
    assert not any(group.pictures for group in gallery(elsewhere, case.analysis, tmp_path / "valid"))


def test_pictures_that_cannot_be_compressed_do_not_fill_the_page(case, tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (1000, 1000, 3), dtype=np.uint8)
    for name in case.results.file_names:
        Image.fromarray(noise).save(tmp_path / name, quality=30)
    crowded = [picture for group in gallery(case.results, case.analysis, tmp_path) for picture in group.pictures]
    assert 0 < sum(len(picture.uri) for picture in crowded) <= 4_500_000
    assert all(max(picture.width, picture.height) == 640 for picture in crowded)


def test_boxes_follow_the_picture_into_its_thumbnail(case, tmp_path):
    for name in case.results.file_names:
        Image.new("RGB", (1440, 960)).save(tmp_path / name)  # taken at six times the size, shown at 640 / 240
    shown = next(picture for group in gallery(case.results, case.analysis, tmp_path) for picture in group.pictures)
    number = case.results.file_names.index(shown.name)
    assert np.allclose(
        [box[:4] for box in shown.boxes],
        case.results.truths[number].boxes * np.tile([640 / 240, 427 / 160], 2),
        atol=0.06,
    )
