"""``boxwright convert``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

import boxwright
from boxwright.host.console import make_console, stages
from boxwright.host.places import in_command

if TYPE_CHECKING:
    from boxwright.data.conversion.voc import VocOrigin

__all__ = ["convert"]


def convert(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="Folder, its .zip, or the file that describes it.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="New folder.")],
    form: Annotated[
        str | None,
        typer.Option("--from", help="yolo, voc, coco, labelme or via; may be left out where the files tell."),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Split anew: shares of train,valid[,test], as in 0.8,0.1,0.1.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Decides a new split; 0 by default.")] = None,
    voc_origin: Annotated[str, typer.Option(help="Where VOC counts pixels from: auto, 0 or 1.")] = "auto",
    boxes: Annotated[
        str | None,
        typer.Option(
            help="What COCO's boxes are: xywh, xyxy, cxcywh, yxhw, yxyx or xxyy; with n (xyxyn) as shares of the sides."
        ),
    ] = None,
    pictures: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where the pictures of COCO documents are.")
    ] = None,
) -> None:
    """Convert YOLO, Pascal VOC, another COCO layout and more to the folder that train takes."""
    console = make_console()
    shares = _shares(split)
    origin = cast("VocOrigin", int(voc_origin) if voc_origin in ("0", "1") else voc_origin)
    with stages(console) as advance:
        done = boxwright.convert(
            source,
            out,
            form and form.lower(),
            split=shares,
            seed=seed,
            voc_origin=origin,
            boxes=boxes,
            pictures=pictures,
            advance=advance,
        )
    for name, counts in done.splits.items():
        console.print(f"{name:>6}: pictures {counts.pictures}, boxes {counts.boxes}")
    for note in done.notes:
        console.print(f"Note: {note}")
    console.print(f"Next: boxwright check {in_command(done.out)}")


def _shares(text: str | None) -> tuple[float, ...] | None:
    try:
        return None if text is None else tuple(float(share) for share in text.split(","))
    except ValueError:
        remedy = "Write them as in 0.8,0.1,0.1."
        raise boxwright.ConfigError(f"--split {text!r} is not a list of shares.", remedy) from None
