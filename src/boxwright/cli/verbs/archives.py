"""``boxwright archive``, ``boxwright export`` and ``boxwright adopt``."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Annotated

import typer

from boxwright.host.console import make_console, stages

from .options import JsonOption, require_file_name, write_json

__all__ = ["adopt", "archive", "export"]

NameOption = Annotated[str | None, typer.Option(help="Model name in the URL; by default as it was.")]
ToleranceOption = Annotated[
    float | None, typer.Option(min=0.0, help="Of mAP and F2; .0005 in fp32, .002 in bf16, .01 in int8 by default.")
]
StoreOption = Annotated[Path, typer.Option(help="Folder for the archive.")]


def archive(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder; with --inspect a .mar.")],
    name: NameOption = None,
    version: Annotated[str, typer.Option(help="Model version.")] = "1.0",
    store: StoreOption = Path("model-store"),
    precision: Annotated[
        list[str] | None, typer.Option(help="Export to bf16 or int8, too; may be repeated. fp32 is always there.")
    ] = None,
    export: Annotated[
        bool, typer.Option("--export/--no-export", help="Without exports only PyTorch can run the archive.")
    ] = True,
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder with the pictures, if it has moved since training.")
    ] = None,
    tolerance: ToleranceOption = None,
    gate: Annotated[
        bool, typer.Option("--gate", help="Serve it first, and release it only if it answers as in training.")
    ] = False,
    inspect: Annotated[bool, typer.Option("--inspect", help="Verify a .mar and say what it holds.")] = False,
    json_file: JsonOption = None,
) -> None:
    """Pack a run into a .mar for 'boxwright serve' and for TorchServe, its exports proved equal."""
    from boxwright.cli.exports import print_proofs
    from boxwright.release import ReleaseOptions, release
    from boxwright.runtime import ConfigError

    require_file_name("--json", json_file)
    if inspect:
        _inspect(run, json_file)
        return
    if json_file:
        raise ConfigError("--json goes with --inspect.", "Leave it out.")
    if precision and not export:
        raise ConfigError("--precision does not go with --no-export.", "Leave one of them out.")
    console = make_console()
    precisions = ("fp32", *(precision or ())) if export else ()
    options = ReleaseOptions(name, version, store, precisions, data, tolerance, gate)
    with stages(console) as advance:
        released = release(run, options, advance)
    for line in released.report.lines if released.report else ():
        console.print(line)
    print_proofs(console, released.spec)
    console.print(f"Archive: {released.path}")


def _inspect(mar: Path, json_file: Path | None) -> None:
    from boxwright import api
    from boxwright.cli.contents import print_contents

    contents = api.inspect(mar)
    if json_file:
        write_json(json_file, contents.to_document())
    print_contents(make_console(), contents)


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")],
    to: Annotated[str, typer.Option(help="state-dict, onnx or openvino.")],
    out: Annotated[Path, typer.Option(help="The file: .pth, .onnx, or .xml with a .bin beside it.")],
    precision: Annotated[str, typer.Option(help="fp32, or int8 for onnx and openvino.")] = "fp32",
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder with the pictures, if it has moved since training.")
    ] = None,
    tolerance: ToleranceOption = None,
) -> None:
    """Write a run's network to a file, proved equal to the trained model on validation pictures."""
    from boxwright import api
    from boxwright.cli.exports import proof_line

    console = make_console()
    with stages(console) as advance:
        proof = api.export(run, to, out, precision=precision, data=data, tolerance=tolerance, progress=advance)
    console.print(proof_line(proof.execution.variant, proof.to_document()))
    console.print(f"Export: {out}")


def adopt(
    old: Annotated[Path, typer.Argument(metavar="OLD.mar", help="Archive made with torch-model-archiver.")],
    model: Annotated[str, typer.Option(help="Its architecture; see 'boxwright models'.")],
    name: NameOption = None,
    version: Annotated[str | None, typer.Option(help="Model version; by default as it was.")] = None,
    image_size: Annotated[
        str | None, typer.Option(metavar="H,W", help="Canvas in pixels, or one number; the architecture's by default.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Lowest reported score; 0.5, as TorchServe's, by default.")
    ] = None,
    classes: Annotated[
        Path | None, typer.Option(help="Class names, one a line, instead of index_to_name.json.")
    ] = None,
    norm_eps: Annotated[
        float | None,
        typer.Option(min=0.0, help="BatchNorm epsilon; 0 if fine-tuned from COCO weights of fasterrcnn_resnet50_fpn."),
    ] = None,
    store: StoreOption = Path("model-store"),
) -> None:
    """Turn an archive made by hand into one of ours, without running its code."""
    from boxwright import api

    adoption = api.adopt(
        old, model, name=name, version=version, image_size=_canvas(image_size), threshold=threshold, classes=classes,
        norm_eps=norm_eps, store=store,
    )  # fmt: skip
    typer.echo(f"Archive: {adoption.archive}")
    classes_in_words = ", ".join(f"{index} {one.name}" for index, one in enumerate(adoption.spec.classes, start=1))
    typer.echo(f"Classes by label: {classes_in_words}")
    for note in adoption.notes:
        typer.echo(f"Note: {note}")
    typer.echo(f"Next: boxwright evaluate {shlex.quote(str(adoption.archive))} --data my-folder")


def _canvas(text: str | None) -> tuple[int, int] | None:
    from boxwright.runtime import ConfigError

    if text is None:
        return None
    sides = re.fullmatch(r"(\d{1,5})(?:[,x](\d{1,5}))?", text)
    if sides is None:
        raise ConfigError(f"--image-size {text!r} is no canvas.", "Write height,width as in 480,640, or one number.")
    return int(sides[1]), int(sides[2] or sides[1])
