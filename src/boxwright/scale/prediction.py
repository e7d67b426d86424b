"""``predict`` on a cluster: many pictures in parts, each written once, by actors that hold one predictor each."""

from __future__ import annotations

import hashlib
import json
import logging
import posixpath
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boxwright.host.places import is_url
from boxwright.inputs.sources import each_source, read_source, require_allowed
from boxwright.inputs.stores import open_store
from boxwright.inputs.video import is_video
from boxwright.runtime import (
    ConfigError,
    Detections,
    Execution,
    PictureError,
    PicturePredictor,
    open_bundle,
)
from boxwright.runtime.backends import settle
from boxwright.runtime.picture import SUFFIXES, decode

from .cluster import LOCAL, connected, require_ray
from .shared import SharedFolder

if TYPE_CHECKING:
    from boxwright.runtime import Bundle, ModelSpec

__all__ = ["Answered", "predict_on"]

FORMATS = (".parquet", ".jsonl")
"""How an answer's name ends: a folder of parts in this format."""

JOB = "_job.json"
"""What the parts belong to. Readers of such folders ignore names that begin so."""

_PARTS = 2000  # about so many, so that a listing of them is short
_TRIES = 3  # of a part, after its actor was lost: a picture may end each process that decodes it
_READS = 3  # of a picture, before its row says that it cannot be read
_LEAST, _MOST = 16, 1024  # pictures of a part: a few seconds of work, and little lost with an actor


@dataclass(frozen=True)
class Answered:
    """What became of the pictures.

    Attributes:
        out: folder or URL that holds the parts.
        pictures: how many there are.
        before: of these, those that an earlier start had answered.
        failed: pictures that could not be used; each is a row with its error.
    """

    out: str
    pictures: int
    before: int
    failed: int


def predict_on(
    source: Path,
    pictures: Sequence[str],
    out: str,
    *,
    on: str = LOCAL,
    execution: Execution = Execution(),
    threshold: float | None = None,
    actors: int | None = None,
    urls: bool = False,
    advance: Callable[[int, int], object] = lambda done, total: None,
    tell: Callable[[str], object] = lambda text: None,
) -> Answered:
    """Detections of many pictures, as rows of a folder of files.

    A row has ``source``, ``width``, ``height`` (pixels; None if the picture could not be used), ``error`` (a sentence,
    or None) and ``detections``: of each ``class``, ``category_id``, ``bbox`` ([x, y, width, height] in pixels of the
    picture) and ``score``, as ``boxwright predict --json`` has them. A part appears whole or not at all: who starts
    again after a kill goes on with the parts that are missing, and no picture is twice there.

    Args:
        source: run folder or ``.mar`` archive.
        pictures: paths of pictures and folders, and URLs that fsspec reads (``s3://…``), where everything below counts.
            All machines of the cluster must see them.
        out: folder or URL, which ends with .parquet or .jsonl. All machines must see it.
        on: see ``require_ray``.
        execution: how it runs. It is settled here, once, so that all actors give the same bits; one thread by default.
        threshold: lowest reported score, in [0, 1]; the model's operating point by default.
        actors: how many at once; as many as the cluster has processors for by default.
        urls: whether ``http://`` and ``https://`` are fetched.
        advance: called with (pictures done, pictures in all).
        tell: see ``connected``.

    Raises:
        ArchiveError: the model cannot be read.
        ConfigError: a wrong ``out``, one that was begun with something else, or no cluster.
        MissingDependency: ``boxwright[ray]``, the backend, or what reads such a URL is not installed.
        PictureError: there are no pictures.
    """
    if not out.endswith(FORMATS):
        raise ConfigError(
            f"--out {out}: with --on it is a folder of rows.", "Let its name end with .parquet or .jsonl."
        )
    require_ray(on)
    out = out if is_url(out) and not out.startswith("file://") else str(Path(out.removeprefix("file://")).resolve())
    if not is_url(out) and Path(out).is_file():
        raise ConfigError(f"--out {out}: is a file; with --on it is a folder of rows.", "Choose another --out.")
    bundle = open_bundle(source)
    settled = settle(bundle, execution)
    settled = Execution(settled.backend, settled.precision, settled.device, execution.threads or 1, 1)
    if settled.device == "cpu":  # else this machine may have none
        PicturePredictor(bundle, settled, threshold)  # what cannot be opened is found before a cluster is started
    sources = list(_sources(pictures, urls))
    if not sources:
        raise PictureError("There are no pictures.", f"Looked for {', '.join(SUFFIXES)}.")
    store = _Store(out)
    size = min(max(len(sources) // _PARTS, _LEAST), _MOST)
    job = {
        "model": f"{bundle.spec.name} {_identity(bundle)}",
        "execution": {key: value for key, value in asdict(settled).items() if key != "sessions"},
        "threshold": threshold,
        "pictures": len(sources),
        "listing": _digest(sources),
        "pictures per part": size,
    }
    _require_same(store, job)
    parts = {number: sources[start : start + size] for number, start in enumerate(range(0, len(sources), size))}
    there = store.names()
    known = {number for number in parts if store.part(number) in there}
    before = sum(len(parts[number]) for number in known)
    advance(before, len(sources))
    missing = [{"part": number, "sources": some} for number, some in parts.items() if number not in known]
    failed = sum(store.failures(number) for number in known)
    if missing:
        archive = source.read_bytes() if source.is_file() else str(source.resolve())
        with connected(on, tell):
            store.write(JOB, json.dumps(job, indent=2).encode())
            done = before
            for row in _answered(archive, settled, threshold, out, missing, actors):
                done += int(row["pictures"])
                failed += int(row["failed"])
                advance(done, len(sources))
    return Answered(out, len(sources), before, failed)


def _answered(*given: Any) -> Iterator[Mapping[str, Any]]:
    """The rows of ``_answer``; Ray Data does not run in a client of Ray's, so they come from an actor there.

    Raises:
        ConfigError: the cluster could not go on.
    """
    import ray

    outside = ray.util.client.ray.is_connected()
    try:
        yield from _answer_inside(given) if outside else _answer(*given)
    except (ray.exceptions.RayError, ConnectionError) as error:
        reason = str(error).strip().splitlines()
        raise ConfigError(
            f"The cluster could not go on: {reason[-1] if reason else type(error).__name__}",
            "What was answered is kept: the same command goes on from there.",
        ) from error


def _answer_inside(given: Sequence[Any]) -> Iterator[Mapping[str, Any]]:
    import ray

    driver = ray.remote(_Driver).options(num_cpus=0).remote(*given)
    while (row := ray.get(driver.next.remote())) is not None:
        yield row


class _Driver:
    """``_answer`` on a machine of the cluster; it and its actors end when nobody refers to it any more."""

    def __init__(self, *given: Any) -> None:
        self._rows = _answer(*given)

    def next(self) -> Mapping[str, Any] | None:
        """The next row, once it is there; None after the last one."""
        return next(self._rows, None)


def _answer(
    archive: bytes | str,
    execution: Execution,
    threshold: float | None,
    out: str,
    missing: Sequence[Mapping[str, Any]],
    actors: int | None,
) -> Iterator[Mapping[str, Any]]:
    """Give parts to actors; yields ``part``, ``pictures`` and ``failed`` of each one when it is written."""
    import ray
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)  # progress is told here; importing it sets the level, too
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    there = ray.cluster_resources()
    on_gpu = execution.device != "cpu"
    most = int(there.get("GPU", 1)) if on_gpu else int(there.get("CPU", 1)) // (execution.threads or 1)
    count = min(actors or max(most, 1), len(missing))
    data = ray.data.from_items(list(missing), override_num_blocks=len(missing))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of ray_remote_args_fn; nothing else bounds the tries yet
        answered = data.map(
            _Actor,
            fn_constructor_args=(ray.put(archive), execution, threshold, out),
            compute=ray.data.ActorPoolStrategy(size=count),
            num_cpus=execution.threads or 1,
            num_gpus=int(on_gpu),
            ray_remote_args_fn=lambda: {"max_task_retries": _TRIES},
        )
    yield from answered.iter_rows()


class _Actor:
    """Holds one predictor, and answers parts.

    Args:
        archive: reference to the bytes of an archive, or to the path of a run folder.
        execution: settled.
        threshold: see ``predict_on``.
        out: see ``predict_on``.
    """

    def __init__(self, archive: Any, execution: Execution, threshold: float | None, out: str) -> None:
        import ray

        from boxwright.host.memory import keep_freed_memory

        keep_freed_memory()
        content = ray.get(archive) if isinstance(archive, ray.ObjectRef) else archive
        with ExitStack() as temporary:
            if isinstance(content, bytes):
                file = temporary.enter_context(tempfile.NamedTemporaryFile(suffix=".mar"))
                file.write(content)
                file.flush()
                content = file.name
            self.predictor = PicturePredictor(open_bundle(content), execution, threshold)
        self.store = _Store(out)

    def __call__(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Answer one part, and write it."""
        rows = [_row(self.predictor, one) for one in row["sources"]]
        failed = sum(one["error"] is not None for one in rows)
        self.store.write(self.store.part(row["part"]), _encoded(rows, self.store.format))
        return {"part": row["part"], "pictures": len(rows), "failed": failed}


def _row(predictor: PicturePredictor, source: str) -> dict[str, Any]:
    row: dict[str, Any] = {"source": _text(source), "width": None, "height": None, "error": None, "detections": []}
    try:
        image = _read(source)
        found = predictor(image)
    except Exception as error:  # remote storage and backends raise all kinds, and one picture must not end the others
        ours = isinstance(error, (PictureError, OSError))
        row["error"] = _text(str(error) if ours else f"{type(error).__name__}: {error}")
        return row
    return {**row, "width": image.width, "height": image.height, "detections": _detections(found, predictor.spec)}


def _text(name: str) -> str:
    """As UTF-8 can hold it: file names need not be Unicode."""
    return name.encode("utf-8", "backslashreplace").decode()


def _read(source: str) -> Any:
    """The picture of a path or a URL."""
    if not _is_stored(source):
        (picture,) = read_source(source, urls=True)  # those of the web were allowed before
        return picture.image
    return decode(_fetched(source), name=repr(source))


def _fetched(url: str) -> bytes:
    import fsspec

    for attempt in range(_READS):
        try:
            with fsspec.open(url, "rb") as file:
                content: bytes = file.read()
                return content
        except FileNotFoundError:
            raise
        except Exception:  # remote storage that is busy
            if attempt == _READS - 1:
                raise
            time.sleep(2**attempt)
    raise AssertionError("the last attempt returns or raises")


def _detections(found: Detections, spec: ModelSpec) -> list[dict[str, Any]]:
    identifiers = [entry.id for entry in spec.classes]
    return [
        {
            "class": spec.classes[label].name,
            "category_id": one["category_id"],
            "bbox": one["bbox"],
            "score": one["score"],
        }
        for one, label in zip(found.to_coco(0, identifiers), found.labels, strict=True)
    ]


def _encoded(rows: Sequence[Mapping[str, Any]], form: str) -> bytes:
    if form == ".jsonl":
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    detection = pa.struct(
        [("class", pa.string()), ("category_id", pa.int64()), ("bbox", pa.list_(pa.float64())), ("score", pa.float64())]
    )
    schema = pa.schema(
        [
            ("source", pa.string()),
            ("width", pa.int64()),
            ("height", pa.int64()),
            ("error", pa.string()),
            ("detections", pa.list_(detection)),
        ]
    )
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows), schema), file)
    return file.getvalue()


class _Store(SharedFolder):
    """The folder of an answer.

    Args:
        out: path or URL; its end is the format.
    """

    def __init__(self, out: str) -> None:
        super().__init__(out)
        self.format = posixpath.splitext(out)[1]

    def part(self, number: int) -> str:
        """Name of a part."""
        return f"part-{number:06d}{self.format}"

    def failures(self, number: int) -> int:
        """How many rows of a part have an error."""
        content = self.read(self.part(number))
        if self.format == ".jsonl":
            return sum(json.loads(line)["error"] is not None for line in content.splitlines())
        import io

        import pyarrow.parquet as pq

        column = pq.read_table(io.BytesIO(content), columns=["error"])["error"]
        return len(column) - int(column.null_count)


def _require_same(store: _Store, job: Mapping[str, Any]) -> None:
    """Raise if parts of something else are there.

    Raises:
        ConfigError: they are.
    """
    names = store.names()
    if JOB not in names:
        if names:
            raise ConfigError(f"{store.place} holds something else.", "Choose another --out.")
        return
    try:
        begun = json.loads(store.read(JOB))
        other = [key for key in job if begun.get(key) != job[key]]
    except (ValueError, AttributeError):
        other = ["format"]
    if other:
        raise ConfigError(
            f"{store.place} was begun differently ({', '.join(other)}).", "Choose another --out, or delete this one."
        )


def _sources(pictures: Sequence[str], urls: bool) -> Iterator[str]:
    """Every picture's path or URL, in order.

    Raises:
        PictureError: a path does not exist; a folder cannot be read, or has none.
        ConfigError: a URL cannot be listed, or is one of the web without ``urls``; a video.
        MissingDependency: what lists it is not installed.
    """
    for one in pictures:
        if is_video(one):
            raise ConfigError(f"{one} is a video.", "Leave out --on, or give its frames as pictures.")
        if _is_stored(one):
            yield from _listed(one)
        elif is_url(one):
            require_allowed(one, urls)
            yield one
        elif not Path(one).exists():
            raise PictureError(f"{one}: no such file or folder.", "Correct the path.")
        else:
            yield from (str(Path(str(path)).resolve()) for path in each_source(one))


def _listed(place: str) -> Iterator[str]:
    files, root = open_store(place)
    try:
        found = sorted(files.find(root)) if files.isdir(root) else [root]
    except Exception as error:  # each of fsspec's systems has its own
        raise ConfigError(f"{place} cannot be listed: {type(error).__name__}: {error}", "Check it.") from error
    yield from (files.unstrip_protocol(path) for path in found if path.lower().endswith(SUFFIXES) or path == root)


def _is_stored(source: str) -> bool:
    """Whether it is a URL that fsspec reads, and not one of the web."""
    return is_url(source) and not source.lower().startswith(("http://", "https://"))


def _identity(bundle: Bundle) -> str:
    """A digest of what answers: of an archive all of it, of a run folder its specification and weights."""
    if all(bundle.members.values()):
        return _digest([f"{name} {digest}" for name, digest in sorted(bundle.members.items())])
    return _digest([bundle.spec.to_json(), hashlib.sha256(bundle.weights).hexdigest()])


def _digest(lines: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()[:16]
