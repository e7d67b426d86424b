"""Weights & Biases through Lightning's logger: online, offline or off, never a prompt."""

from __future__ import annotations

import netrc
import os
import secrets
import signal
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from lightning.pytorch.loggers import Logger, WandbLogger

__all__ = ["finish_wandb", "resolve_wandb_mode", "wandb_logger", "wandb_sync_command"]

RUN_ID_FILE = "wandb_run_id"
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
            settings=wandb.Settings(silent=True),
        )
    run.define_metric("trainer/global_step")  # as Lightning does for runs it makes itself
    run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
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


def finish_wandb(loggers: Iterable[Logger]) -> None:
    """End the W&B runs among these loggers, so that their files are whole when training returns."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.experiment.finish()


def wandb_sync_command(folder: Path) -> str | None:
    """The command that uploads an offline run later; None if there is none."""
    runs = sorted((folder / "wandb").glob("offline-run-*"))
    return f"wandb sync {' '.join(map(str, runs))}" if runs else None
