import dataclasses
import json
import re

import numpy as np
import pytest
from PIL import Image

from boxwright.evaluation.analysis import analyse
from boxwright.evaluation.results import SplitResults
from boxwright.metrics import GroundTruth
from boxwright.reporting import write_report
from boxwright.reporting.gallery import gallery
from boxwright.reporting.page import as_json
from boxwright.reporting.provenance import operating_sentence
from boxwright.reporting.verdicts import judge
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
        write_report(path, **values)
        return path.read_text(encoding="utf-8")

    return write


@pytest.fixture(scope="module")
def case(make_case):
    return make_case()


def with_results(case, truths, found, sizes, point=None):
    names = tuple(f"{number}.jpg" for number in range(len(truths)))
    results = SplitResults("valid", case.results.class_names, names, sizes, tuple(truths), tuple(found))
    spec = dataclasses.replace(case.spec, operating_point=point or case.spec.operating_point)
    return dataclasses.replace(
        case, spec=spec, results=results, analysis=analyse(results, spec.operating_point, resamples=20)
    )


def test_all_of_it_is_on_the_page(case, report):
    page = report(case, data_summary={"train": {"pictures": 31, "boxes": 77}, "valid": {"pictures": 10, "classes": 3}})
    assert set(CHARTS) <= set(re.findall(r'<figure id="chart-([\w-]+)"', page))
    figures = case.analysis.figures
    for value in (figures.map, figures.map_50, figures.f2, figures.precision, figures.recall):
        assert f"<dd>{value:.3f}</dd>" in page
    assert (
        "a score of 0.400 (95 % interval 0.350 to 0.480): there F2 on valid is highest, 0.710 (0.660 to 0.750)." in page
    )
    assert "boxwright predict runs/run-1 PICTURE" in page
    assert "1 of 3 classes have boxes enough for a threshold of their own; they are not in use." in page
    assert "training 12.5 pictures a second" in page
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
    assert "The pictures were not at hand" in page
    assert "No figures by epoch were recorded." in page
    assert "gallery-data" not in re.sub(r"<script>.*?</script>", "", page, flags=re.S)
    assert "The pictures were not at hand" in report(case, pictures=tmp_path / "gone")


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
    assert "The operating point is the default, a score of 0.500: none was chosen on data." in page
    assert "<summary>Settings" not in page


def test_thresholds_by_class_are_used_and_told(make_case, report):
    case = make_case(point=OperatingPoint(0.3, "f2", 0.7, "valid", per_class={"shark": 0.02}, by_class=True))
    page = report(case)
    assert "1 of 3 classes have boxes enough for a threshold of their own, and it is used: see the table." in page
    assert '<output id="threshold-value" for="threshold">by class</output>' in page
    assert 'min="0.02"' in page
    data = json.loads(re.search(r'id="gallery-data">(.*?)</script>', page, re.S)[1])
    scores = [found[5] for picture in data["pictures"] for found in picture["found"]]
    assert data["thresholds"] == [0.3, 0.02, 0.3]
    assert 0.02 <= min(scores) < 0.05


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
    page = report(case, epochs=[*case.epochs, {"epoch": 1, "train/loss_<i>": 0.5}])
    assert not re.search(r"<script>alert|<img src=x|<b>run|pi<b>|loss_<i>", page)
    assert "boxwright predict &#39;runs/&lt;b&gt;run&lt;/b&gt; $(rm)&#39; PICTURE" in page
    assert len(re.findall(r"</script>", page)) == 2
    data = json.loads(re.search(r'id="gallery-data">(.*?)</script>', page, re.S)[1])
    assert tuple(data["names"]) == hostile


def test_json_does_not_end_its_element():
    assert as_json(["</script><!--", "é", 0.5]) == '["\\u003c/script>\\u003c!--","\\u00e9",0.5]'


@pytest.mark.parametrize(
    ("objective", "words"),
    [
        ("f0.5", "there F0.5 on valid is highest, 0.700."),
        ("precision>=0.95", "with a precision of at least 0.95 on valid it has the highest recall, 0.700."),
        ("recall>=0.9", "with a recall of at least 0.9 on valid it has the highest precision, 0.700."),
    ],
)
def test_the_objective_is_told_in_words(objective, words):
    assert words in operating_sentence(OperatingPoint(0.4, objective, 0.7, "valid"))


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
