"""Where charts and labels end up on the page, measured in a real Chromium."""

from dataclasses import replace

import numpy as np
import pytest

from boxwright.metrics.error_types import KINDS
from boxwright.metrics.interval import Interval
from boxwright.reporting import Report, write_report
from boxwright.reporting.report_charts import error_chart
from boxwright.runtime.drawing import label_places

SCALES = (0.0, 1e-7, 0.0001, 0.02, 0.9, 12_345.0)


@pytest.fixture(scope="module")
def case(make_case):
    return make_case(names=("fish", "hammerhead shark of the deep", "star"), pictures=12, seed=5)


def scaled(case, scale):
    """Figures by epoch of this size."""
    lines = [
        {key: value * scale if "/" in key and value else value for key, value in one.items()} for one in case.epochs
    ]
    return [{**line, "val/map": line["val/map"] * min(scale, 1)} if "val/map" in line else line for line in lines]


@pytest.fixture(scope="module")
def pages(case, tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    for scale in SCALES:
        report = Report(case.spec, case.results, case.analysis, scaled(case, scale), case.pictures)
        write_report(folder / f"{scale}.html", report)
    ends = replace(
        case.analysis,
        figures=replace(case.analysis.figures, map=0.0, f2=1.0),
        intervals={**case.analysis.intervals, "map": Interval(0.0, 0.0), "f2": Interval(1.0, 1.0)},
    )
    write_report(folder / "ends.html", Report(case.spec, case.results, ends, case.epochs))
    return folder


_TITLE_AND_TICKS = """() => [...document.querySelectorAll(".plot")].map((plot) => {
  const box = (one) => one.getBoundingClientRect(), all = (name) => [...plot.querySelectorAll(name)].map(box);
  const title = all("text.label")[1], paper = box(plot);
  const ticks = all("text.tick");
  const meet = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
  return {
    name: plot.closest("figure").id, ticks: ticks.length,
    over: ticks.filter((one) => title.width && meet(one, title)).length,
    cut: ticks.filter((one) => one.left < paper.left - 1 || one.right > paper.right + 1).length,
  };
})"""


@pytest.mark.parametrize("width", [1200, 360])
@pytest.mark.parametrize("scale", SCALES)
def test_no_axis_title_lies_over_a_tick(visit, pages, scale, width):
    with visit(pages / f"{scale}.html", width=width) as one:
        plots = one.page.evaluate(_TITLE_AND_TICKS)
    assert {"chart-loss", "chart-map", "chart-f2", "chart-threshold"} <= {plot["name"] for plot in plots}
    for plot in plots:
        assert plot["ticks"] > 3
        assert (plot["over"], plot["cut"]) == (0, 0), plot


def test_dots_at_the_ends_are_whole(visit, pages):
    ends = """() => [...document.querySelectorAll("#headline svg.range circle")].map((dot) => {
      const box = dot.getBoundingClientRect(), card = dot.closest("div").getBoundingClientRect();
      const inside = box.left > card.left && box.right < card.right;
      return [dot.getAttribute("cx"), getComputedStyle(dot.ownerSVGElement).overflow, inside];
    })"""
    with visit(pages / "ends.html") as one:
        dots = one.page.evaluate(ends)
    assert {"0.0%", "100.0%"} <= {place for place, *_ in dots}
    assert all(rest == ["visible", True] for _, *rest in dots)


@pytest.mark.parametrize(("cost", "longest"), [(0.0, 0), (0.0001, 0.1), (0.03, 30), (0.4, 100)])
def test_a_bar_is_as_long_as_what_it_says(visit, case, tmp_path, cost, longest):
    errors = replace(case.analysis.errors, costs=dict.fromkeys(KINDS, cost))
    write_report(tmp_path / "r.html", Report(case.spec, case.results, replace(case.analysis, errors=errors)))
    with visit(tmp_path / "r.html") as one:
        shares = one.page.evaluate(
            """() => [...document.querySelectorAll("#chart-errors rect")].map((bar) =>
              100 * bar.getBoundingClientRect().width / bar.ownerSVGElement.getBoundingClientRect().width)"""
        )
    assert len(shares) == len(KINDS)
    assert shares == pytest.approx([longest] * len(KINDS), abs=0.5)
    said = error_chart(replace(case.analysis, errors=errors)).drawing
    assert (">+0.000<" in said) == (cost == 0.0)


_LABELS = """() => [...document.querySelectorAll(".gallery figure")].map((figure) => {
  const room = figure.querySelector("svg").getBoundingClientRect();
  const texts = [...figure.querySelectorAll("svg text")].map((text) => {
    const box = text.getBoundingClientRect();
    return [box.left - room.left, box.top - room.top, box.right - room.left, box.bottom - room.top];
  });
  return { room: [room.width, room.height], texts };
})"""


@pytest.mark.parametrize("threshold", ["0.4", "0.05"])
def test_labels_stay_inside_and_keep_clear_of_one_another(visit, pages, threshold):
    with visit(pages / "0.9.html") as one:
        one.page.locator("#threshold").fill(threshold)
        figures = one.page.evaluate(_LABELS)
        one.page.locator(".frame").first.click()
        figures += one.page.evaluate(_LABELS)[:1]
    shown = [text for figure in figures for text in figure["texts"]]
    assert len(shown) > 10
    overlaps = 0
    for figure in figures:
        for at, (left, top, right, bottom) in enumerate(figure["texts"]):
            assert left >= -1
            assert right <= figure["room"][0] + 1
            assert top >= -2
            assert bottom <= figure["room"][1] + 2
            earlier = figure["texts"][:at]
            overlaps += sum(
                left < x2 - 1 and x1 < right - 1 and top < y2 - 3 and y1 < bottom - 3 for x1, y1, x2, y2 in earlier
            )
    assert overlaps <= len(shown) / 10, "a picture may be full"


def test_the_page_places_labels_as_drawings_do(visit, pages):
    generator = np.random.default_rng(0)
    corners = generator.integers(-20, 220, (40, 2))
    boxes = np.hstack([corners, corners + generator.integers(5, 90, (40, 2))])
    sizes = generator.integers((20, 8), (70, 14), (40, 2))
    program = """([boxes, sizes]) => {
      const taken = [];
      boxes.forEach((box, at) => taken.push(place(box, ...sizes[at], { width: 240, height: 160 }, taken)));
      return taken.map(({ x, y }) => [x, y]);
    }"""
    with visit(pages / "ends.html") as one:
        placed = one.page.evaluate(program, [boxes.tolist(), sizes.tolist()])
    assert placed == [list(one) for one in label_places(boxes, [tuple(size) for size in sizes.tolist()], (240, 160))]
