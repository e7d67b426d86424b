"""The verbs for Python: the same calls the command line makes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .host.dependencies import require_train_extra

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from boxwright.data.conversion import Conversion
    from boxwright.evaluation.compare import Contender
    from boxwright.export.exports import Progress
    from boxwright.metrics.comparison import Comparison
    from boxwright.parity.endpoint import EndpointEvaluation
    from boxwright.parity.proof import Proof
    from boxwright.tuning.bench import Bench

    from .archiving import Adoption, ArchiveContents
    from .config import TrainConfig
    from .data import Finding, Inspection
    from .evaluation import Evaluation
    from .runtime import ModelSpec
    from .training import RunResult

__all__ = [
    "adopt",
    "archive",
    "bench",
    "check",
    "choose_threshold",
    "compare",
    "convert",
    "evaluate",
    "evaluate_endpoint",
    "export",
    "inspect",
    "repair",
    "report",
    "require_train_extra",
    "resume",
    "serve",
    "train",
]


def check(data: str | Path, *, advance: Callable[[int, int], object] | None = None) -> Inspection:
    """Check a data set: read every split, open every picture, report everything found.

    Args:
        data: folder with ``train/``, ``valid/`` and optionally ``test/``.
        advance: called with (pictures done, pictures in all).

    Raises:
        DataError: there is no folder, or nothing in it that could be checked.
    """
    from .data import check as run_check

    return run_check(data, advance=advance)


def repair(
    inspection: Inspection, out: str | Path, *, advance: Callable[[int, int], object] | None = None
) -> tuple[Finding, ...]:
    """Write a repaired copy of what was checked; see ``boxwright.data.repair``."""
    from boxwright.data import repair as run_repair

    return run_repair(inspection, out, advance=advance)


def convert(
    source: str | Path,
    out: str | Path,
    format: str,  # noqa: A002  # the name users know
    *,
    split: tuple[float, ...] | None = None,
    seed: int = 0,
    voc_origin: Any = "auto",
    advance: Callable[[int, int], object] | None = None,
) -> Conversion:
    """Convert ``yolo``, ``voc`` or another ``coco`` layout; see ``boxwright.data.conversion.convert``."""
    from boxwright.data.conversion import convert as run_conversion

    return run_conversion(
        Path(source), Path(out), format, split=split, seed=seed, voc_origin=voc_origin, advance=advance
    )


def train(config: TrainConfig | str | Path | None = None, **settings: Any) -> RunResult:
    """See ``boxwright.training.train``."""
    from .training import train as run_training

    return run_training(config, **settings)


def resume(run: str | Path) -> RunResult:
    """See ``boxwright.training.resume``."""
    from .training import resume as resume_training

    return resume_training(run)


def evaluate(
    source: str | Path,
    data: str | Path,
    split: str = "valid",
    *,
    threshold: float | None = None,
    device: str = "cpu",
    progress: Callable[[int, int], object] | None = None,
) -> Evaluation:
    """Measure a run or an archive on a split; see ``boxwright.evaluation.evaluate``."""
    from .evaluation import evaluate as run_evaluation

    return run_evaluation(source, data, split, threshold=threshold, device=device, progress=progress)


def evaluate_endpoint(
    source: str | Path,
    data: str | Path,
    split: str = "valid",
    *,
    url: str,
    tolerance: float | None = None,
    device: str = "cpu",
    progress: Callable[[int, int], object] | None = None,
) -> EndpointEvaluation:
    """Hold a running endpoint to the figures of a run or an archive; see ``boxwright.parity.endpoint``."""
    from boxwright.parity.endpoint import evaluate_endpoint as run_evaluation

    return run_evaluation(source, data, split, url=url, tolerance=tolerance, device=device, progress=progress)


def compare(
    sources: Sequence[str | Path],
    data: str | Path | None = None,
    split: str | None = None,
    *,
    device: str = "cpu",
    progress: Callable[[int, int], object] | None = None,
) -> tuple[tuple[Contender, ...], tuple[Comparison, ...]]:
    """Compare every further run with the first, on the same pictures; see ``boxwright.evaluation.compare``."""
    from boxwright.evaluation.compare import compare as run_comparison

    return run_comparison(sources, data, split, device=device, progress=progress)


def choose_threshold(run: str | Path, objective: str | None = None, by_class: bool | None = None) -> ModelSpec:
    """Choose a run's operating point anew, from what its best epoch found on validation, and write it down.

    Args:
        run: its folder; ``spec.json`` and ``report.html`` are written anew.
        objective: ``f2``, ``precision>=0.95`` and the like; the present one by default.
        by_class: whether each class with boxes enough is reported from its own threshold; as now by default.

    Returns:
        The specification as written.

    Raises:
        ArchiveError: not a finished run.
        ConfigError: the objective is none, or cannot be attained.
    """
    from boxwright.evaluation.compare import read_run
    from boxwright.evaluation.operating import measured_spec, write_spec
    from boxwright.metrics.objective import Objective

    results, spec = read_run(Path(run))
    point = spec.operating_point
    wanted = Objective.parse(point.objective if objective is None else objective)
    spec = measured_spec(spec, results, wanted, point.by_class if by_class is None else by_class)
    write_spec(Path(run), spec)
    _remember_objective(Path(run), spec)
    report(run)
    return spec


def _remember_objective(run: Path, spec: ModelSpec) -> None:
    """So that ``--resume`` keeps to it."""
    from .config import load_config, save_config

    settings = run / "config.yaml"
    if settings.is_file():
        point = spec.operating_point
        chosen = {"objective": point.objective, "thresholds_by_class": point.by_class}
        save_config(load_config(settings, chosen), settings)


def report(run: str | Path, data: str | Path | None = None) -> Path:
    """Write ``RUN/report.html`` anew; see ``boxwright.reporting.run_report.report_run``."""
    from boxwright.reporting.run_report import report_run

    return report_run(Path(run), None if data is None else Path(data))


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
    """Pack a run into ``STORE/NAME.mar``, its exports proved; see ``boxwright.release.archive``."""
    from .release import archive as release_archive

    return release_archive(
        run, name=name, version=version, store=store, precisions=precisions, data=data, tolerance=tolerance, gate=gate,
        say=say, progress=progress,
    )  # fmt: skip


def export(
    run: str | Path,
    to: str,
    out: str | Path,
    *,
    precision: str = "fp32",
    data: str | Path | None = None,
    tolerance: float | None = None,
    progress: Progress | None = None,
) -> Proof:
    """Write a run's network to a file, proved equal; see ``boxwright.export.files.export``."""
    from boxwright.export.files import export as write_export

    return write_export(run, to, out, precision=precision, data=data, tolerance=tolerance, progress=progress)


def inspect(mar: str | Path) -> ArchiveContents:
    """Verify an archive and say what it holds; see ``boxwright.archiving.inspect_archive``."""
    from .archiving import inspect_archive

    return inspect_archive(mar)


def adopt(
    old: str | Path,
    model: str,
    *,
    name: str | None = None,
    version: str | None = None,
    image_size: tuple[int, int] | None = None,
    threshold: float | None = None,
    classes: str | Path | None = None,
    norm_eps: float | None = None,
    store: str | Path = "model-store",
) -> Adoption:
    """Turn an archive made by hand into ours, without its code; see ``boxwright.archiving.adopt``."""
    require_train_extra()
    from .archiving import adopt as adopt_archive

    return adopt_archive(
        old, model, name=name, version=version, image_size=image_size, threshold=threshold, classes=classes,
        norm_eps=norm_eps, store=store,
    )  # fmt: skip


def bench(source: str | Path, data: str | Path | None = None, **options: Any) -> Bench:
    """Measure how fast an archive runs here, in each way it can; see ``boxwright.tuning.bench.bench``.

    ``serve`` then runs it in the way that was best.
    """
    from boxwright.tuning.bench import bench as run_bench

    return run_bench(Path(source), None if data is None else Path(data), **options)


def serve(
    archives: Iterable[str | Path],
    host: str = "127.0.0.1",
    port: int = 8080,
    device: str = "cpu",
    *,
    backend: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    sessions: int | None = None,
) -> None:
    """Serve archives over HTTP until interrupted; see ``boxwright.serving.server.serve``."""
    from boxwright.serving.server import serve as run_server

    from .runtime import Execution

    run_server(archives, host, port, Execution(backend, precision, device, threads, sessions))
