"""A run becomes an archive: exported and proved, packed, served and checked, and only then moved into the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from boxwright.archiving.writer import require_url_names, staged_archive
from boxwright.evaluation.operating import with_reported
from boxwright.exporting.exports import Progress, executions_of, make_exports
from boxwright.host.dependencies import require_train_extra
from boxwright.host.processes import start_server
from boxwright.inputs.stores import local_place
from boxwright.parity.gate import SHUT, GateReport, check_server
from boxwright.parity.pictures import Advance
from boxwright.parity.reference import Reference
from boxwright.runtime import Bundle, Execution, ModelSpec, OutOfTolerance, ServingError, open_bundle
from boxwright.serving.model import load_model
from boxwright.serving.server import background_server
from boxwright.serving.settings import Limits

__all__ = ["Release", "ReleaseOptions", "archive", "check_archive", "release"]

_LARGEST = Limits().max_body * 3 // 4 - 1024  # what the server accepts, in base64 as well


@dataclass(frozen=True)
class ReleaseOptions:
    """What an archive is to be; see ``archive``."""

    name: str | None = None
    version: str = "1.0"
    store: str | Path = "model-store"
    precisions: Sequence[str] = ("fp32",)
    data: str | Path | None = None
    tolerance: float | None = None
    gate: bool = False


@dataclass(frozen=True, eq=False)
class Release:
    """An archive in its store.

    Attributes:
        path: of the archive.
        spec: as it holds it, with the proofs.
        report: what the gate saw; None without a gate.
    """

    path: Path
    spec: ModelSpec
    report: GateReport | None


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
    progress: Progress | None = None,
) -> Path:
    """Write ``STORE/NAME.mar`` from a run folder, with exports that were proved on validation pictures.

    Args:
        run: folder of a run with ``spec.json``, ``model_state_dict.pth`` and ``detections.npz``.
        name: of the model, in its URL; the run's by default.
        version: of the model.
        store: folder for the archive, made if missing; an archive of the same name is replaced.
        precisions: to export to and prove, of ``fp32``, ``bf16`` and ``int8``, on every backend installed here; without
            any, only torch can run the archive.
        data: folder with the pictures; where the run's settings say by default.
        tolerance: largest accepted difference of mAP and F2; by precision by default, see ``TOLERANCES``.
        gate: serve the archive on loopback first, and move it into the store only if it answers the validation
            pictures as the model did in training.
        say: called with each line that says what the gate compared.
        progress: called with what is being done, how much is done, how much there is.

    Returns:
        Path of the archive, read back and verified.

    Raises:
        ArchiveError: the run folder holds no finished model, or the archive cannot be written.
        ConfigError: a name or version that cannot stand in a URL, or an unknown precision.
        DataError: the pictures are not there.
        OutOfTolerance: an export gives other figures than the trained model, or the gate stays shut; the store is as
            it was.
    """
    released = release(run, ReleaseOptions(name, version, store, precisions, data, tolerance, gate), progress)
    if say and released.report:
        for line in released.report.lines:
            say(line)
    return released.path


def release(run: str | Path, options: ReleaseOptions, progress: Progress | None = None) -> Release:
    """Do what ``archive`` does, and return more of what is known."""
    run = local_place(run)
    bundle = open_bundle(run)
    name = options.name or bundle.spec.name
    require_url_names(name, options.version)
    members, execution, reference = {}, Execution(), None
    if options.precisions or options.gate:
        if options.precisions:
            require_train_extra()
            start_server()  # which takes seconds; the files are exported in a process of its own
        reference = Reference.of(Path(run), options.data)
    if options.precisions:
        assert reference is not None, "it was read just now"
        exports = make_exports(reference, executions_of(options.precisions), options.tolerance, progress)
        bundle, members, execution = exports.bundle, dict(exports.members), exports.fastest
    spec = replace(with_reported(bundle.spec, Path(run)), name=name)
    with staged_archive(spec, bundle.weights, options.version, options.store, members) as staged:
        report = None
        if options.gate and reference:
            advance = None if progress is None else partial(progress, "gate")
            report = check_archive(staged, reference, execution, advance)
            report.require()
    return Release(Path(options.store) / f"{name}.mar", spec, report)


def check_archive(
    archive: Bundle, reference: Reference, execution: Execution = Execution(), advance: Advance | None = None
) -> GateReport:
    """Serve an archive on loopback and compare its answers with what its run found on validation.

    Raises:
        OutOfTolerance: it cannot be served.
    """
    spec = archive.spec
    try:
        with background_server({spec.name: load_model(Path(archive.source), archive, execution)}) as base:
            return check_server(base, spec, reference, _LARGEST, advance)
    except ServingError as error:  # what cannot be served is not released either
        raise OutOfTolerance(f"{spec.name}: {SHUT} {error.message}", error.remedy) from error
