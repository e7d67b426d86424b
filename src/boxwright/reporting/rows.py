"""Charts that are tables: bars, intervals around a zero line, and a shaded matrix.

As tables they can be read at any width, and by screen readers. Drawings use per cent, so that they follow the width
of their cell.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from .charts import Chart
from .svg import Axis, axis_over, colour, element, figure, number

__all__ = ["Bar", "Estimate", "bars", "forest", "matrix"]

_LEAST = 0.01  # at least so far does the axis of differences go: smaller ones are 0 for people


@dataclass(frozen=True)
class Bar:
    """A row with a bar.

    Attributes:
        name: of the row.
        value: its length; NaN draws none.
        text: behind it.
        detail: below the text, or empty.
        hint: below the name, or empty.
        interval: (low, high), drawn as a whisker, or None.
        index: of its colour.
    """

    name: str
    value: float
    text: str
    detail: str = ""
    hint: str = ""
    interval: tuple[float, float] | None = None
    index: int = 0


@dataclass(frozen=True)
class Estimate:
    """A row with a point in its interval.

    Attributes:
        name: of the row.
        value: NaN draws none.
        interval: (low, high), or None.
        stands: whether 0 lies outside the interval.
    """

    name: str
    value: float
    interval: tuple[float, float] | None
    stands: bool


def bars(id: str, title: str, rows: Sequence[Bar], *, top: float | None = None, note: str = "") -> Chart:  # noqa: A002
    """Horizontal bars from zero, one per row.

    Args:
        id: of the figure element.
        title: above them.
        rows: from the top.
        top: value of a full bar; the greatest one by default.
        note: a sentence below the title.
    """
    longest = top or max((row.value for row in rows if math.isfinite(row.value)), default=0.0) or 1.0
    body = [
        element(
            "tr",
            element("th", row.name, _small(row.hint), scope="row"),
            element("td", _bar(row, longest), class_="drawn"),
            element("td", row.text, _small(row.detail), class_="n"),
        )
        for row in rows
    ]
    return Chart(id, title, element("table", element("tbody", *body), class_="rows"), note=note)


def _small(text: str) -> Markup:
    return element("small", text) if text else Markup("")


def _bar(row: Bar, longest: float) -> Markup:
    parts = []
    if math.isfinite(row.value):
        width = min(max(100 * row.value / longest, 0.0), 100.0)
        parts.append(element("rect", x=0, y=4, height=12, width=f"{width:.2f}%", style=f"fill:{colour(row.index)}"))
    if row.interval is not None:
        low, high = (min(max(100 * end / longest, 0.0), 100.0) for end in row.interval)
        parts.append(_whisker(low, high))
    return element("svg", *parts, height=20, aria_hidden="true")


def _whisker(low: float, high: float, class_: str = "whisker") -> Markup:
    return element("line", class_=class_, x1=f"{low:.2f}%", x2=f"{high:.2f}%", y1=10, y2=10)


def forest(id: str, title: str, label: str, rows: Sequence[Estimate], *, note: str = "") -> Chart:  # noqa: A002
    """Differences with their intervals around a line at zero; dots of those that stand are filled.

    Args:
        id: of the figure element.
        title: above them.
        label: of the axis.
        rows: from the top.
        note: a sentence below the title.
    """
    ends = [end for row in rows for end in (row.value, *(row.interval or ()))]
    if all(abs(end) < _LEAST for end in ends if math.isfinite(end)):
        ends += [-_LEAST, _LEAST]
    axis = axis_over(label, ends, zero=True)
    body = [
        element(
            "tr",
            element("th", row.name, scope="row"),
            element("td", _estimate(row, axis), class_="drawn"),
            element("td", _signed(row.value), class_="n"),
            class_="stands" if row.stands else None,
        )
        for row in rows
    ]
    scale = (element("th", label), element("td", _scale(axis), class_="drawn"), element("td"))
    table = element("table", element("tbody", *body, element("tr", *scale, class_="scale")), class_="rows forest")
    return Chart(id, title, table, note=note)


def _signed(value: float) -> str:
    return _minus(f"{value:+.3f}") if math.isfinite(value) else figure(value)


def _minus(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")


def _percent(axis: Axis, value: float) -> float:
    return 2 + 96 * axis.share(value)  # room for half a dot at the ends


def _estimate(row: Estimate, axis: Axis) -> Markup:
    zero = f"{_percent(axis, 0.0):.2f}%"
    parts = [element("line", class_="zero", x1=zero, x2=zero, y1=0, y2=20)]
    if row.interval is not None and all(math.isfinite(end) for end in row.interval):
        low, high = row.interval
        parts.append(_whisker(_percent(axis, low), _percent(axis, high), "interval"))
        parts.append(element("title", f"{row.name}: {_signed(row.value)} ({_signed(low)} to {_signed(high)})"))
    if math.isfinite(row.value):
        parts.append(element("circle", class_="estimate", cx=f"{_percent(axis, row.value):.2f}%", cy=10, r=5))
    return element("svg", *parts, height=20)


def _scale(axis: Axis) -> Markup:
    shown = [tick for tick in axis.ticks if tick == 0] + [axis.low, axis.high]
    texts = [
        element("text", _minus(number(tick, 3)), class_="tick", x=f"{_percent(axis, tick):.2f}%", y=14,
                text_anchor="start" if tick == axis.low else "end" if tick == axis.high else "middle")
        for tick in sorted(set(shown))
    ]  # fmt: skip
    return element("svg", *texts, height=20)


def matrix(id: str, title: str, counts: NDArray[np.int64], names: Sequence[str], *, note: str = "") -> Chart:  # noqa: A002
    """A confusion matrix: rows are annotated classes, columns detected ones, shaded by the share of the row.

    Args:
        id: of the figure element.
        title: above it.
        counts: int64 [n, n].
        names: n.
        note: a sentence below the title.
    """
    heads = [element("th", element("span", name), scope="col") for name in names]
    head = element("tr", element("th", "truth ↓ detected →", class_="corner"), *heads)
    body = [
        element("tr", element("th", name, scope="row"), *_cells(row, at, name, names))
        for at, (name, row) in enumerate(zip(names, counts, strict=True))
    ]
    table = element("table", element("thead", head), element("tbody", *body), class_="matrix")
    return Chart(id, title, table, note=note, wide=True)


def _cells(row: NDArray[np.int64], at: int, name: str, names: Sequence[str]) -> Iterator[Markup]:
    total = max(int(row.sum()), 1)
    for column, count in enumerate(row.tolist()):
        share = count / total
        yield element(
            "td", count or "",
            class_="right" if column == at else "wrong",
            style=f"--share:{share:.3f}" if count else None,
            title=f"{name} → {names[column]}: {count} ({share:.0%})" if count else None,
        )  # fmt: skip
