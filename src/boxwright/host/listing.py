"""A short table for people: what ``print`` and notebooks show of a result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

__all__ = ["Listed", "Listing", "shown", "shown_range"]


@dataclass(frozen=True)
class Listing:
    """A title, a table, and sentences below it.

    Attributes:
        title: one line.
        head: names of the columns.
        rows: cells by column; columns of numbers are aligned to the right.
        notes: sentences.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()

    def text(self) -> str:
        """For a terminal."""
        table = [self.head, *self.rows] if self.rows else []
        columns = [_aligned(column) for column in zip(*table, strict=True)]
        lines = ["  " + "  ".join(row).rstrip() for row in zip(*columns, strict=True)]
        return "\n".join([self.title, *lines, *self.notes])

    def html(self) -> str:
        """For a notebook."""
        head = "".join(f"<th>{escape(name)}</th>" for name in self.head)
        rows = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in self.rows)
        table = f"<table><tr>{head}</tr>{rows}</table>" if self.rows else ""
        notes = "".join(f"<p>{escape(note)}</p>" for note in self.notes)
        return f"<div><p>{escape(self.title)}</p>{table}{notes}</div>"


class Listed:
    """A result that ``print`` and notebooks show as its ``listing``; alone in a list, as the title of it."""

    def listing(self) -> Listing:
        """What is shown."""
        raise NotImplementedError

    def __str__(self) -> str:
        return self.listing().text()

    def __repr__(self) -> str:
        return f"<{self.listing().title}>"

    def _repr_html_(self) -> str:
        return self.listing().html()


def _aligned(column: Sequence[str]) -> list[str]:
    """Cells of one width; below the head, numbers and dashes begin with one of these characters."""
    width, numbers = max(map(len, column)), all(cell[:1] in "0123456789-" for cell in column[1:])
    return [cell.rjust(width) if numbers else cell.ljust(width) for cell in column]


def shown(value: Any) -> str:
    """A figure with four decimals; a dash for None and NaN."""
    return "-" if value is None or value != value else f"{value:.4f}"


def shown_range(figures: Mapping[str, Any], key: str) -> str:
    """The interval of a figure in a document like that of ``evaluate --json``; a dash where it has none."""
    ends = figures.get("intervals", {}).get(key) or (None, None)
    low, high = map(shown, ends)
    return "-" if "-" in (low, high) else f"{low} to {high}"
