"""Figures and tables in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["make_table", "proof_line", "show", "show_interval", "show_with_interval"]


def show(value: float | None) -> str:
    """A figure for people; a dash for None and NaN."""
    return "-" if value is None or value != value else f"{value:.4f}"


def show_interval(ends: Sequence[float | None] | None) -> str:
    """Both ends of an interval; a dash for none, and where it could not be measured."""
    known = [show(end) for end in ends or ()]
    return " to ".join(known) if known and "-" not in known else "-"


def show_with_interval(figures: Mapping[str, Any], key: str) -> str:
    """A figure of a document like that of ``evaluate --json``, with its interval if it has one."""
    interval = figures.get("intervals", {}).get(key)
    return show(figures[key]) + (f" ({show_interval(interval)})" if interval else "")


def make_table(*columns: str) -> Table:
    """A table without lines; long words are folded, since a name that is cut short may look like another one."""
    from rich.table import Column, Table

    return Table(*(Column(column, overflow="fold") for column in columns), box=None)


def proof_line(variant: str, proof: Mapping[str, Any]) -> str:
    """One line about the proof of an export, as it is recorded in the archive."""
    figures = ", ".join(
        f"{name} {show(proof[f'{key}_before'])} -> {show(proof[key])}" for name, key in (("mAP", "map"), ("F2", "f2"))
    )
    return (
        f"Proved {variant}: {figures}; of {proof['detections']} detections on {proof['pictures']} pictures "
        f"{proof['equal']} equal, {proof['matched']} matched; at most {proof['largest_box_difference']:.2g} px and "
        f"{proof['largest_score_difference']:.2g} of score apart"
    )
