"""Weights & Biases through Lightning's logger: online, offline or off; it never asks for a key."""

from __future__ import annotations

import netrc
import os
import secrets
import shlex
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import numpy as np
from lightning.pytorch.loggers import WandbLogger
from numpy.typing import NDArray
from PIL import Image

from boxwright.host.files import write_text
from boxwright.runtime import ModelSpec

from .loggers import Tracker
from .media import CLASS_COLUMNS, BestModel, Gallery, TrackedPicture

__all__ = ["WandbTracker", "resolve_wandb_mode", "wandb_sync_command"]

RUN_ID_FILE = "wandb_run_id"
_STEP = "trainer/global_step"  # Lightning's name for it
_SUMMARIES = {"val/map": "max", "val/map_50": "max", "val/f2": "max", "train/loss": "min"}
_LONGEST_START = 30.0  # s; wandb's own 90 hold training up where there is no network
_DEFAULT_HOST = "https://api.wandb.ai"
_LEAST_SCORE = 0.05  # of a detection that is shown; the page has a slider for the score
_MOST_BOXES = 100  # detections per picture, the best: COCO's AP uses no more
_MOST_ROWS = 10_000  # that W&B draws of one chart
_MOST_POINTS = 101  # per curve

_Mode = Literal["online", "offline"]


def resolve_wandb_mode(wanted: str) -> Literal["online", "offline", "off"]:
    """The mode to use; ``online`` only if an API key is configured, as wandb would ask for one otherwise.

    For ``auto``, wandb's own WANDB_MODE decides first.

    Args:
        wanted: ``auto``, ``online``, ``offline`` or ``off``.
    """
    if wanted == "auto":
        mode = os.environ.get("WANDB_MODE", "")
        wanted = {"disabled": "off"}.get(mode, mode) or ("online" if _has_api_key() else "offline")
    if wanted == "off":
        return "off"
    return "online" if wanted == "online" and _has_api_key() else "offline"


def _has_api_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", _DEFAULT_HOST)).hostname or ""
    try:
        return netrc.netrc().authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def _start_run(folder: Path, name: str, project: str, mode: _Mode, settings: Mapping[str, Any]) -> Any:
    """A ``wandb.Run``; its id is kept in the run folder, so that resuming continues the same run."""
    import wandb

    kept = folder / RUN_ID_FILE
    run_id = kept.read_text(encoding="utf-8").strip() if kept.is_file() else secrets.token_hex(4)
    write_text(kept, run_id + "\n")
    with _interrupts_wait():
        run = wandb.init(
            name=name,
            project=project,
            id=run_id,
            dir=folder,
            mode=mode,
            resume="allow",
            config=dict(settings),
            settings=wandb.Settings(silent=True, init_timeout=_LONGEST_START, reinit="create_new"),
        )
    run.define_metric(_STEP)  # as Lightning does for runs it makes itself
    run.define_metric("*", step_metric=_STEP, step_sync=True)
    for key, summary in _SUMMARIES.items():
        run.define_metric(key, step_metric=_STEP, step_sync=True, summary=summary)
    return run


@contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Delay a Ctrl-C: wandb.init can lose one while it starts its service, and then never ends."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt


class WandbTracker(Tracker):
    """A W&B run.

    Args:
        folder: of the run; wandb's files go into ``folder/wandb``.
        name: shown in W&B.
        project: W&B project.
        mode: ``online`` or ``offline``.
        settings: logged as the run's configuration.
        say: prints the size of a model before it is uploaded.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        project: str,
        mode: _Mode,
        settings: Mapping[str, Any],
        say: Callable[[str], object],
    ) -> None:
        import wandb

        self._alone = wandb.run is None  # else the caller has a run of its own, which goes on
        self._run = _start_run(folder, name, project, mode, settings)
        self.logger = WandbLogger(experiment=self._run, save_dir=folder)
        self._offline = mode == "offline"
        self._say = say

    def show_pictures(self, gallery: Gallery) -> None:
        """As ``val/pictures``, with boxes."""
        self._run.log({"val/pictures": _pictures_with_boxes(gallery), "epoch": gallery.epoch, _STEP: gallery.step})

    def show_best(self, best: BestModel, step: int) -> None:
        """The table of classes, the curves, and the model if it should be kept."""
        import wandb

        table = wandb.Table(columns=list(CLASS_COLUMNS), data=[list(row) for row in best.classes])
        self._run.log({"best/classes": table, "best/precision_recall": _curve_chart(best), _STEP: step})
        if best.weights:
            names = " and ".join(path.name for path in best.weights)
            megabytes = sum(path.stat().st_size for path in best.weights) / 1e6
            self._say(f"W&B gets {names}, {megabytes:.1f} MB.")
            self._run.log_artifact(_model_artifact(best, self._offline), aliases=["best"])

    def finish(self, status: str) -> None:
        """End the run, and wait until everything is uploaded or, offline, written."""
        self._run.finish(exit_code=0 if status == "success" else 1)
        if self._alone:  # offline, finish returns before the file is written
            _end_service()

    def abandon(self) -> None:
        """End the run as failed, and wandb's service too, which would print errors when the program ends."""
        with suppress(Exception):
            self._run.finish(exit_code=1)
        if self._alone:
            with suppress(Exception):
                _end_service()


def _end_service() -> None:
    """End the process that writes wandb's files, once it has written them."""
    import wandb

    try:
        wandb.teardown()
    except SystemExit as error:  # raised when the process failed
        raise RuntimeError("wandb's service failed") from error


def wandb_sync_command(folder: Path) -> str | None:
    """The command that uploads an offline run later; None if the run has no such files."""
    runs = sorted((folder / "wandb").glob("offline-run-*"))
    return f"wandb sync {shlex.join(map(str, runs))}" if runs else None


def _pictures_with_boxes(gallery: Gallery) -> list[Any]:
    """One ``wandb.Image`` per picture, with two groups of boxes that can be shown, hidden and filtered.

    All get the size of the largest, as W&B places the boxes of a list by the first one's size.
    """
    pictures = gallery.pictures
    size = (max(one.image.width for one in pictures), max(one.image.height for one in pictures))
    return [_with_boxes(one, size, gallery.class_names) for one in pictures]


def _with_boxes(picture: TrackedPicture, size: tuple[int, int], class_names: Sequence[str]) -> Any:
    import wandb

    canvas = Image.new("RGB", size)
    canvas.paste(picture.image)
    labels = dict(enumerate(class_names))
    groups = {"ground_truth": _annotated(picture, class_names), "predictions": _detected(picture, class_names)}
    boxes = {group: {"box_data": content, "class_labels": labels} for group, content in groups.items()}
    return wandb.Image(canvas, caption=picture.name, boxes=boxes, file_type="jpg")


def _annotated(picture: TrackedPicture, class_names: Sequence[str]) -> list[dict[str, Any]]:
    return [
        _box(box, int(label), class_names[int(label)]) for box, label in zip(picture.boxes, picture.labels, strict=True)
    ]


def _detected(picture: TrackedPicture, class_names: Sequence[str]) -> list[dict[str, Any]]:
    shown = picture.detections.filter_by_score(_LEAST_SCORE)
    shown = shown.select(np.arange(min(len(shown), _MOST_BOXES)))
    return [
        {**_box(box, int(label), f"{class_names[int(label)]} {score:.2f}"), "scores": {"score": float(score)}}
        for box, score, label in zip(shown.boxes, shown.scores, shown.labels, strict=True)
    ]


def _box(box: NDArray[Any], label: int, caption: str) -> dict[str, Any]:
    edges = dict(zip(("minX", "minY", "maxX", "maxY"), map(float, box), strict=True))
    return {"position": edges, "domain": "pixel", "class_id": label, "box_caption": caption}


def _curve_chart(best: BestModel) -> Any:
    """Precision against recall, one line per class, as a chart that W&B draws from its table."""
    import wandb

    most = max(2, min(_MOST_POINTS, _MOST_ROWS // max(1, len(best.curves))))
    rows = [
        [curve.name, float(recall), float(precision), float(threshold)]
        for curve in (one.thinned(most) for one in best.curves)
        for recall, precision, threshold in zip(curve.recall, curve.precision, curve.thresholds, strict=True)
    ]
    table = wandb.Table(columns=["class", "recall", "precision", "threshold"], data=rows)
    return wandb.plot.line(table, "recall", "precision", stroke="class", title="Precision and recall at IoU .5")


def _model_artifact(best: BestModel, offline: bool) -> Any:
    """A ``wandb.Artifact`` of the model's files; offline, with a copy, as they may change before they are uploaded."""
    import wandb

    artifact = wandb.Artifact(best.spec.name, type="model", metadata=_metadata(best.spec))
    for path in best.weights:
        artifact.add_file(str(path), policy="mutable" if offline else "immutable")
    return artifact


def _metadata(spec: ModelSpec) -> dict[str, Any]:
    return {
        "architecture": spec.architecture,
        "contract": spec.contract,
        "classes": list(spec.class_names),
        "operating_point": asdict(spec.operating_point),
        "data_fingerprint": spec.provenance.get("data_fingerprint"),
        "measured": spec.measured,
    }
