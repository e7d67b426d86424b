"""``boxwright demo``: the whole path on a data set it draws itself."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import boxwright

if TYPE_CHECKING:
    from boxwright import Detections, ModelSpec

__all__ = ["demo", "run_demo"]

_SETTINGS: dict[str, Any] = {
    "model": "fasterrcnn_tiny_fpn",
    "weights": "none",
    "epochs": 12,
    "augmentation": "standard",
    "batch_size": 8,
    "name": "demo",
    "wandb": "off",
}

_MARKER = ".boxwright-demo"
"""The file that tells a folder of the demo's from a person's, whose data lies in train/ and runs/, too."""
_MADE = {"data", "runs", "model-store", "answer.png"}
"""What it leaves beside."""

_NEXT_STEPS = """
Now your own folder, exported from Roboflow as COCO:

    boxwright train --data MY-FOLDER --name my-run
    boxwright evaluate runs/my-run --data MY-FOLDER --split test
    boxwright archive runs/my-run
    boxwright predict model-store/my-run.mar PICTURE.jpg --out drawn
    boxwright serve model-store/my-run.mar"""


def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything the demo makes.")] = Path("boxwright-demo"),
) -> None:
    """Draw a small data set, train on it, measure, pack, serve and ask: the whole path in a few minutes."""
    from boxwright.host.dependencies import require_train_extra

    require_train_extra()
    _require_own(out)
    run_demo(out, typer.echo)


def _require_own(out: Path) -> None:
    """Raise unless a folder is new, empty or one that the demo made and nobody added to.

    Raises:
        ConfigError: it is something else.
    """
    from boxwright.data.file_names import is_hidden

    names = [one.name for one in out.iterdir()] if out.is_dir() else []
    made = _MADE if _MARKER in names else set()
    others = sorted(name for name in names if name not in made and not is_hidden(name))
    if others or out.is_file():
        what = f"holds {others[0]!r}, which is not the demo's" if others else "is a file"
        raise boxwright.ConfigError(f"{out}: {what}.", "Choose another --out.")


def run_demo(out: Path, say: Callable[[str], object], sizes: dict[str, int] | None = None, **settings: Any) -> None:
    """Draw, train, measure, pack, serve, ask; everything is in ``out`` afterwards.

    Args:
        out: folder; what an earlier demo left in it is replaced.
        say: called with each line for a person.
        sizes: pictures by split; see ``draw_demo_data``.
        **settings: of training, in place of the demo's own.
    """
    from boxwright.data import draw_demo_data
    from boxwright.reporting.words import measured_at
    from boxwright.runtime import decode
    from boxwright.runtime.drawing import draw_detections

    out.mkdir(parents=True, exist_ok=True)
    (out / _MARKER).touch()
    say(f"1/6 Drawing a data set: {out / 'data'}")
    data = draw_demo_data(out / "data", sizes=sizes)
    say("2/6 Training")
    shutil.rmtree(out / "runs" / "demo", ignore_errors=True)
    run = boxwright.train(data=data, out=out / "runs", **{**_SETTINGS, **settings})
    if run.interrupted or run.spec is None:
        raise boxwright.ServingError("The demo was interrupted.", "Start it again.")
    say("3/6 Measuring on the test split, which training has not seen")
    figures = boxwright.evaluate(run.folder, data, "test").figures
    names = run.spec.class_names
    used = measured_at(run.spec.operating_point, names)
    say(f"    mAP {figures.map:.4f}, mAP50 {figures.map_50:.4f}, F2 {figures.f2:.4f} {used}")
    say("4/6 Packing")
    mar = boxwright.archive(run.folder, store=out / "model-store")
    say(f"    {mar}")
    say("5/6 Serving it and asking")
    picture = _picture_with_objects(data, run.spec)
    detections = _ask(mar, picture, names, say)
    say(f"6/6 Drawing the answer: {out / 'answer.png'}")
    draw_detections(decode(picture), detections, names).save(out / "answer.png")
    say(_NEXT_STEPS)


def _picture_with_objects(data: Path, spec: ModelSpec) -> Path:
    """The picture of the test split with the most objects."""
    from boxwright.data import read_split

    return max(read_split(data, "test", spec.classes).pictures, key=lambda record: len(record.labels)).path


def _ask(mar: Path, picture: Path, names: tuple[str, ...], say: Callable[[str], object]) -> Detections:
    """Serve an archive, post a picture, and print the answer."""
    from boxwright.parity.clients import Refusal, open_client
    from boxwright.serving.engine import load_models
    from boxwright.serving.server import background_server

    with background_server(load_models([mar])) as base:
        url = f"{base}/predictions/{mar.stem}"
        say(f"    curl -T {shlex.quote(str(picture))} {url}")
        with open_client(url, mar.stem, names) as client:
            answer = client.ask(picture.read_bytes())
    if isinstance(answer, Refusal):
        raise boxwright.ServingError(f"{url} answered {answer.status}: {answer.message}", "Start it again.")
    say(json.dumps(answer.detections.to_answer(names), indent=2))
    return answer.detections
