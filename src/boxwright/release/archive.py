"""A run becomes an archive: exported, proved and, on request, served and checked first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from boxwright.archiving import archive as write_archive
from boxwright.host.dependencies import require_train_extra

__all__ = ["archive"]


def archive(
    run: str | Path,
    *,
    name: str | None = None,
    version: str = "1.0",
    store: str | Path = "model-store",
    precisions: Sequence[str] = ("fp32",),
    data: str | Path | None = None,
    tolerance: float | None = None,
    gate: bool = False,
    say: Callable[[str], object] | None = None,
    progress: Callable[[str, int, int], object] | None = None,
) -> Path:
    """Pack a run into ``STORE/NAME.mar``, its exports proved; see ``boxwright.archiving.archive``.

    With ``gate`` the archive is served on loopback first. It is released only if it answers the validation
    pictures of ``data`` as the model did in training; see ``boxwright.release.gate.release``.
    """
    if precisions:
        require_train_extra()
    write = partial(
        write_archive, run, name=name, version=version, precisions=precisions, data=data, tolerance=tolerance,
        progress=progress,
    )  # fmt: skip
    if not gate:
        return write(store=store)
    from .gate import release

    folder = None if data is None else Path(data)
    advance = None if progress is None else partial(progress, "gate")
    released, report = release(lambda place: write(store=place), Path(run), Path(store), folder, advance)
    if say:
        for line in report.lines:
            say(line)
    return released
