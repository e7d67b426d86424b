"""All pages in a real Chromium: nothing is asked for, everything is drawn, and what can be pressed works."""

import re

import pytest

from boxwright.data import inspect_folder
from boxwright.evaluation.results_files import ResultsSpec
from boxwright.metrics.comparison import compare
from boxwright.reporting import ComparedRun, Report, write_check_page, write_comparison_page, write_report
from boxwright.reporting.gallery import judge
from boxwright.runtime import OperatingPoint
from support.broken import clean_document, write_data

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>'\"&"


@pytest.fixture(scope="module")
def case(make_case):
    return make_case()


@pytest.fixture(scope="module")
def hostile(make_case):
    return make_case(names=(HOSTILE, "b", "c"), name=HOSTILE, seed=3, note=HOSTILE)


@pytest.fixture(scope="module")
def pages(case, hostile, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    for name, one in {"report": case, "hostile": hostile}.items():
        counts = {"train": {"pictures": 3, HOSTILE: 4}}
        report = Report(one.spec, one.results, one.analysis, one.epochs, one.pictures, data_summary=counts)
        write_report(folder / f"{name}.html", report)
    file = folder / f"{HOSTILE.replace('/', '|')}.json"
    spec = ResultsSpec(HOSTILE, case.spec.classes, file, "0" * 64, 9, OperatingPoint(0.4, "f2", 0.7), (HOSTILE,))
    write_report(folder / "results.html", Report(spec, case.results, case.analysis))
    with_file = [ComparedRun("a", case.spec, case.epochs, case.analysis), ComparedRun(HOSTILE, spec, (), case.analysis)]
    runs = [ComparedRun(name, case.spec, case.epochs, case.analysis) for name in ("a", HOSTILE, "c")]
    matches, thresholds = case.analysis.matches, case.analysis.thresholds
    differences = [compare(matches, matches, thresholds, thresholds, resamples=20)] * 2
    write_comparison_page(folder / "comparison.html", runs, differences)
    write_comparison_page(folder / "beside.html", with_file, differences[:1])
    content = clean_document()
    content["categories"][0]["name"] = HOSTILE
    write_check_page(inspect_folder(write_data(folder / "data", train=content, valid=content)), folder / "check.html")
    return {path.stem: path for path in folder.glob("*.html")}


@pytest.fixture(params=["report", "hostile", "results", "comparison", "beside", "check"])
def page(request, pages):
    return pages[request.param]


def test_nothing_but_the_file_is_asked_for_and_nothing_goes_wrong(visit, page):
    with visit(page) as one:
        one.page.mouse.wheel(0, 20_000)
        assert one.alone(), one.requests
        assert one.errors == []
        assert one.dialogs == []
        assert one.page.locator("img[onerror]").count() == 0


def test_pages_are_not_wider_than_a_phone(visit, page):
    with visit(page, width=360) as one:
        assert one.overflow() <= 0


@pytest.mark.parametrize(("dark", "ground"), [(False, "rgb(255, 255, 255)"), (True, "rgb(13, 17, 23)")])
@pytest.mark.parametrize("name", ["report", "results", "comparison", "beside", "check"])
def test_words_can_be_read_on_light_and_dark_ground(visit, pages, name, dark, ground):
    with visit(pages[name], dark=dark) as one:
        assert one.page.evaluate("getComputedStyle(document.body).backgroundColor") == ground
        contrasts = one.contrasts()
    assert len(contrasts) > 20
    assert not {words: ratio for words, ratio in contrasts.items() if ratio < 4.5}


@pytest.mark.parametrize("name", ["report", "results", "comparison", "beside"])
def test_every_chart_has_a_drawing(visit, pages, name):
    with visit(pages[name]) as one:
        charts = one.page.evaluate(
            """() => Object.fromEntries([...document.querySelectorAll("figure[id]")].map((figure) => {
              const parts = [...figure.querySelectorAll("path.line, rect, circle, td[style]")];
              return [figure.id, parts.filter((part) => part.getBoundingClientRect().width > 0).length];
            }))"""
        )
    assert len(charts) == {"report": 10, "results": 7, "comparison": 8, "beside": 6}[name]
    assert all(charts.values()), charts


def drawn(one):
    return one.page.locator(".frame rect.box").count()


def slide(one, threshold):
    one.page.locator("#threshold").fill(str(threshold))


def test_the_slider_redraws_and_the_button_restores(visit, pages):
    with visit(pages["report"]) as one:
        value, back = one.page.locator("#threshold-value"), one.page.locator("#threshold-back")
        before = drawn(one)
        assert value.inner_text() == "0.400"
        assert back.is_disabled()
        slide(one, 0.1)
        assert (drawn(one) > before, value.inner_text()) == (True, "0.10")
        slide(one, 1)
        assert drawn(one) == 0
        back.click()
        assert (drawn(one), value.inner_text(), back.is_disabled()) == (before, "0.400", True)


def test_the_counts_below_the_pictures_are_those_of_the_confusion_matrix(visit, pages, case):
    with visit(pages["report"]) as one:
        assert_counts(one, case, 0.4)
        for threshold in (0.2, 0.63, 1):
            slide(one, threshold)
            assert_counts(one, case, threshold)


def assert_counts(one, case, threshold):
    names = one.page.locator(".gallery figcaption b").all_inner_texts()
    counts = one.page.locator(".gallery .counts").all_inner_texts()
    matches = case.analysis.matches
    verdicts = judge(matches, case.analysis.thresholds * 0 + threshold)
    assert len(names) > 3
    for name, caption in zip(names, counts, strict=True):
        number = case.results.file_names.index(name)
        here, there = matches.pictures == number, matches.truth_pictures == number
        expected = [
            (there & ~matches.truth_crowd).sum(), (here & verdicts.found).sum(), (here & verdicts.wrong).sum(),
            (there & verdicts.missed).sum(), (here & verdicts.false_alarm).sum(),
        ]  # fmt: skip
        assert [int(count) for count in re.findall(r"\d+", caption)] == expected, name


def test_a_picture_is_enlarged_and_made_small_again_from_the_keyboard(visit, pages):
    with visit(pages["report"], width=1200) as one:
        frame = one.page.locator(".frame").first
        width = frame.bounding_box()["width"]
        frame.focus()
        one.page.keyboard.press("Enter")
        assert frame.bounding_box()["width"] > width
        assert frame.get_attribute("aria-pressed") == "true"
        one.page.keyboard.press("Enter")
        assert frame.bounding_box()["width"] == width


def test_the_table_sorts_by_what_is_pressed(visit, pages, case):
    with visit(pages["report"]) as one:
        first_column = one.page.locator("#per-class tbody th")
        press = one.page.locator("#per-class thead button")
        figures = dict(zip(case.results.class_names, case.analysis.figures.per_class, strict=True))
        by_map = sorted(figures, key=lambda name: -figures[name].map)
        press.nth(2).click()
        assert first_column.all_inner_texts() == by_map
        press.nth(2).press("Enter")
        assert first_column.all_inner_texts() == by_map[::-1]
        assert one.page.locator("#per-class th[aria-sort]").all_inner_texts() == ["mAP"]
        press.nth(0).click()
        assert first_column.all_inner_texts() == sorted(figures)


def test_values_show_under_the_pointer_and_the_arrow_keys(visit, pages):
    with visit(pages["report"]) as one:
        tip, plot = one.page.locator("#tip"), one.page.locator("#chart-threshold .plot")
        assert tip.is_hidden()
        plot.hover()
        assert re.match(r"score threshold  0\.4\d\nF2  0\.\d{3}\n", tip.inner_text())
        one.page.mouse.move(0, 0)
        assert tip.is_hidden()
        plot.focus()
        one.page.keyboard.press("ArrowRight")
        assert tip.inner_text().startswith("score threshold  0\n")
        one.page.keyboard.press("ArrowRight")
        assert tip.inner_text().startswith("score threshold  0.01\n")
        one.page.keyboard.press("Escape")
        assert tip.is_hidden()


def test_the_legend_hides_a_line(visit, pages):
    with visit(pages["report"]) as one:
        line = one.page.locator("#chart-threshold path[data-series='1']")
        key = one.page.locator("#chart-threshold .keys button").nth(1)
        key.click()
        assert line.evaluate("(one) => getComputedStyle(one).visibility") == "hidden"
        key.click()
        assert line.evaluate("(one) => getComputedStyle(one).visibility") == "visible"


def test_a_page_prints(visit, pages):
    with visit(pages["report"]) as one:
        assert one.page.pdf()[:5] == b"%PDF-"
        one.page.emulate_media(media="print", color_scheme="dark")
        assert one.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert one.page.locator("nav").is_hidden()
