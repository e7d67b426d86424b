"""Packs a run into a ``.mar`` that TorchServe 0.12 and ``boxwright serve`` both serve.

The zip is deterministic: members sorted, stored uncompressed, without times; the same run gives the
same bytes.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from boxwright.evaluation.operating import with_reported
from boxwright.export.exports import Progress, make_exports, variants_of
from boxwright.runtime import ArchiveError, ConfigError, ModelSpec, open_bundle
from boxwright.runtime.bundle import CHECKSUMS, INDEX_TO_NAME, MANIFEST, NAME_PATTERN, SPEC, WEIGHTS, index_to_name

__all__ = ["RUNTIME_COPY", "archive", "write_archive"]

RUNTIME_COPY = "boxwright_runtime"
"""Name of the runtime's copy inside an archive: importable there without boxwright."""

_ARCHIVER_VERSION = "0.12.0"
_UNDATED = "1980-01-01T00:00:00"
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
_READABLE = 0o100644 << 16

_HANDLER = f'''"""TorchServe's way into this archive."""

from {RUNTIME_COPY}.torchserve import Handler

_handler = Handler()


def handle(data, context):
    """Answer a batch of pictures; see {RUNTIME_COPY}/torchserve.py."""
    return _handler(data, context)
'''

_MODEL = f'''"""The network of this archive, for tools that load a model file with its state dict."""

from pathlib import Path

from {RUNTIME_COPY}.networks import build_network
from {RUNTIME_COPY}.spec import ModelSpec


class Model:
    """``Model()`` is the untrained network; its state dict is {WEIGHTS}."""

    def __new__(cls):
        return build_network(ModelSpec.load(Path(__file__).parent / "{SPEC}"))
'''


def archive(
    run: str | Path,
    *,
    name: str | None = None,
    version: str = "1.0",
    store: str | Path = "model-store",
    precisions: Sequence[str] = ("fp32",),
    data: str | Path | None = None,
    tolerance: float | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write ``STORE/NAME.mar`` from a run folder, with exports that were proved on validation pictures.

    Args:
        run: folder of a run with ``spec.json``, ``model_state_dict.pth`` and ``detections.npz``.
        name: of the model, in its URL; the run's by default.
        version: of the model.
        store: folder for the archive, made if missing; an archive of the same name is replaced.
        precisions: to export to and prove, of ``fp32``, ``bf16`` and ``int8``, in every runtime installed here; without
            any, only torch can run the archive.
        data: folder with the pictures; where the run's settings say by default.
        tolerance: largest accepted difference of mAP and F2; by precision by default, see ``TOLERANCES``.
        progress: called with what is being done, how much is done, how much there is.

    Returns:
        Path of the archive, read back and verified.

    Raises:
        ArchiveError: the run folder holds no finished model.
        ConfigError: a name or version that cannot stand in a URL, or an unknown precision.
        DataError: the pictures are not there.
        OutOfTolerance: an export gives other figures than the trained model.
    """
    bundle, members = open_bundle(run), {}
    require_url_names(name or bundle.spec.name, version)
    if precisions:
        exports = make_exports(
            Path(run), variants_of(precisions), None if data is None else Path(data), tolerance, progress
        )
        bundle, members = exports.bundle, dict(exports.members)
    spec = with_reported(bundle.spec, Path(run))
    spec = replace(spec, name=name or spec.name)
    return write_archive(spec, bundle.weights, version, store, members)


def require_url_names(name: str, version: str) -> None:
    """Nothing, where a model's name and version can stand in a URL.

    Raises:
        ConfigError: they cannot.
    """
    for what, text in (("name", name), ("version", version)):
        if not NAME_PATTERN.fullmatch(text):
            raise ConfigError(f"Model {what} {text!r} does not fit.", "Use letters, digits, '_', '-' and '.'.")


def write_archive(
    spec: ModelSpec,
    weights: bytes,
    version: str = "1.0",
    store: str | Path = "model-store",
    extra: Mapping[str, bytes] | None = None,
) -> Path:
    """Write ``STORE/NAME.mar`` from its parts.

    Args:
        spec: what the model is; its name is the archive's.
        weights: a ``torch.save``d state dict.
        version: of the model.
        store: folder for the archive, made if missing; an archive of the same name is replaced when the new one
            has been read back.
        extra: further members by name, ``model.onnx`` and the like.

    Returns:
        Path of the archive.

    Raises:
        ArchiveError: a further member has the name of one of the archive's own; the archive cannot be written, or
            does not read back.
        ConfigError: a name or version that cannot stand in a URL.
    """
    require_url_names(spec.name, version)
    target = Path(store) / f"{spec.name}.mar"
    _write_atomically(target, _members(spec, weights, version, extra or {}))
    return target


def _members(spec: ModelSpec, weights: bytes, version: str, extra: Mapping[str, bytes]) -> dict[str, bytes]:
    members = {
        SPEC: spec.to_json().encode(),
        WEIGHTS: weights,
        MANIFEST: _json(_manifest(spec, version)),
        "handler.py": _HANDLER.encode(),
        "model.py": _MODEL.encode(),
        INDEX_TO_NAME: _json(index_to_name(spec)),
        **_runtime_copy(),
    }
    taken = sorted({*members, CHECKSUMS} & set(extra))
    if taken:
        raise ArchiveError(f"Member {taken[0]!r} is the archive's own.", "Give the further member another name.")
    members.update(extra)
    members[CHECKSUMS] = "".join(
        f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(members.items())
    ).encode()
    return members


def _manifest(spec: ModelSpec, version: str) -> dict[str, object]:
    recorded = spec.provenance.get("created", _UNDATED)
    try:
        created = datetime.datetime.fromisoformat(recorded)
    except (TypeError, ValueError) as error:
        raise ArchiveError(f"The time of creation, {recorded!r}, is none.", "It is in the run's spec.json.") from error
    return {
        "createdOn": created.strftime("%d/%m/%Y %H:%M:%S"),
        "runtime": "python",
        "model": {
            "modelName": spec.name,
            "serializedFile": WEIGHTS,
            "handler": "handler.py",
            "modelFile": "model.py",
            "modelVersion": version,
        },
        "archiverVersion": _ARCHIVER_VERSION,
    }


def _runtime_copy() -> dict[str, bytes]:
    return {f"{RUNTIME_COPY}/{path}": source for path, source in _sources(resources.files("boxwright.runtime"))}


def _sources(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, bytes]]:
    """Python files of a folder and its subfolders, with their paths in it."""
    for entry in folder.iterdir():
        if entry.is_dir() and entry.name != "__pycache__":
            yield from _sources(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(".py"):
            yield f"{prefix}{entry.name}", entry.read_bytes()


def _json(document: object) -> bytes:
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def _write_atomically(target: Path, members: Mapping[str, bytes]) -> None:
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _write_zip(part, members)
        open_bundle(part)
        part.replace(target)
    except OSError as error:
        raise ArchiveError(f"{target}: cannot be written: {error.strerror}.", "Choose another --store.") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _write_zip(path: Path, members: Mapping[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        for name, content in sorted(members.items()):
            entry = zipfile.ZipInfo(name, _ZIP_EPOCH)
            entry.create_system = 3  # Unix, whatever system writes it
            entry.external_attr = _READABLE
            file.writestr(entry, content)
