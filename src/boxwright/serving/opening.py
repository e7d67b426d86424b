"""Opens an archive as often as it is to run at the same time, in the best way that is known."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boxwright.machine import cores, describe_machine
from boxwright.runtime import Bundle, Predictor
from boxwright.runtime.backends import usable_variants

from .bench_store import best_run, read_entry, setting_of
from .setting import in_words

__all__ = ["Asked", "Opened", "open_predictors"]


@dataclass(frozen=True)
class Asked:
    """How a model is to be run, as far as somebody said so.

    Attributes:
        backend: one of ``BACKENDS``, or ``auto``.
        precision: one of ``PRECISIONS``, or ``auto``.
        threads: processors one picture may use.
        sessions: pictures that run at the same time.
    """

    backend: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    sessions: int | None = None

    @property
    def named(self) -> dict[str, Any]:
        """What was said, by the names that a measured run has."""
        given = {"backend": self.backend, "precision": self.precision}
        counts = {"threads": self.threads, "sessions": self.sessions}
        return {
            **{name: text for name, text in given.items() if text != "auto"},
            **{name: count for name, count in counts.items() if count is not None},
        }


@dataclass(frozen=True)
class Opened:
    """A model, ready to run.

    Attributes:
        predictors: one a session, each with a network of its own.
        setting: what they run, with how many threads and sessions, in words.
        reason: why it is that.
        notes: a sentence for each stored measurement that could not be used.
    """

    predictors: tuple[Predictor, ...]
    setting: str
    reason: str
    notes: tuple[str, ...] = ()


def open_predictors(archive: Path, bundle: Bundle, device: str = "cpu", asked: Asked = Asked()) -> Opened:
    """Open a model as asked for; what was left open, as ``boxwright bench`` found best here, or by a warm-up.

    Args:
        archive: path of the archive; its measurements lie beside it.
        bundle: the archive opened.
        device: a torch device.
        asked: what is settled.

    Raises:
        ConfigError: see ``open_backend``.
        MissingDependency: likewise.
        ArchiveError: likewise.
    """
    stored = read_entry(archive, bundle, describe_machine(device))
    fitting = [run for run in stored.runs if asked.named.items() <= run.items()]
    best = best_run(fitting, usable_variants(bundle, device))
    if best is None or len(asked.named) == 4:
        return _open_asked(bundle, device, asked, stored.notes)
    setting = setting_of(best)
    variant = setting.variant
    predictors = tuple(
        Predictor(bundle, backend=variant.backend, precision=variant.precision, device=device, threads=setting.threads)
        for _ in range(setting.sessions)
    )
    return Opened(predictors, str(setting), _stored_reason(best, asked), stored.notes)


def _stored_reason(run: Mapping[str, Any], asked: Asked) -> str:
    of = ", the best of what was asked for" if asked.named else ""
    return f"stored by boxwright bench{of}, {run['images_per_s']:.1f} pictures/s."


def _open_asked(bundle: Bundle, device: str, asked: Asked, notes: tuple[str, ...]) -> Opened:
    sessions = asked.sessions or 1
    threads = asked.threads or _fair_share(sessions)
    first = Predictor(bundle, backend=asked.backend, precision=asked.precision, device=device, threads=threads)
    variant = first.chosen.variant
    others = [
        Predictor(bundle, backend=variant.backend, precision=variant.precision, device=device, threads=threads)
        for _ in range(sessions - 1)
    ]
    reason = first.chosen.reason.removeprefix(f"{variant}: ")
    return Opened((first, *others), in_words(variant, threads, sessions), reason, notes)


def _fair_share(sessions: int) -> int | None:
    """Threads a session; None, the runtime's own choice, where one session may use the whole machine.

    Runtimes know nothing of a container's quota and would start a thread for each of the host's processors.
    """
    allowed = cores()
    if sessions == 1 and allowed == os.cpu_count():
        return None
    return max(1, allowed // sessions)
