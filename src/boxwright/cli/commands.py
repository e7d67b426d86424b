"""Every verb: parse, build the settings, one call. Heavy imports happen inside the verb."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from boxwright.terminal import make_console, progress

if TYPE_CHECKING:
    from rich.console import Console

    from boxwright.data import Finding
    from boxwright.evaluation import Evaluation
    from boxwright.runtime import ModelSpec
    from boxwright.serving.engine import Engine

__all__ = ["app"]

_INTERRUPTED = 130

app = typer.Typer(
    name="boxwright",
    help="A folder of COCO annotations goes in; a detector behind an HTTP endpoint comes out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Source = Annotated[Path, typer.Argument(metavar="RUN_OR_MAR", help="Run folder or .mar archive.")]
DataOption = Annotated[Path, typer.Option("--data", help="Folder with train/, valid/ and optionally test/.")]
JsonOption = Annotated[Path | None, typer.Option("--json", help="Also write the answer to this file.")]
ThresholdOption = Annotated[
    float | None, typer.Option(min=0.0, max=1.0, help="Lowest score; the model's operating point by default.")
]
DeviceOption = Annotated[str, typer.Option(help="cpu or cuda:0.")]


def _version(asked: bool) -> None:
    if asked:
        from boxwright import __version__

        typer.echo(f"boxwright {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """A folder of COCO annotations goes in; a detector behind an HTTP endpoint comes out."""


@app.command()
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
    from boxwright.data.new_folder import require_new_folder

    from .check import draw_sheet, print_inspection, print_repair, sheet_canvas, write_page

    for option, path in (("--json", json_file), ("--html", html), ("--sheet", sheet)):
        _require_file_name(option, path)
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
        _write_json(json_file, inspection.to_document())
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


@app.command()
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
    console.print(f"Next: boxwright check {done.out}")


def _shares(text: str | None) -> tuple[float, ...] | None:
    from boxwright.runtime import ConfigError

    try:
        return None if text is None else tuple(float(share) for share in text.split(","))
    except ValueError:
        raise ConfigError(f"--split {text!r} is not shares.", "Write them as in 0.8,0.1,0.1.") from None


@app.command()
def train(
    config: Annotated[Path | None, typer.Argument(metavar="[CONFIG.yaml]", help="Settings.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder with train/, valid/ and optionally test/.")] = None,
    model: Annotated[str | None, typer.Option(help="Architecture; see 'boxwright models'.")] = None,
    weights: Annotated[str | None, typer.Option(help="auto, none, imagenet, coco, or a file.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training split.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder that holds the runs.")] = None,
    cache: Annotated[str | None, typer.Option(help="Keep resized pictures: off, ram or disk.")] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any setting; may be repeated.")
    ] = None,
    resume: Annotated[Path | None, typer.Option(metavar="RUN", help="Continue this run with its settings.")] = None,
) -> None:
    """Train a detector; Ctrl-C leaves a run that --resume continues."""
    from boxwright import api
    from boxwright.config import parse_assignment
    from boxwright.runtime import ConfigError

    settings: dict[str, Any] = {
        "data": data, "model": model, "weights": weights, "epochs": epochs, "name": name, "out": out,
        "cache": cache,
    }  # fmt: skip
    given = {key: value for key, value in settings.items() if value is not None}
    given |= dict(parse_assignment(text) for text in assignments or [])
    if resume and (given or config):
        raise ConfigError("--resume takes the run's own settings.", "Leave the others out, or start a new run.")
    result = api.resume(resume) if resume else api.train(config, **given)
    _report_training(result.folder, result.spec, result.interrupted)


def _report_training(folder: Path, spec: ModelSpec | None, interrupted: bool) -> None:
    if spec is not None:
        point, figures = spec.operating_point, spec.measured["valid"]
        best = int(spec.provenance["best_epoch"]) + 1
        typer.echo(
            f"Best epoch {best}: mAP {_figure(figures['map'])}, F2 {_figure(point.value)} "
            f"at score {point.threshold:.3f} (valid)"
        )
    elif not interrupted:
        typer.echo("Fast dev run: one batch of training and validation went through; nothing was kept.")
        return
    typer.echo(f"Run: {folder}")
    if interrupted:
        typer.echo(f"Interrupted. To continue: boxwright train --resume {folder}")
        raise typer.Exit(_INTERRUPTED)


@app.command()
def evaluate(
    source: Source,
    data: DataOption,
    split: Annotated[str, typer.Option(help="train, valid or test.")] = "valid",
    threshold: ThresholdOption = None,
    device: DeviceOption = "cpu",
    json_file: JsonOption = None,
) -> None:
    """Measure a run or an archive on a split."""
    from boxwright import api

    api.require_train_extra()
    _require_file_name("--json", json_file)
    from boxwright.evaluation import evaluate as run_evaluation

    console = make_console()
    with progress(console, "evaluate") as advance:
        evaluation = run_evaluation(source, data, split, threshold=threshold, device=device, progress=advance)
    if json_file:
        _write_json(json_file, evaluation.to_document())
    _print_figures(console, evaluation)


@app.command()
def archive(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")],
    name: Annotated[str | None, typer.Option(help="Model name in the URL; the run's by default.")] = None,
    version: Annotated[str, typer.Option(help="Model version.")] = "1.0",
    store: Annotated[Path, typer.Option(help="Folder for the archive.")] = Path("model-store"),
) -> None:
    """Pack a run into a .mar for 'boxwright serve' and for TorchServe."""
    from boxwright import api

    typer.echo(f"Archive: {api.archive(run, name=name, version=version, store=store)}")


@app.command()
def predict(
    source: Source,
    pictures: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Pictures, or folders of them.")],
    threshold: ThresholdOption = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the pictures with their boxes drawn.")] = None,
    device: DeviceOption = "cpu",
    json_file: JsonOption = None,
) -> None:
    """Detect on pictures."""
    from boxwright.runtime import Predictor

    from .prediction import predict_files

    _require_file_name("--json", json_file)
    predictor = Predictor(source, threshold=threshold, device=device)
    results, failed = predict_files(predictor, pictures, out, typer.echo)
    if json_file:
        _write_json(json_file, results)
    for error in failed:
        typer.echo(f"Error: {error}", err=True)
    if failed:
        raise typer.Exit(2)


@app.command()
def serve(
    archives: Annotated[list[Path], typer.Argument(metavar="MAR...", help="Archives to serve.")],
    host: Annotated[str, typer.Option(help="Address to bind.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8080,
    device: DeviceOption = "cpu",
) -> None:
    """Serve archives at TorchServe's URLs until Ctrl-C."""
    from boxwright.serving.server import serve as run_server

    run_server(archives, host, port, device, on_ready=_announce)


def _announce(engine: Engine, base: str) -> None:
    for name, model in engine.models.items():
        spec = model.predictor.spec
        typer.echo(f"{name} {model.version}: {base}/predictions/{name}")
        typer.echo(f"  {', '.join(spec.class_names)}; scores from {model.predictor.threshold:.3f}")
    typer.echo(f"Try: curl -T picture.jpg {base}/predictions/{next(iter(engine.models))}")


@app.command()
def models() -> None:
    """List the architectures."""
    from rich.table import Table

    from boxwright.models import CATALOGUE

    table = Table("name", "canvas", "weights", "for", box=None)
    for column in table.columns[:3]:
        column.no_wrap = True
    for name, row in CATALOGUE.items():
        offered = {"imagenet": row.backbone_weights, "coco": row.coco_weights}
        weights = ", ".join(["none", *(key for key, member in offered.items() if member)])
        table.add_row(name, f"{row.image_size[0]} x {row.image_size[1]}", weights, row.summary)
    make_console().print(table)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything the demo makes.")] = Path("boxwright-demo"),
) -> None:
    """Draw a small data set, train on it, measure, pack, serve and ask: the whole path in two minutes."""
    from boxwright import api

    api.require_train_extra()
    from .demo import run_demo

    run_demo(out, typer.echo)


def _print_figures(console: Console, evaluation: Evaluation) -> None:
    from rich.table import Table

    document = evaluation.to_document()
    console.print(
        f"{evaluation.split}: {document['images']} pictures in {document['seconds']:.1f} s; "
        f"mAP {_figure(document['map'])}, mAP50 {_figure(document['map_50'])}, F2 {_figure(document['f2'])} "
        f"at score {document['threshold']:.3f} "
        f"(best possible {_figure(document['best_f2'])} at {document['best_threshold']:.3f})"
    )
    table = Table("class", "boxes", "mAP", "F2", box=None)
    for name, row in document["per_class"].items():
        table.add_row(name, str(row["boxes"]), _figure(row["map"]), _figure(row["f2"]))
    console.print(table)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _require_file_name(option: str, path: Path | None) -> None:
    """Before minutes are spent on what is then written nowhere."""
    from boxwright.runtime import ConfigError

    if path is not None and path.is_dir():
        raise ConfigError(f"{option} {path} is a folder.", "Give the name of a file.")


def _write_json(path: Path, document: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(document, indent=2, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")  # file names may be no Unicode
