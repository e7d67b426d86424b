"""``boxwright predict``: files in, text, JSON and drawn pictures out."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import boxwright
from boxwright.host.console import make_console, progress
from boxwright.host.files import require_writable
from boxwright.host.places import in_command

from .options import (
    BackendOption,
    DeviceOption,
    JsonOption,
    PrecisionOption,
    Source,
    ThresholdOption,
    next_line,
    require_file_names,
    require_not_read,
    write_json,
)

if TYPE_CHECKING:
    from rich.console import Console

    from boxwright import Execution, PictureError, Prediction, Predictor
    from boxwright.inputs.video import VideoInfo
    from boxwright.runtime import ClassEntry

__all__ = ["predict"]

_LONGEST_NAME = 200  # bytes; file systems allow 255


def predict(
    source: Source,
    pictures: Annotated[
        list[str], typer.Argument(metavar="PATH...", help="Pictures, folders of them, videos; URLs with --urls.")
    ],
    threshold: ThresholdOption = None,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="<path>",
            help="Folder for the drawn pictures and videos; with --on NAME.parquet or NAME.jsonl, for rows.",
        ),
    ] = None,
    on: Annotated[
        str | None,
        typer.Option("--on", metavar="CLUSTER", help="On Ray: ray, HOST:PORT or ray://HOST:PORT. Rows go to --out."),
    ] = None,
    devices: Annotated[
        int | None, typer.Option(min=1, help="With --on, so many pictures at once; as the cluster has processors.")
    ] = None,
    urls: Annotated[bool, typer.Option("--urls", help="Fetch pictures given as http:// or https://.")] = False,
    every: Annotated[int, typer.Option(min=1, metavar="N", help="Of a video, take each Nth frame.")] = 1,
    backend: BackendOption = "auto",
    precision: PrecisionOption = "auto",
    device: DeviceOption = "cpu",
    json_file: JsonOption = None,
) -> None:
    """Detect on pictures and videos."""
    from boxwright.inputs.stores import local_place

    require_file_names(json=json_file)
    _require_model_first(source)
    model = local_place(source)
    if on is not None:
        asked = boxwright.Execution(backend, precision, device)
        _predict_on(on, model, pictures, out, json_file, every, urls, asked, threshold, devices)
        return
    _require_here(out, devices)
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # before OpenCV is loaded: errors are reported by us
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    for note in _not_read(pictures):
        typer.echo(f"Note: {note}", err=True)
    _require_one(pictures)
    if out is not None:
        require_writable(Path(out))
    tasks = _plan(pictures, None if out is None else Path(out), urls, every)
    for note in _of_no_use(tasks, urls, every):
        typer.echo(f"Note: {note}", err=True)
    if json_file is not None:
        require_not_read([source, *pictures, *(task.source for task in tasks)], json=json_file)
        _require_own_names([task.source for task in tasks])
    asked = boxwright.Execution(backend, precision, device)
    predictor = _predictor(model, threshold, asked, sum(task.pictures for task in tasks))
    typer.echo(f"Backend {predictor.execution.variant}", err=True)
    if predictor.spec.finds_hardly_anything:
        typer.echo("Note: on its validation split this model finds hardly anything; train it longer.", err=True)
    console = make_console()
    results: list[dict[str, Any]] = []
    failed: list[PictureError] = []
    names, lowest = predictor.spec.class_names, min(predictor.thresholds)
    with progress(console, "predict") as advance:
        for prediction in _predictions(predictor, tasks, failed, advance):
            _show(console, _text(prediction, names, lowest), needed=not (json_file or out))
            results += _results(prediction, predictor.spec.classes) if json_file else []
    if json_file:
        write_json(json_file, results)
    if out is not None and len(failed) < len(tasks):
        for note in _written_otherwise(names):
            typer.echo(f"Note: {note}", err=True)
        typer.echo(f"Drawn: {out}", err=True)
    if json_file:
        typer.echo(f"JSON: {json_file}", err=True)
    if (out is not None or json_file) and not failed and (line := next_line(source, predictor.spec)):
        typer.echo(line, err=True)
    for error in failed:
        typer.echo(f"Error: {error}", err=True)
    if failed:
        raise typer.Exit(2)


def _written_otherwise(names: Sequence[str]) -> Iterator[str]:
    """A sentence for each class name that is drawn in other letters."""
    from boxwright.runtime.lettering import lettering

    for name, written in zip(names, lettering(names, 12)[1], strict=True):
        if written != name:
            yield f"no font here has the letters of {name!r}, drawn as {written!r}. Noto's fonts have those of all."


def _require_model_first(source: str) -> None:
    """Raise for a picture or data in the place of the model.

    Raises:
        ConfigError: it is one of them.
    """
    from boxwright.inputs.download import is_url
    from boxwright.runtime.picture import SUFFIXES

    if Path(source).suffix.lower() in SUFFIXES and (is_url(source) or Path(source).is_file()):
        remedy = f"Type: boxwright predict RUN_OR_MAR {in_command(source)}"
        raise boxwright.ConfigError(f"{source}: is a picture; the model comes first.", remedy)
    if Path(source).suffix.lower() == ".zip" and Path(source).is_file():
        remedy = "Give a run folder or a .mar first, then pictures or folders of them; unpack the ZIP for that."
        raise boxwright.ConfigError(f"{source}: is a ZIP; the model comes first.", remedy)


def _require_here(out: str | None, devices: int | None) -> None:
    """Raise for what only a cluster is asked for, and for a place of drawn pictures that is the name of one.

    Raises:
        ConfigError: it was asked for.
    """
    from boxwright.runtime.picture import SUFFIXES

    if devices is not None:
        raise boxwright.ConfigError("--devices is for a cluster.", "Add --on ray, or leave it out.")
    if out is not None and out.endswith((".parquet", ".jsonl")):
        remedy = "Add --on ray; or write --json FILE, with --out FOLDER for drawn pictures."
        raise boxwright.ConfigError(f"--out {out}: rows are written with --on.", remedy)
    if out is not None and Path(out).suffix.lower() in (*SUFFIXES, ".mp4") and not Path(out).is_dir():
        remedy = "Give the name of a folder; each picture is drawn in it under its own name."
        raise boxwright.ConfigError(f"--out {out}: is the folder of the drawn pictures.", remedy)


def _require_one(sources: Sequence[str]) -> None:
    """Raise if nothing that was named exists, before a model is loaded.

    Raises:
        PictureError: nothing does.
    """
    from boxwright.inputs.download import is_url

    if not any(is_url(source) or os.path.exists(source) for source in sources):  # noqa: PTH110  # Path("") is .
        problem = f"Picture {sources[0]!r} cannot be read: No such file or directory."
        raise boxwright.PictureError(problem, "Check the path.")


def _predict_on(
    on: str,
    source: Path,
    pictures: Sequence[str],
    out: str | None,
    json_file: Path | None,
    every: int,
    urls: bool,
    execution: Execution,
    threshold: float | None,
    devices: int | None,
) -> None:
    from boxwright.scale.prediction import predict_on

    if out is None:
        raise boxwright.ConfigError("--on needs a place for the rows.", "Give --out NAME.parquet or --out NAME.jsonl.")
    if json_file is not None or every != 1:
        given = "--json" if json_file is not None else "--every"
        raise boxwright.ConfigError(f"{given} cannot be used with --on.", "Leave it out.")
    try:
        with progress(make_console(), "predict") as advance:
            done = predict_on(
                source, pictures, out, on=on, execution=execution, threshold=threshold, actors=devices, urls=urls,
                advance=advance, tell=partial(typer.echo, err=True),
            )  # fmt: skip
    except KeyboardInterrupt:
        typer.echo(f"Ended early: what was answered is in {out}; the same command goes on from there.", err=True)
        raise
    before = f", {done.before} of them by an earlier start" if done.before else ""
    typer.echo(f"{done.pictures} pictures{before}: {done.out}")
    if done.failed:
        typer.echo(f"{done.failed} of them could not be used; the 'error' of their rows says why.")


def _show(console: Console, text: str, needed: bool) -> None:
    """Print; if nobody reads it any more, as behind ``| head``, go on unless it is all that there is to do."""
    try:
        console.out(text)
    except SystemExit:  # how rich ends a program whose reader has gone; from then on it prints nothing
        if needed:
            raise


def _predictor(source: Path, threshold: float | None, asked: Execution, pictures: int) -> Predictor:
    """Run an archive in the way that was found best here for one picture at a time; nothing is timed for it."""
    from boxwright.runtime import open_bundle
    from boxwright.tuning import stored_execution

    bundle = open_bundle(source)
    alone = replace(asked, sessions=1)
    stored = stored_execution(source, bundle, alone, pictures) if source.is_file() else None
    used = stored or asked
    return boxwright.Predictor(
        bundle, threshold=threshold, backend=used.backend, precision=used.precision, device=used.device,
        threads=used.threads,
    )  # fmt: skip


def _not_read(sources: Sequence[str]) -> Iterator[str]:
    """What folders hold besides: pictures in formats that are not read, by folder."""
    from boxwright.inputs.download import is_url

    folders = [source for source in sources if not is_url(source) and Path(source).is_dir()]
    for folder in (one for one in folders if os.access(one, os.R_OK)):
        from boxwright.data.file_names import is_hidden, is_other_picture_name
        from boxwright.inputs.sources import picture_names

        found = {path.name for path in Path(folder).iterdir()} - set(picture_names(Path(folder)))
        names = sorted(name for name in found if is_other_picture_name(name) and not is_hidden(name))
        if names:
            counts = Counter(Path(name).suffix.lower() for name in names)
            kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(counts.items()))
            yield (
                f"{folder}: pictures that are not JPEG, PNG, WebP or BMP were left out: {kinds}; "
                f"the first is {names[0]!r}. Save them as JPEG."
            )


@dataclass(frozen=True)
class _Task:
    """One source.

    Attributes:
        source: path or URL.
        target: file for its drawing, or None.
        video: what a video says of itself; None for pictures.
        every: takes every n-th frame of a video.
    """

    source: str
    target: Path | None
    video: VideoInfo | None
    every: int

    @property
    def pictures(self) -> int:
        """How many there are in it, as far as that is known."""
        frames = self.video.frames if self.video else None
        return 1 if frames is None else -(-frames // self.every)


def _plan(sources: Sequence[str], out: Path | None, urls: bool, every: int) -> list[_Task]:
    """What there is to do; made before a model is loaded.

    Args:
        sources: paths of pictures, folders and videos; URLs.
        out: folder for drawn copies, or None.
        urls: whether URLs are allowed.
        every: see ``_Task``.

    Raises:
        ConfigError: a URL that is not allowed, or a drawing that would overwrite a source or another drawing.
        PictureError: a folder without pictures.
        MissingDependency: a video without OpenCV.
    """
    from boxwright.inputs.sources import each_source, require_allowed

    everything = [str(source) for source in each_source(sources)]
    for source in everything:
        require_allowed(source, urls)
    targets = _targets(everything, out)
    return [_Task(one, target, _describe(one), every) for one, target in zip(everything, targets, strict=True)]


def _of_no_use(tasks: Sequence[_Task], urls: bool, every: int) -> Iterator[str]:
    """What was asked for and decides nothing here."""
    from boxwright.inputs.download import is_url

    if every != 1 and not any(task.video for task in tasks):
        yield "--every is of videos, and there are none."
    if urls and not any(is_url(task.source) for task in tasks):
        yield "--urls is of URLs, and there are none."


def _require_own_names(sources: Sequence[str]) -> None:
    """Raise if the JSON would not tell two sources apart, which has names without folders.

    Raises:
        ConfigError: two have one name, or one is given twice.
    """
    known: dict[str, str] = {}
    for source in sources:
        other = known.setdefault(_name_in_json(source), source)
        if other is source:
            continue
        if other == source:
            raise boxwright.ConfigError(f"{source} is given twice.", "Leave one out: --json would list it twice.")
        problem = f"{other} and {source} have one name, by which --json lists them."
        raise boxwright.ConfigError(problem, "Rename one, or write a file for each folder.")


def _name_in_json(source: str) -> str:
    from boxwright.inputs.download import is_url

    return source if is_url(source) else Path(source).name


def _targets(sources: Sequence[str], out: Path | None) -> list[Path | None]:
    """Where each source's drawing goes."""
    from boxwright.inputs.download import is_url

    if out is None:
        return [None] * len(sources)
    taken = {Path(source).resolve() for source in sources if not is_url(source)}
    theirs = out.resolve() in {source.parent for source in taken}  # whose other files are no drawings of ours
    targets: list[Path | None] = []
    for source in sources:
        target = out / _drawing_name(source)
        if target.resolve() in taken or (theirs and target.exists()):
            remedy = "Rename it, or choose another --out."
            raise boxwright.ConfigError(f"{source}: its drawing would overwrite {target}.", remedy)
        taken.add(target.resolve())
        targets.append(target)
    return targets


def _drawing_name(source: str) -> str:
    from boxwright.inputs.download import is_url
    from boxwright.inputs.video import is_video

    path = re.split("[?#]", source)[0].partition("://")[2].partition("/")[2] if is_url(source) else source
    stem = Path(path).stem or "picture"
    stem = stem.encode("utf-8", "ignore")[:_LONGEST_NAME].decode("utf-8", "ignore") if is_url(source) else stem
    return f"{stem}.mp4" if is_video(source) else f"{stem}.png"


def _describe(source: str) -> VideoInfo | None:
    from boxwright.inputs.video import VideoInfo, describe_video, is_video

    if not is_video(source):
        return None
    try:
        return describe_video(source)
    except boxwright.PictureError:  # reported when it is read
        return VideoInfo(None, 1.0)


def _predictions(
    predictor: Predictor,
    tasks: Sequence[_Task],
    failed: list[PictureError],
    advance: Callable[[int, int], object],
) -> Iterator[Prediction]:
    """Predictions on all sources, which are then drawn; a source that cannot be used does not stop the others.

    Args:
        predictor: the model.
        tasks: see ``_plan``; the folders of their drawings are made.
        failed: gets an error for each source that could not be used.
        advance: called with (pictures done, pictures in all).
    """
    for folder in {task.target.parent for task in tasks if task.target}:
        folder.mkdir(parents=True, exist_ok=True)
    total, done = sum(task.pictures for task in tasks), 0
    advance(done, total)
    for task in tasks:
        try:
            with _drawing(task) as draw:
                for prediction in predictor.stream(task.source, urls=True, every=task.every):  # as planned
                    yield prediction
                    draw(prediction)
                    done += 1
                    advance(done, max(done, total))
        except boxwright.PictureError as error:
            failed.append(error)


@contextmanager
def _drawing(task: _Task) -> Iterator[Callable[[Prediction], object]]:
    from boxwright.inputs.video import VideoWriter

    target = task.target
    if target is None:
        yield lambda prediction: None
    elif task.video is None:
        yield lambda prediction: prediction.draw().save(target)
    else:
        with VideoWriter(target, task.video.rate, task.every) as film:
            yield lambda prediction: film.add(prediction.draw())


def _text(prediction: Prediction, names: Sequence[str], lowest: float) -> str:
    detections = prediction.detections
    boxes = [
        f"  {names[label]} {score:.3f} [{', '.join(f'{edge:.1f}' for edge in box)}]"
        for box, score, label in zip(detections.boxes, detections.scores, detections.labels, strict=True)
    ]
    where = "" if prediction.frame is None else f" frame {prediction.frame} ({prediction.seconds:.3f} s)"
    scores = f" from score {lowest:.3f} on" * (not boxes)  # what is below it is not "nothing"
    return "\n".join([f"{prediction.source}{where}: {len(detections)} found{scores}", *boxes])


def _results(prediction: Prediction, classes: Sequence[ClassEntry]) -> list[dict[str, Any]]:
    """COCO results with file and class name, boxes [x, y, width, height] in pixels; in videos with frame and time."""
    name, detections = _name_in_json(prediction.source), prediction.detections
    moment = {} if prediction.frame is None else {"frame": prediction.frame, "seconds": prediction.seconds}
    return [
        {
            "file_name": name,
            **moment,
            "category_id": one["category_id"],
            "class": classes[label].name,
            "bbox": one["bbox"],
            "score": one["score"],
        }
        for one, label in zip(detections.to_coco(0, [entry.id for entry in classes]), detections.labels, strict=True)
    ]
