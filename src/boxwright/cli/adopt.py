"""``boxwright adopt``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

import boxwright
from boxwright.host.places import in_command

from .options import NameOption, StoreOption

__all__ = ["adopt"]


def adopt(
    old: Annotated[Path, typer.Argument(metavar="OLD.mar", help="Archive made with torch-model-archiver.")],
    model: Annotated[str, typer.Option(help="Its architecture; see 'boxwright models'.")],
    name: NameOption = None,
    version: Annotated[str | None, typer.Option(help="Model version; unchanged by default.")] = None,
    image_size: Annotated[
        str | None,
        typer.Option(
            metavar="H,W", help="Canvas in pixels, height first; or one number. By default the architecture's."
        ),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Lowest reported score; by default 0.5, as in TorchServe.")
    ] = None,
    classes: Annotated[
        Path | None, typer.Option(help="Class names, one per line, instead of index_to_name.json.")
    ] = None,
    norm_eps: Annotated[
        float | None,
        typer.Option(min=0.0, help="BatchNorm epsilon; 0 if fine-tuned from COCO weights of fasterrcnn_resnet50_fpn."),
    ] = None,
    store: StoreOption = Path("model-store"),
) -> None:
    """Turn an archive made by hand into one of ours, without running its code."""
    adoption = boxwright.adopt(
        old, model, name=name, version=version, image_size=_canvas(image_size), threshold=threshold, classes=classes,
        norm_eps=norm_eps, store=store,
    )  # fmt: skip
    typer.echo(f"Archive: {adoption.archive}")
    labels = ", ".join(f"{index} {one.name}" for index, one in enumerate(adoption.spec.classes, start=1))
    typer.echo(f"Classes by label: {labels}")
    for note in adoption.notes:
        typer.echo(f"Note: {note}")
    typer.echo(f"Next: boxwright evaluate {in_command(adoption.archive)} --data my-folder")


def _canvas(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    sides = re.fullmatch(r"(\d{1,5})(?:[,x](\d{1,5}))?", text)
    if sides is None:
        remedy = "Write height,width as in 480,640, or one number."
        raise boxwright.ConfigError(f"--image-size {text!r} is not a canvas.", remedy)
    return int(sides[1]), int(sides[2] or sides[1])
