"""``boxwright archive --inspect``: an archive in tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from boxwright.archiving import ArchiveContents
from boxwright.cli.verbs.options import shown
from boxwright.reporting.headline import HEADLINE
from boxwright.reporting.operating_point import in_words
from boxwright.reporting.provenance import origin, text_of
from boxwright.runtime import ModelSpec

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["print_contents"]

_SHORT = 12  # digits of a hash


def print_contents(console: Console, contents: ArchiveContents) -> None:
    """Name, origin, classes, operating point, figures, proofs, versions and members."""
    spec = contents.spec
    console.print(f"{spec.name} {contents.version}: {contents.path}, {contents.size:,} bytes, verified")
    console.print(_pairs([*origin(spec), ("Network", text_of(dict(spec.network)))]))
    console.print(f"\n{_operating_point(spec)}")
    console.print(_classes(spec))
    for split, figures in spec.measured.items():
        console.print(f"\nMeasured on {_plain(split)}, pictures: {_plain(figures.get('images', '-'))}")
        console.print(_figures(figures))
    console.print("\nExports proved equal to the trained model" if spec.exports else "\nNo exports; it runs in PyTorch")
    if spec.exports:
        console.print(_exports(spec.exports))
    for title in ("versions", "adopted_from"):
        recorded = spec.provenance.get(title)
        if isinstance(recorded, Mapping):
            console.print(f"\n{title.replace('_', ' ').capitalize()}")
            console.print(_pairs([(str(key), text_of(value)) for key, value in recorded.items()]))
    console.print()
    console.print(_members(contents))


def _operating_point(spec: ModelSpec) -> str:
    point = spec.operating_point
    measured = f"{shown(point.value)} on {point.split}" if point.split else "never measured"
    interval = f"; 95 % interval {_ends(point.interval)}" if point.interval else ""
    value = f" ({_ends(point.value_interval)})" if point.value_interval else ""
    words = in_words(point, spec.class_names)
    return _plain(f"Operating point: {words}{interval}, for {point.objective}: {measured}{value}")


def _classes(spec: ModelSpec) -> Table:
    table = _table("index", "id", "class", "reported from")
    thresholds = spec.operating_point.thresholds(spec.class_names)
    for index, (entry, threshold) in enumerate(zip(spec.classes, thresholds, strict=True)):
        table.add_row(str(index), str(entry.id), _plain(entry.name), f"{threshold:.3f}")
    return table


def _figures(figures: Mapping[str, Any]) -> Table:
    table = _table("", "", "95 % interval")
    recorded = figures.get("intervals")
    intervals = recorded if isinstance(recorded, Mapping) else {}
    for key, title in HEADLINE.items():
        if key in figures:
            table.add_row(title, _value(figures[key]), _ends(intervals.get(key)))
    return table


def _exports(exports: Mapping[str, Mapping[str, Any]]) -> Table:
    """A column a variant: there are few of them, and many facts on each."""
    table = _table("", *map(_plain, exports))
    for key in dict.fromkeys(key for proof in exports.values() for key in proof):
        table.add_row(_plain(key).replace("_", " "), *(_value(proof.get(key)) for proof in exports.values()))
    return table


def _members(contents: ArchiveContents) -> Table:
    table = _table("member", "bytes", "SHA-256")
    table.columns[1].justify = "right"
    for member in contents.members:
        table.add_row(_plain(member.name), f"{member.size:,}", member.sha256[:_SHORT])
    table.add_row("in all", f"{sum(member.size for member in contents.members):,}", "")
    return table


def _pairs(pairs: Sequence[tuple[str, str]]) -> Table:
    table = _table("", "")
    table.show_header = False
    for title, text in pairs:
        table.add_row(_plain(title), _plain(text))
    return table


def _table(*columns: str) -> Table:
    from rich.table import Column, Table

    return Table(*(Column(column, overflow="fold") for column in columns), box=None)


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.2e}" if 0 < abs(value) < 0.0005 else shown(value)
    return _plain(text_of(value))


def _ends(interval: Any) -> str:
    if not isinstance(interval, (list, tuple)) or len(interval) != 2:
        return "-"
    return f"{_value(interval[0])} to {_value(interval[1])}"


def _plain(text: Any) -> str:
    """Whatever someone wrote into an archive, without what would steer a terminal."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in str(text))
