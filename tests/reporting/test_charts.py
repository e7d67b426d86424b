import math
import re

import numpy as np
import pytest

from boxwright.reporting.charts import Column, Dot, Mark, Plot, Series, line_chart
from boxwright.reporting.rows import Bar, Estimate, bars, forest, matrix
from boxwright.reporting.svg import axis_over, between, element, figure, number, share_axis, tick_text, ticks

NAN = math.nan


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 0.07, [0, 0.02, 0.04, 0.06]),
        (-3, 12, [0, 5, 10]),
        (1234, 1236, [1234, 1234.5, 1235, 1235.5, 1236]),
    ],
)
def test_ticks_are_round(low, high, expected):
    assert ticks(low, high) == expected


def test_ticks_of_epochs_are_whole():
    assert ticks(1, 4, whole=True) == [1, 2, 3, 4]
    assert ticks(1, 300, 6, whole=True) == [50, 100, 150, 200, 250, 300]


@pytest.mark.parametrize("values", [[], [NAN], [0.3], [0.0, 0.0], [5.0, 5.0], [-2.0, 7.5], [1e-9, 2e-9], [1e9, 3e9]])
@pytest.mark.parametrize("zero", [True, False])
def test_an_axis_covers_its_values_and_ends_on_ticks(values, zero):
    axis = axis_over("x", values, zero=zero)
    finite = [value for value in values if math.isfinite(value)]
    assert axis.low < axis.high
    assert all(axis.low <= value <= axis.high for value in finite)
    assert axis.low <= 0 <= axis.high or not zero
    assert len(axis.ticks) >= 2


def test_one_epoch_is_enough_for_an_axis():
    axis = axis_over("epoch", [1.0], whole=True)
    assert (axis.share(1), axis.ticks) == (0.5, (1,))


def test_figures_for_people():
    assert (figure(0.12345), figure(None), figure(NAN)) == ("0.123", "\N{EN DASH}", "\N{EN DASH}")
    assert (between(0.1, 0.25), between(NAN, NAN)) == ("0.100 to 0.250", "")
    assert [number(one, 2) for one in (1.0, 0.25, -0.001, 100)] == ["1", "0.25", "0", "100"]


def test_elements_escape_words_and_attributes():
    made = element("text", "a < b", element("i"), class_="x", data_at=1.23456, hidden=None, aria_label='"&"')
    assert made == '<text class="x" data-at="1.23" aria-label="&#34;&amp;&#34;">a &lt; b<i></i></text>'


def drawn(series, places=(0.0, 0.5, 1.0), **parts):
    return line_chart("chart-x", "Title", Plot(share_axis("score"), share_axis("F2"), places, series, **parts))


def test_a_line_runs_from_corner_to_corner_and_breaks_where_there_is_no_figure():
    chart = drawn([Series("a", [0.0, 0.5, 1.0], 0), Series("b", [0.2, NAN, 0.2], 9)])
    paths = re.findall(r'<path class="line" d="([^"]+)" style="stroke:var\(--s(\d)\)"', chart.drawing)
    assert [colour for _, colour in paths] == ["0", "1"]
    assert paths[0][0] == "M66 260L285 144L504 28"
    assert paths[1][0].count("M") == 2
    assert chart.drawing.count("stroke-dasharray") == 1  # the second time round the colours
    assert [key.name for key in chart.keys] == ["a", "b"]


def test_values_show_on_hover():
    chart = drawn([Series("<a>", [0.1, 0.2, 0.3], 0), Series("b", [0.5, NAN, 0.5], 1)])
    titles = re.findall(r"<title>([^<]*)</title>", chart.drawing)
    assert titles == [
        "score  0\n&lt;a&gt;  0.100\nb  0.500",
        "score  0.5\n&lt;a&gt;  0.200",
        "score  1\n&lt;a&gt;  0.300\nb  0.500",
    ]


def test_many_places_share_stops():
    places = [step / 1000 for step in range(1001)]
    assert 50 <= drawn([Series("a", places, 0)], places).drawing.count("<title>") <= 101


def test_marks_bands_dots_and_columns_are_drawn():
    chart = drawn(
        [Series("a", [0.0, 0.5, 1.0], 0)],
        marks=[Mark(0.5, "here", (0.4, 0.6))],
        dots=[Dot(0.5, 0.5, 0), Dot(NAN, 0.5, 0)],
        columns=[Column(0.0, 0.5, 1.0)],
    )
    assert '<line class="mark" x1="285" x2="285"' in chart.drawing
    assert re.search(r'class="band" x="241.2" width="87.6"', chart.drawing)
    assert chart.drawing.count("<circle") == 1
    assert chart.drawing.count('class="column"') == 1
    assert ">here</text>" in chart.drawing
    assert chart.keys == ()


def test_bars_are_as_long_as_their_values():
    chart = bars(
        "b", "Bars", [Bar("one", 2.0, "2"), Bar("two & a half", 1.0, "1", interval=(0.5, 9.0)), Bar("", NAN, "")]
    )
    assert re.findall(r'width="([\d.]+)%"', chart.drawing) == ["100.00", "50.00"]
    assert 'x1="25.00%" x2="100.00%"' in chart.drawing
    assert "two &amp; a half" in chart.drawing


def test_a_bar_of_nothing_is_no_division_by_zero():
    assert '0.00%"' in bars("b", "Bars", [Bar("none", 0.0, "0")]).drawing


def test_differences_lie_beside_their_zero():
    rows = [
        Estimate("a", 0.1, (0.05, 0.15), True),
        Estimate("b", -0.1, (-0.3, 0.1), False),
        Estimate("c", NAN, None, False),
    ]
    chart = forest("f", "Forest", "difference", rows)
    zero = float(re.search(r'class="zero" x1="([\d.]+)%"', chart.drawing)[1])
    places = [float(at) for at in re.findall(r'class="estimate" cx="([\d.]+)%"', chart.drawing)]
    assert places[0] > zero > places[1]
    assert len(places) == 2
    assert chart.drawing.count('class="stands"') == 1
    assert "+0.100" in chart.drawing
    assert "\N{MINUS SIGN}0.100" in chart.drawing


def test_a_matrix_is_shaded_by_the_share_of_its_row():
    chart = matrix("m", "Matrix", np.array([[3, 1], [0, 0]]), ["a", "<b>"])
    assert re.findall(r'class="(\w+)" style="--share:([\d.]+)"', chart.drawing) == [
        ("right", "0.750"),
        ("wrong", "0.250"),
    ]
    assert "<b>" not in chart.drawing
    assert 'title="a → &lt;b&gt;: 1 (25%)"' in chart.drawing


def test_ticks_are_short():
    shown = [0, 0.2, 0.002, 0.00002, 0.000015, 250_000, 15_000_000, -0.00004]
    assert [tick_text(one) for one in shown] == ["0", "0.2", "0.002", "2e-5", "1.5e-5", "250000", "1.5e+7", "-4e-5"]


@pytest.mark.parametrize("value", [0.0, 1e-7, 0.0001, 0.0004])
def test_a_difference_of_nothing_is_drawn_at_zero(value):
    chart = forest("f", "Forest", "difference", [Estimate("a", value, (-value, 2 * value), False)])
    zero = float(re.search(r'class="zero" x1="([\d.]+)%"', chart.drawing)[1])
    place = float(re.search(r'class="estimate" cx="([\d.]+)%"', chart.drawing)[1])
    assert abs(place - zero) < 5
    ticks_shown = re.findall(r'class="tick"[^>]*>([^<]+)<', chart.drawing)
    assert len(set(ticks_shown)) == len(ticks_shown) >= 2
