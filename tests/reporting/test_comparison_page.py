import dataclasses
import re

import pytest

from boxwright.metrics.comparison import compare
from boxwright.reporting import ComparedRun, write_comparison_page
from boxwright.runtime import OperatingPoint


@pytest.fixture(scope="module")
def runs(make_case):
    first = make_case(skill=0.9, learning_rate=0.001)
    second = make_case(skill=0.5, name="run-<2>", learning_rate=0.01)
    return [ComparedRun(one.spec.name, one.spec, one.epochs, one.analysis) for one in (first, second)]


def compared(runs):
    first, *others = runs
    return [
        compare(first.analysis.matches, one.analysis.matches, first.analysis.thresholds, one.analysis.thresholds, 50)
        for one in others
    ]


def written(path, runs):
    write_comparison_page(path, runs, compared(runs))
    return path.read_text(encoding="utf-8")


def test_runs_lie_side_by_side_and_over_one_another(runs, tmp_path):
    page = written(tmp_path / "c.html", runs)
    charts = {"loss", "map", "f2", "threshold", "difference-1", "classes-1"}
    assert charts <= set(re.findall(r'<figure id="chart-([\w-]+)"', page))
    for run in runs:
        assert f"{run.analysis.figures.map:.3f}" in page
        assert f"{run.analysis.figures.recall:.3f}" in page
    (comparison,) = compared(runs)
    sentence = comparison["map"].sentence("run-1", "run-<2>")
    assert sentence.replace("<", "&lt;").replace(">", "&gt;").replace("'", "&#39;") in page
    assert page.count(">run-&lt;2&gt;</button>") == 4  # in the legends
    assert "run-<2>" not in page


def test_only_settings_that_differ_are_listed(runs, tmp_path):
    table = re.search(r'<table id="settings-table">.*?</table>', written(tmp_path / "c.html", runs), re.S)[0]
    assert re.findall(r'<th scope="row">([^<]+)</th><td>([^<]+)</td><td>([^<]+)</td>', table) == [
        ("learning_rate", "0.001", "0.01")
    ]


def test_a_run_against_itself_without_epochs_or_provenance(runs, tmp_path):
    bare = dataclasses.replace(runs[0], epochs=[], spec=dataclasses.replace(runs[0].spec, provenance={}))
    page = written(tmp_path / "c.html", [bare, bare, bare])
    assert "No figures by epoch were recorded." in page
    assert "All recorded settings are the same." in page
    assert {"difference-1", "difference-2"} <= set(re.findall(r'<figure id="chart-([\w-]+)"', page))


def test_runs_without_any_boxes_can_be_compared(make_case, tmp_path):
    empty = make_case(pictures=1)  # the first drawn picture has no boxes
    run = ComparedRun("empty", empty.spec, [], empty.analysis)
    assert "cannot be compared: the pictures have no boxes" in written(tmp_path / "c.html", [run, run])


def test_thresholds_by_class_are_no_single_score(make_case, tmp_path):
    one = make_case()
    point = OperatingPoint(0.3, "f2", 0.7, "valid", (0.21, 0.39), per_class={"shark": 0.02}, by_class=True)
    two = make_case(name="run-2", point=point)
    runs = [ComparedRun(case.spec.name, case.spec, [], case.analysis) for case in (one, two)]
    page = written(tmp_path / "c.html", runs)
    cells = re.findall(r'<td class="n">([^<]*)<br><small>([^<]*)</small></td></tr>', page)
    assert cells == [("0.400", "0.350 to 0.480"), ("by class", "0.020 to 0.300")]
    assert "<td>score 0.400</td><td>each class from its own score (0.020 to 0.300)</td>" in page
    chart = re.search(r'<figure id="chart-threshold">.*?</figure>', page, re.S)[0]
    assert chart.count("<circle") == 1
    assert "A run with a threshold for each class has no dot." in chart
    assert "0.210" not in page
