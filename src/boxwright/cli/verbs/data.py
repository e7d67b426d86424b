"""``boxwright check`` and ``boxwright convert``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from boxwright.host.console import make_console, progress

from .options import JsonOption, require_file_name, write_json

if TYPE_CHECKING:
    from boxwright.data import Finding

__all__ = ["check", "convert"]


def check(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Folder with train/, valid/ and optionally test/.")],
    json_file: JsonOption = None,
    html: Annotated[Path | None, typer.Option(help="Also write a page with charts and pictures.")] = None,
    fix: Annotated[Path | None, typer.Option(metavar="OUT", help="Write a repaired copy to this new folder.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 for warnings, too.")] = False,
    show_augmented: Annotated[
        int | None, typer.Option(min=1, max=64, metavar="N", help="Draw N pictures as training would see them.")
    ] = None,
    augmentation: Annotated[str, typer.Option(help="Recipe to show: none, light, standard, strong.")] = "light",
    image_size: Annotated[int, typer.Option(help="Side of the canvas to show, in pixels.")] = 640,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the augmentations to show.")] = 0,
    sheet: Annotated[Path, typer.Option(help="File for --show-augmented.")] = Path("augmented.png"),
) -> None:
    """Check a data set: everything wrong with it, at once. Exit code 1 if there are errors."""
    from boxwright import api
    from boxwright.cli.check import draw_sheet, print_inspection, print_repair, sheet_canvas, write_page
    from boxwright.data.new_folder import require_new_folder

    for option, path in (("--json", json_file), ("--html", html), ("--sheet", sheet)):
        require_file_name(option, path)
    if fix:
        require_new_folder(fix, data)
    if show_augmented:
        api.require_train_extra()
        canvas = sheet_canvas(sheet, image_size, augmentation)
    console = make_console()
    with progress(console, "check") as advance:
        inspection = api.check(data, advance=advance)
    written = []  # files before words: who reads the words may stop reading
    if json_file:
        write_json(json_file, inspection.to_document())
        written.append(f"JSON: {json_file}")
    if html:
        write_page(inspection, html)
        written.append(f"Page: {html}")
    repaired: tuple[Finding, ...] = ()
    left = inspection
    if fix:
        with progress(console, "copy") as advance:
            repaired = api.repair(inspection, fix, advance=advance)
        left = api.check(fix)
    if show_augmented and left.of("error"):
        written.append(f"{sheet} was not drawn: training would not start with these errors.")
    elif show_augmented:
        draw_sheet(left, sheet, show_augmented, augmentation, canvas, seed)
        written.append(f"Augmented pictures: {sheet}")
    print_inspection(inspection, console)
    if fix:
        print_repair(repaired, left, console)
    console.print("\n".join(written), end="\n" if written else "")
    if not left.documents:
        raise typer.Exit(2)
    if left.of("error") or (strict and left.of("warning")):
        raise typer.Exit(1)


def convert(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="Folder to convert.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="New folder.")],
    form: Annotated[str, typer.Option("--from", help="yolo, voc or coco.")],
    split: Annotated[
        str | None, typer.Option(help="Split anew: shares of train,valid[,test], as in 0.8,0.1,0.1.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides a new split.")] = 0,
    voc_origin: Annotated[str, typer.Option(help="Where VOC counts pixels from: auto, 0 or 1.")] = "auto",
) -> None:
    """Convert YOLO, Pascal VOC or another COCO layout to the folder that train takes."""
    from boxwright import api

    console = make_console()
    with progress(console, "copy") as advance:
        shares, origin = _shares(split), int(voc_origin) if voc_origin in ("0", "1") else voc_origin
        done = api.convert(source, out, form.lower(), split=shares, seed=seed, voc_origin=origin, advance=advance)
    for name, counts in done.splits.items():
        console.print(f"{name:>6}: pictures {counts.pictures}, boxes {counts.boxes}")
    for note in done.notes:
        console.print(f"Note: {note}")
    console.print(f"Next: boxwright check {shlex.quote(str(done.out))}")


def _shares(text: str | None) -> tuple[float, ...] | None:
    from boxwright.runtime import ConfigError

    try:
        return None if text is None else tuple(float(share) for share in text.split(","))
    except ValueError:
        raise ConfigError(f"--split {text!r} is not shares.", "Write them as in 0.8,0.1,0.1.") from None
