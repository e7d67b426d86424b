"""Line charts as SVG, coloured by the page's CSS variables, with values that show on hover."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from .svg import Axis, colour, element, figure, number, tick_text

__all__ = ["Chart", "Column", "Dot", "Key", "Mark", "Plot", "Series", "line_chart"]

_WIDTH, _HEIGHT = 520.0, 310.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 66.0, 16.0, 28.0, 50.0
_LETTER, _BESIDE = 9.6, 34.0  # width of a digit in the largest letters of style.css; the y axis' label and gaps
_MOST_STOPS = 101  # places with values on hover
_COLUMNS_SHARE = 0.3  # of the height is what the highest column has
_ROUND = 8  # colours before series are dashed


@dataclass(frozen=True)
class Series:
    """A line.

    Attributes:
        name: for the legend.
        values: one per place of the chart; NaN breaks the line.
        index: of its colour; from the ninth on lines are dashed, since colours repeat.
        quiet: drawn thin, as context.
    """

    name: str
    values: Sequence[float]
    index: int
    quiet: bool = False


@dataclass(frozen=True)
class Mark:
    """A vertical line with a word, and perhaps a band around it.

    Attributes:
        at: on the x axis.
        text: beside the line.
        band: (low, high) on the x axis, or None.
    """

    at: float
    text: str
    band: tuple[float, float] | None = None


@dataclass(frozen=True)
class Dot:
    """A point of a series that stands out.

    Attributes:
        x, y: on the axes; with NaN it is not drawn.
        index: of the series' colour.
        radius: pixels.
    """

    x: float
    y: float
    index: int
    radius: float = 4.5


@dataclass(frozen=True)
class Column:
    """A bar of a histogram behind the lines.

    Attributes:
        low, high: its edges on the x axis.
        height: share of the highest one, 0..1.
    """

    low: float
    high: float
    height: float


@dataclass(frozen=True)
class Key:
    """A line of the legend: name and index of a series."""

    name: str
    index: int


@dataclass(frozen=True)
class Chart:
    """A drawing with its title and legend, for the templates.

    Attributes:
        id: of the figure element.
        title: above the drawing.
        drawing: SVG or table.
        keys: of the legend; empty for a single series.
        note: a sentence below the title, or empty.
        wide: whether it scrolls inside its own box.
    """

    id: str
    title: str
    drawing: Markup
    keys: tuple[Key, ...] = ()
    note: str = ""
    wide: bool = False


@dataclass(frozen=True)
class Plot:
    """Lines over one another, and what stands behind and on them.

    Attributes:
        x: the horizontal axis.
        y: the vertical axis.
        places: on the x axis, rising, common to all series.
        series: each with one value per place.
        marks: vertical lines.
        dots: points that stand out.
        columns: a histogram behind the lines.
        stops: (place, text shown on hover); made from the series by default.
    """

    x: Axis
    y: Axis
    places: Sequence[float]
    series: Sequence[Series]
    marks: Sequence[Mark] = ()
    dots: Sequence[Dot] = ()
    columns: Sequence[Column] = ()
    stops: Sequence[tuple[float, str]] = ()


def line_chart(id: str, title: str, plot: Plot, note: str = "") -> Chart:  # noqa: A002 - it is the element's id
    """A chart of lines over one another.

    Args:
        id: of the figure element.
        title: above the drawing.
        plot: what is drawn.
        note: a sentence below the title.
    """
    y, series = plot.y, plot.series
    x = _Across(plot.x, max(_LEFT, _BESIDE + _LETTER * max(map(len, map(tick_text, y.ticks)), default=0)))
    layers = [
        *_axes(x, y),
        *(_column(one, x) for one in plot.columns),
        *(part for mark in plot.marks for part in _mark(mark, x)),
        *(_line(one, plot.places, x, y) for one in series),
        *(_dot(one, x, y) for one in plot.dots if math.isfinite(one.x + one.y)),
        *_stops(x, plot.stops or list(_described(x.axis, plot.places, series))),
    ]
    names = ", ".join(one.name for one in series)
    drawing = element(
        "svg", *layers,
        viewBox=f"0 0 {_WIDTH:.0f} {_HEIGHT:.0f}", class_="plot", role="img", tabindex=0,
        aria_label=f"{title}. {y.label} against {x.axis.label}: {names}",
    )  # fmt: skip
    keys = tuple(Key(one.name, one.index) for one in series) if len(series) > 1 else ()
    return Chart(id, title, drawing, keys, note)


@dataclass(frozen=True)
class _Across:
    """The x axis on the drawing; it begins where the ticks of the y axis leave room."""

    axis: Axis
    left: float

    def at(self, value: float) -> float:
        return self.left + self.axis.share(value) * (_WIDTH - self.left - _RIGHT)


def _down(y: Axis, value: float) -> float:
    return _HEIGHT - _BOTTOM - y.share(value) * (_HEIGHT - _TOP - _BOTTOM)


def _axes(x: _Across, y: Axis) -> Iterator[Markup]:
    floor, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    for tick in y.ticks:
        at = _down(y, tick)
        yield element("line", class_="grid", x1=x.left, x2=right, y1=at, y2=at)
        yield element("text", tick_text(tick), class_="tick", x=x.left - 8, y=at, dy=".35em", text_anchor="end")
    for tick in x.axis.ticks:
        at = x.at(tick)
        yield element("line", class_="axis", x1=at, x2=at, y1=floor, y2=floor + 5)
        yield element("text", tick_text(tick), class_="tick", x=at, y=floor + 19, text_anchor="middle")
    yield element("line", class_="axis", x1=x.left, x2=right, y1=floor, y2=floor)
    middle = x.left + (right - x.left) / 2
    yield element("text", x.axis.label, class_="label", x=middle, y=_HEIGHT - 8, text_anchor="middle")
    turned = f"rotate(-90 13 {(floor + _TOP) / 2:.0f})"
    yield element("text", y.label, class_="label", x=13, y=(floor + _TOP) / 2, transform=turned, text_anchor="middle")


def _column(column: Column, x: _Across) -> Markup:
    left, right, floor = x.at(column.low), x.at(column.high), _HEIGHT - _BOTTOM
    height = column.height * _COLUMNS_SHARE * (floor - _TOP)
    width = max(right - left - 2, 0.0)
    return element("rect", class_="column", x=left + 1, width=width, y=floor - height, height=height)


def _mark(mark: Mark, x: _Across) -> Iterator[Markup]:
    at, floor = x.at(mark.at), _HEIGHT - _BOTTOM
    if mark.band is not None:
        low, high = (x.at(end) for end in mark.band)
        yield element("rect", class_="band", x=low, width=max(high - low, 1.0), y=_TOP, height=floor - _TOP)
    yield element("line", class_="mark", x1=at, x2=at, y1=_TOP, y2=floor)
    late = at > _WIDTH * 0.6
    yield element("text", mark.text, class_="mark", x=at, y=_TOP - 8, text_anchor="end" if late else "start")


def _line(series: Series, places: Sequence[float], x: _Across, y: Axis) -> Markup:
    pieces: list[list[str]] = [[]]
    for place, value in zip(places, series.values, strict=True):
        if not math.isfinite(value):
            pieces.append([])
            continue
        pieces[-1].append(f"{number(x.at(place), 1)} {number(_down(y, value), 1)}")
    # A piece of one point is drawn as a line of no length, which round ends turn into a dot.
    path = "".join(f"M{'L'.join(piece if len(piece) > 1 else piece * 2)}" for piece in pieces if piece)
    return element(
        "path", class_="line quiet" if series.quiet else "line", d=path, style=f"stroke:{colour(series.index)}",
        data_series=series.index, stroke_dasharray="6 5" if series.index >= _ROUND else None,
    )  # fmt: skip


def _dot(dot: Dot, x: _Across, y: Axis) -> Markup:
    return element(
        "circle", class_="dot", cx=x.at(dot.x), cy=_down(y, dot.y), r=dot.radius,
        style=f"fill:{colour(dot.index)}", data_series=dot.index,
    )  # fmt: skip


def _described(x: Axis, places: Sequence[float], series: Sequence[Series]) -> Iterator[tuple[float, str]]:
    """The values of all series at every place; at every n-th if there are many."""
    stride = math.ceil(len(places) / _MOST_STOPS)
    for at in range(0, len(places), stride):
        lines = [f"{one.name}  {figure(one.values[at])}" for one in series if math.isfinite(one.values[at])]
        if lines:
            yield places[at], "\n".join([f"{x.label}  {number(places[at], 3)}", *lines])


def _stops(x: _Across, stops: Sequence[tuple[float, str]]) -> Iterator[Markup]:
    """Invisible strips side by side; page.js shows their titles at once, browsers without it after a while."""
    middles = [x.at(place) for place, _ in stops]
    edges = [x.left, *((one + next_) / 2 for one, next_ in pairwise(middles)), _WIDTH - _RIGHT]
    for (left, right), middle, (_, text) in zip(pairwise(edges), middles, stops, strict=False):
        yield element(
            "rect", element("title", text), class_="stop", x=left, width=max(right - left, 0.0), y=_TOP,
            height=_HEIGHT - _TOP - _BOTTOM, data_at=round(middle, 1),
        )  # fmt: skip
