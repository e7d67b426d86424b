"""Weights & Biases through Lightning's logger: online, offline or off, never a prompt."""

from __future__ import annotations

import netrc
import os
import secrets
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from lightning.pytorch.loggers import WandbLogger

from .best import BestModel
from .pictures import Gallery
from .tracker import Tracker
from .wandb_media import class_table, curve_chart, megabytes, model_artifact, pictures_with_boxes

__all__ = ["WandbTracker", "resolve_wandb_mode", "wandb_logger", "wandb_sync_command"]

RUN_ID_FILE = "wandb_run_id"
_STEP = "trainer/global_step"  # Lightning's name for it
_SUMMARIES = {"val/map": "max", "val/map_50": "max", "val/f2": "max", "train/loss": "min"}
_LONGEST_START = 30.0  # s; wandb's own 90 hold training up where there is no network
_DEFAULT_HOST = "https://api.wandb.ai"


def resolve_wandb_mode(wanted: str) -> Literal["online", "offline", "off"]:
    """``online`` only where an API key is configured, as wandb would ask for one otherwise.

    For ``auto``, wandb's own WANDB_MODE decides first.

    Args:
        wanted: ``auto``, ``online``, ``offline`` or ``off``.
    """
    if wanted == "auto":
        said = os.environ.get("WANDB_MODE", "")
        wanted = {"disabled": "off"}.get(said, said) or ("online" if _has_api_key() else "offline")
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


def wandb_logger(
    folder: Path, name: str, project: str, mode: Literal["online", "offline"], settings: Mapping[str, Any]
) -> WandbLogger:
    """A logger whose run id is kept in the run folder, so that resuming continues the same run.

    Args:
        folder: of the run; wandb's files go into ``folder/wandb``.
        name: shown in W&B.
        project: W&B project.
        mode: ``online`` or ``offline``.
        settings: logged as the run's configuration.
    """
    import wandb

    kept = folder / RUN_ID_FILE
    run_id = kept.read_text(encoding="utf-8").strip() if kept.is_file() else secrets.token_hex(4)
    kept.write_text(run_id + "\n", encoding="utf-8")
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
    return WandbLogger(experiment=run, save_dir=folder)


@contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Hold a Ctrl-C back: wandb.init can lose one while it starts its service, and then never ends."""
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
        folder: of the run.
        name: shown in W&B.
        project: W&B project.
        mode: ``online`` or ``offline``.
        settings: logged as the run's configuration.
        say: gets the size of a model before it is uploaded.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        project: str,
        mode: Literal["online", "offline"],
        settings: Mapping[str, Any],
        say: Callable[[str], object],
    ) -> None:
        import wandb

        self._alone = wandb.run is None  # else the caller has a run of its own, which goes on
        self.logger = wandb_logger(folder, name, project, mode, settings)
        self._run: Any = self.logger.experiment
        self._offline = mode == "offline"
        self._say = say

    def show_pictures(self, gallery: Gallery) -> None:
        """As ``val/pictures``, with boxes."""
        pictures = pictures_with_boxes(gallery.pictures, gallery.class_names)
        self._run.log({"val/pictures": pictures, "epoch": gallery.epoch, _STEP: gallery.step})

    def show_best(self, best: BestModel, step: int) -> None:
        """The table by class, the curves, and the model where it is wanted."""
        self._run.log({"best/classes": class_table(best), "best/precision_recall": curve_chart(best), _STEP: step})
        if best.weights:
            names = " and ".join(path.name for path in best.weights)
            self._say(f"W&B gets {names}, {megabytes(best.weights)}.")
            self._run.log_artifact(model_artifact(best.spec, best.weights, self._offline), aliases=["best"])

    def finish(self, status: str) -> None:
        """End the run, and wait until everything is uploaded or, offline, written."""
        self._run.finish(exit_code=0 if status == "success" else 1)
        if self._alone:  # offline, finish returns before the file is written
            _end_service()

    def abandon(self) -> None:
        """End the run as failed, and wandb's service with it, which would complain when the program ends."""
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
    except SystemExit as error:  # its way to say that the process failed
        raise RuntimeError("wandb's service failed") from error


def wandb_sync_command(folder: Path) -> str | None:
    """The command that uploads an offline run later; None if there is none."""
    runs = sorted((folder / "wandb").glob("offline-run-*"))
    return f"wandb sync {' '.join(map(str, runs))}" if runs else None
