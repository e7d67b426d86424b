"""``boxwright check``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import boxwright
from boxwright.host.console import make_console, progress
from boxwright.host.files import writing
from boxwright.host.places import as_given, in_command, shown_place

from .options import JsonOption, refuse_typed, require_file_names, require_not_read, write_json

if TYPE_CHECKING:
    from PIL import Image
    from rich.console import Console

    from boxwright import Finding, Inspection
    from boxwright.runtime import InputSpec

__all__ = ["check", "print_inspection"]

_MOST_OF_A_CODE = 5
_LARGEST_CANVAS = 4096  # pixels per side
_OF_SHEET = ("--augmentation", "--image-size", "--seed", "--sheet")
_COLOURS = {"error": "bold red", "warning": "yellow", "note": "cyan"}


def check(
    context: typer.Context,
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="Folder, .zip or URL with train/, valid/ and optionally test/.")
    ],
    json_file: JsonOption = None,
    html: Annotated[Path | None, typer.Option(help="Also write a page with charts and pictures.")] = None,
    fix: Annotated[Path | None, typer.Option(metavar="OUT", help="Write a repaired copy to this new folder.")] = None,
    max_pixels: Annotated[
        int | None, typer.Option(min=1, help="Largest accepted width x height of a picture; 100 million by default.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 for warnings, too.")] = False,
    show_augmented: Annotated[
        int | None, typer.Option(min=1, max=64, metavar="N", help="Draw N pictures as training would see them.")
    ] = None,
    augmentation: Annotated[str, typer.Option(help="Recipe to show: none, light, standard, strong.")] = "light",
    image_size: Annotated[int, typer.Option(help="Pixels: side of the canvas, the size a model sees.")] = 640,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the augmentations to show.")] = 0,
    sheet: Annotated[Path, typer.Option(help="File for --show-augmented.")] = Path("augmented.png"),
) -> None:
    """Check a data set: everything wrong with it, at once. Exit code 1 if there are errors."""
    from boxwright.data import local_data

    if not show_augmented:
        refuse_typed(context, _OF_SHEET, "go with --show-augmented N.", "Add it, or leave them out.")
    files = {"json": json_file, "html": html, "sheet": sheet if show_augmented else None}
    require_file_names(**files)
    folder = local_data(data)
    require_not_read([data, folder], **files)
    if fix:
        from boxwright.host.files import require_new_folder

        require_new_folder(fix, folder)
        _require_beside(fix, files)
    if show_augmented:
        canvas = _sheet_canvas(sheet, image_size, augmentation)
    limit = _limit(max_pixels)
    console = make_console()
    with progress(console, "check") as advance:
        inspection = boxwright.check(folder, max_pixels=limit, advance=advance)
    shown = _in_given_words(inspection)
    written = []  # files come before the printed lines, whose reader may stop reading
    if json_file:
        write_json(json_file, {**shown.to_document(), "data": as_given(str(folder))})
        written.append(f"JSON: {json_file}")
    if html:
        from boxwright.reporting import write_check_page

        write_check_page(shown, html)
        written.append(f"Page: {html}")
    repaired: tuple[Finding, ...] = ()
    left = inspection
    if fix:
        with progress(console, "copy") as advance:
            repaired = boxwright.repair(inspection, fix, advance=advance)
        left = boxwright.check(fix, max_pixels=limit)
    if show_augmented and left.of("error"):
        written.append(f"{sheet} was not drawn: training would not start with these errors.")
    elif show_augmented:
        drawn = _augmented(left, show_augmented, augmentation, canvas, seed)
        with writing(sheet) as part:
            drawn.save(part, format="PNG")
        written.append(f"Augmented pictures: {sheet}")
    if left.documents and not left.of("error"):
        written.append(f"Next: boxwright train {in_command(fix or shown_place(data))}")
    elif not fix and _has_repairs(left.of("error")):
        written.append(f"Next: boxwright check {in_command(shown_place(data))} --fix OUT   (a copy with repairs)")
    print_inspection(shown, console)
    if fix:
        _print_repair(repaired, inspection, left, console)
    console.print("\n".join(written), end="\n" if written else "")
    if not left.documents:
        raise typer.Exit(2)
    if left.of("error") or (strict and left.of("warning")):
        raise typer.Exit(1)


def _require_beside(fix: Path, files: Mapping[str, Path | None]) -> None:
    """Raise for a file in the folder of the repaired copy, which must be new when the copy is written.

    Raises:
        ConfigError: it is there.
    """
    for option, path in files.items():
        if path is not None and path.resolve().is_relative_to(fix.resolve()):
            raise boxwright.ConfigError(f"--{option} {path} lies inside --fix {fix}.", "Write it beside that folder.")


def _in_given_words(inspection: Inspection) -> Inspection:
    """With copies in the cache called what they are copies of."""
    findings = tuple(replace(one, message=as_given(one.message)) for one in inspection.findings)
    return replace(inspection, findings=findings)


def _limit(max_pixels: int | None) -> int:
    from boxwright.runtime.picture import DATA_PIXELS, LARGEST_PIXELS

    if max_pixels is not None and max_pixels > LARGEST_PIXELS:
        raise boxwright.ConfigError(
            f"--max-pixels {max_pixels} is too large.", f"Pillow opens {LARGEST_PIXELS} at most."
        )
    return DATA_PIXELS if max_pixels is None else max_pixels


def _sheet_canvas(sheet: Path, side: int, recipe: str) -> InputSpec:
    """The canvas of ``--show-augmented``.

    Raises:
        ConfigError: a file that is not a PNG, an impossible side, an unknown recipe.
        MissingDependency: ``boxwright[train]`` is not installed.
    """
    from boxwright.host.dependencies import require_train_extra

    require_train_extra()
    from boxwright.data.augment import Augmentation
    from boxwright.models import CATALOGUE

    if sheet.suffix.lower() != ".png":
        raise boxwright.ConfigError(f"--sheet {sheet} is not a .png.", "Give it a name that ends in .png.")
    if side > _LARGEST_CANVAS:
        raise boxwright.ConfigError(f"--image-size {side} is too large.", f"Use {_LARGEST_CANVAS} at most.")
    usual = next(iter(CATALOGUE.values()))  # most have its stride and padding
    spec = usual.canvas(side, side, "letterbox")
    Augmentation(recipe, spec)
    return spec


def _augmented(inspection: Inspection, count: int, recipe: str, canvas: InputSpec, seed: int) -> Image.Image:
    """Pictures of the training split, unchanged and augmented."""
    from boxwright.data import folder_of
    from boxwright.data.sheet import augmented_sheet

    folder = folder_of(inspection)
    names = [one.name for one in folder.classes]
    return augmented_sheet(folder.splits["train"], names, canvas, recipe, count, seed)


def _has_repairs(findings: Sequence[Finding]) -> bool:
    from boxwright.data import CODES

    return any(CODES[one.code].repair for one in findings)


def print_inspection(inspection: Inspection, console: Console) -> None:
    """Splits, findings (the first few of each code), what to do, and how many there are."""
    from rich.table import Table

    from boxwright.data.findings import LEVELS

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
    """A table for people; into a pipe one line per finding."""
    from rich.table import Table

    if not console.is_terminal:
        for level, code, text in _rows(findings):
            console.print(f"{level:<7} {code}: {text}")
        return
    table = Table("", "code", box=None, padding=(0, 1))
    table.add_column("finding", overflow="fold")  # file names must stay whole
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

    from boxwright.data import CODES

    todo = Table("what to do", "", "--fix OUT", box=None, padding=(0, 1))
    for code in dict.fromkeys(finding.code for finding in findings if finding.level != "note"):
        todo.add_row(code, CODES[code].remedy, CODES[code].repair or "-")
    if todo.row_count:
        console.print(todo)


def _print_repair(repaired: tuple[Finding, ...], before: Inspection, copy: Inspection, console: Console) -> None:
    """What was repaired and what was not, by code, and what is left in the copy."""
    from boxwright.data import CODES

    done = Counter(finding.code for finding in repaired)
    for code, count in done.items():
        console.print(f"Repaired {count} x {code}: {CODES[code].repair}")
    for code, count in (Counter(one.code for one in before.findings if CODES[one.code].repair) - done).items():
        console.print(f"Not repaired: {count} x {code}; a repair would be a guess, or most of the split has it")
    console.print(f"The repaired copy is {copy.root}. What the check finds in it:")
    print_inspection(copy, console)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
