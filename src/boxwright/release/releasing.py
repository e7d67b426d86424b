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
from boxwright.reporting.card_facts import facts_of_run, read_notes
from boxwright.runtime import Bundle, ConfigError, Execution, ModelSpec, OutOfTolerance, ServingError, open_bundle
from boxwright.runtime.backends import BACKENDS
from boxwright.runtime.bundle import WEIGHTS
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
    weights: bool = True
    card_notes: str | Path | None = None


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
    weights: bool = True,
    card_notes: str | Path | None = None,
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
        weights: with the trained weights. Without them the archive is about half as large, and only its proved graphs
            can run it: not PyTorch, not TorchServe unless onnxruntime is installed there, and no training can start
            from it.
        card_notes: Markdown file on intended use and limits, for the model card.
        say: called with each line that says what the gate compared.
        progress: called with what is being done, how much is done, how much there is.

    Returns:
        Path of the archive, read back and verified.

    Raises:
        ArchiveError: the run folder holds no finished model, or the archive cannot be written.
        ConfigError: a name or version that cannot stand in a URL, an unknown precision, no weights and no graph in
            fp32, or notes that cannot be read.
        DataError: the pictures are not there.
        OutOfTolerance: an export gives other figures than the trained model, or the gate stays shut; the store is as
            it was.
    """
    released = release(
        run, ReleaseOptions(name, version, store, precisions, data, tolerance, gate, weights, card_notes), progress
    )
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
    _require_something_to_run(options)
    _require_compared(options)
    notes = read_notes(options.card_notes)
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
    weights: bytes | None = bundle.weights
    if not options.weights:
        weights, spec = None, _without_trained(spec)
        execution = execution if execution.variant in spec.exports else Execution()
    facts = facts_of_run(Path(run), spec, notes)
    with staged_archive(spec, weights, options.version, options.store, members, facts) as staged:
        report = None
        if options.gate and reference:
            advance = None if progress is None else partial(progress, "gate")
            report = check_archive(staged, reference, execution, advance)
            report.require()
    return Release(Path(options.store) / f"{name}.mar", spec, report)


def _require_something_to_run(options: ReleaseOptions) -> None:
    if not options.weights and "fp32" not in options.precisions:
        raise ConfigError(
            "Without weights and without the exported graph in fp32 nothing could run the archive.",
            "Leave out --no-export, or keep the weights.",
        )


def _require_compared(options: ReleaseOptions) -> None:
    """Refuse what says how exports are compared, where none are made; the gate takes pictures alone."""
    unused = {"tolerance": options.tolerance, "data": None if options.gate else options.data}
    for name, value in unused.items():
        if value is not None and not options.precisions:
            raise ConfigError(f"--{name} decides nothing without exports.", f"Leave out --{name} or --no-export.")


def _without_trained(spec: ModelSpec) -> ModelSpec:
    """The specification without what was proved of the trained network itself, which runs from the weights."""
    kept = {variant: proof for variant, proof in spec.exports.items() if not _needs_weights(variant)}
    return replace(spec, exports=kept)


def _needs_weights(variant: str) -> bool:
    execution = Execution.of_variant(variant)
    return BACKENDS[execution.backend].member(execution.precision) == WEIGHTS


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
