"""Elements, numbers and scales: the parts of all charts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

__all__ = [
    "NONE",
    "Axis",
    "axis_over",
    "between",
    "colour",
    "element",
    "figure",
    "number",
    "share_axis",
    "tick_text",
    "ticks",
]

NONE = "\N{EN DASH}"
"""Shown instead of a figure that does not exist."""

_COLOURS = 8  # --s0 to --s7 in style.css


def element(name: str, *children: object, **attributes: object) -> Markup:
    """One element as markup.

    Args:
        name: of the tag.
        children: escaped, unless they are markup.
        attributes: ``class_`` is ``class``, other underscores become hyphens; None and False are left out,
            floats have at most two decimals.
    """
    written = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), number(value, 2) if _is_float(value) else value)
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), written, Markup("").join(escape(one) for one in children))


def _is_float(value: object) -> bool:
    return isinstance(value, float)


def number(value: object, decimals: int) -> str:
    """A number without zeros at its end: 1, 0.25, -3.1."""
    text = f"{float(value):.{decimals}f}"  # type: ignore[arg-type]
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def tick_text(value: float) -> str:
    """A tick in few characters: 0, 0.002, 250000, 2e-5, 1.5e+7."""
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        return number(value, 6)
    mantissa, exponent = f"{value:.3e}".split("e")
    return f"{number(mantissa, 3)}e{int(exponent):+d}"


def figure(value: float | None, decimals: int = 3) -> str:
    """A measured figure for people; a dash for None and NaN."""
    return NONE if value is None or not math.isfinite(value) else f"{value:.{decimals}f}"


def between(low: float, high: float) -> str:
    """An interval for people; empty for NaN."""
    return f"{figure(low)} to {figure(high)}" if math.isfinite(low + high) else ""


def colour(index: int) -> str:
    """The CSS colour of the index-th series; colours repeat after eight."""
    return f"var(--s{index % _COLOURS})"


def ticks(low: float, high: float, count: int = 5, whole: bool = False) -> list[float]:
    """Round numbers from low to high, about ``count`` of them.

    Args:
        low: finite.
        high: finite, greater than ``low``.
        count: about how many.
        whole: whether they must be whole numbers.
    """
    step = _step(low, high, count, whole)
    first, last = math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6)
    return [round(place * step, 12) for place in range(first, last + 1)]


def _step(low: float, high: float, count: int = 5, whole: bool = False) -> float:
    """1, 2 or 5 times a power of ten."""
    rough = (high - low) / count
    power: float = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    return max(step, 1.0) if whole else step


@dataclass(frozen=True)
class Axis:
    """A scale with its label and its ticks.

    Attributes:
        label: with the unit.
        low, high: what it shows; ``low < high``.
        ticks: between them.
    """

    label: str
    low: float
    high: float
    ticks: Sequence[float]

    def share(self, value: float) -> float:
        """Where a value lies: 0 at the low end, 1 at the high one; outside values at the ends."""
        return min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)


def share_axis(label: str) -> Axis:
    """From 0 to 1."""
    return Axis(label, 0.0, 1.0, (0.0, 0.2, 0.4, 0.6, 0.8, 1.0))


def axis_over(
    label: str, values: Iterable[float], *, zero: bool = False, top: float | None = None, whole: bool = False
) -> Axis:
    """An axis that ends on round numbers and covers all finite values.

    Args:
        label: with the unit.
        values: to be shown; may be empty.
        zero: whether 0 must be on it.
        top: highest possible end; None if figures have no maximum.
        whole: whether values are whole numbers; the axis then ends on the lowest and the highest.
    """
    finite = [value for value in values if math.isfinite(value)] + ([0.0] if zero else [])
    low, high = min(finite, default=0.0), max(finite, default=1.0)
    if whole and low == high:
        return Axis(label, low - 1, high + 1, (low,))
    if whole:
        return Axis(label, low, high, ticks(low, high, 6, whole=True))
    if high - low <= 1e-12 * max(abs(low), abs(high)):
        low, high = low - (not zero or low < 0) * 0.5, high + 0.5
    step = _step(low, high)
    low, high = math.floor(low / step + 1e-6) * step, math.ceil(high / step - 1e-6) * step
    high = high if top is None else min(high, top)
    return Axis(label, low, high, ticks(low, high))
