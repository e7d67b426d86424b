"""``boxwright check``: what was found, as tables for people and as files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from boxwright.data import CODES, Finding, Inspection
from boxwright.data.findings import LEVELS

if TYPE_CHECKING:
    from rich.console import Console

    from boxwright.runtime import InputSpec

__all__ = ["draw_sheet", "print_inspection", "print_repair", "sheet_canvas", "write_page"]

_MOST_OF_A_CODE = 5
_LARGEST_CANVAS = 4096  # pixels a side
_COLOURS = {"error": "bold red", "warning": "yellow", "note": "cyan"}


def print_inspection(inspection: Inspection, console: Console) -> None:
    """Splits, findings (the first few of each code), what to do, and how many there are."""
    from rich.table import Table

    splits = Table("split", "pictures", "without objects", "boxes", box=None)
    for name, row in inspection.statistics().items():
        splits.add_row(name, str(row["pictures"]), str(row["without_objects"]), str(row["boxes"]))
    console.print(splits)
    if inspection.findings:
        _print_findings(inspection.findings, console)
        _print_remedies(inspection.findings, console)
    numbers = [_count(len(inspection.of(level)), level) for level in LEVELS]
    console.print(", ".join(numbers))


def _print_findings(findings: tuple[Finding, ...], console: Console) -> None:
    """A table for people, a line each for what reads a pipe."""
    from rich.table import Table

    if not console.is_terminal:
        for level, code, text in _rows(findings):
            console.print(f"{level:<7} {code}: {text}")
        return
    table = Table("", "code", box=None, padding=(0, 1))
    table.add_column("finding", overflow="fold")  # a file name cut short is none
    for level, code, text in _rows(findings):
        table.add_row(level, code, text, style=_COLOURS.get(level))
    console.print(table)


def _rows(findings: tuple[Finding, ...]) -> Iterator[tuple[str, str, str]]:
    counts = Counter(finding.code for finding in findings)
    shown: Counter[str] = Counter()
    for finding in findings:
        shown[finding.code] += 1
        if shown[finding.code] <= _MOST_OF_A_CODE:
            yield finding.level, finding.code, str(finding)
        elif shown[finding.code] == counts[finding.code]:
            yield finding.level, finding.code, f"… and {counts[finding.code] - _MOST_OF_A_CODE} more (--json, --html)"


def _print_remedies(findings: tuple[Finding, ...], console: Console) -> None:
    from rich.table import Table

    todo = Table("what to do", "", "--fix OUT", box=None, padding=(0, 1))
    for code in dict.fromkeys(finding.code for finding in findings if finding.level != "note"):
        todo.add_row(code, CODES[code].remedy, CODES[code].repair or "-")
    if todo.row_count:
        console.print(todo)


def print_repair(repaired: tuple[Finding, ...], copy: Inspection, console: Console) -> None:
    """What was repaired, by code, and what is left in the copy."""
    for code, count in Counter(finding.code for finding in repaired).items():
        console.print(f"Repaired {count} x {code}: {CODES[code].repair}")
    console.print(f"Copy: {copy.root}; left there:")
    print_inspection(copy, console)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def write_page(inspection: Inspection, path: Path) -> None:
    """``--html``."""
    from boxwright.reporting import write_check_page

    path.parent.mkdir(parents=True, exist_ok=True)
    write_check_page(inspection, path)


def sheet_canvas(sheet: Path, side: int, recipe: str) -> InputSpec:
    """The canvas of ``--show-augmented``.

    Raises:
        ConfigError: a file that is no PNG, a side that no canvas has, an unknown recipe.
    """
    from boxwright.config import TrainConfig
    from boxwright.data.augment import Augmentation
    from boxwright.models import find_architecture
    from boxwright.runtime import ConfigError

    if sheet.suffix.lower() != ".png":
        raise ConfigError(f"--sheet {sheet} is no .png.", "Give it a name that ends in .png.")
    if side > _LARGEST_CANVAS:
        raise ConfigError(f"--image-size {side} is too large.", f"Use {_LARGEST_CANVAS} at most.")
    spec = find_architecture(TrainConfig.model_fields["model"].default).canvas(side, side, "letterbox")
    Augmentation(recipe, spec)
    return spec


def draw_sheet(inspection: Inspection, path: Path, count: int, recipe: str, spec: InputSpec, seed: int) -> None:
    """``--show-augmented``: pictures of the training split, left as is and augmented, as a PNG."""
    from boxwright.data import folder_of
    from boxwright.data.sheet import augmented_sheet

    folder = folder_of(inspection)
    names = [one.name for one in folder.classes]
    drawn = augmented_sheet(folder.splits["train"], names, spec, recipe, count, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn.save(path, format="PNG")
