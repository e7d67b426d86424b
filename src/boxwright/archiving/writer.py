"""Packs a model into a ``.mar`` that TorchServe 0.12 and ``boxwright serve`` both serve.

The zip is deterministic: members sorted, stored uncompressed, without times; the same model gives the
same bytes.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from boxwright.host.files import replacing
from boxwright.runtime import ArchiveError, Bundle, ConfigError, ModelSpec, open_bundle
from boxwright.runtime.bundle import (
    CARD,
    CHECKSUMS,
    GRAPH,
    INDEX_TO_NAME,
    MANIFEST,
    NAME_PATTERN,
    SPEC,
    WEIGHTS,
    index_to_name,
)

from .card import CardFacts, model_card

__all__ = ["RUNTIME_COPY", "require_url_names", "staged_archive", "write_archive"]

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


def require_url_names(name: str, version: str) -> None:
    """Raise unless a model's name and version can stand in a URL.

    Raises:
        ConfigError: one of them cannot.
    """
    for what, text in (("name", name), ("version", version)):
        if not NAME_PATTERN.fullmatch(text):
            raise ConfigError(f"Model {what} {text!r} does not fit.", "Use letters, digits, '_', '-' and '.'.")


def write_archive(
    spec: ModelSpec,
    weights: bytes | None,
    version: str = "1.0",
    store: str | Path = "model-store",
    extra: Mapping[str, bytes] | None = None,
    facts: CardFacts = CardFacts(),
) -> Path:
    """Write ``STORE/NAME.mar`` from its parts.

    Args:
        spec: what the model is; its name is the archive's.
        weights: a ``torch.save``d state dict; None to leave them out, which takes a graph in ``extra``.
        version: of the model.
        store: folder for the archive, made if missing; an archive of the same name is replaced when the new one
            has been read back.
        extra: further members by name, ``model.onnx`` and the like.
        facts: what the model card says beside the specification.

    Returns:
        Path of the archive.

    Raises:
        ArchiveError: a further member has the name of one of the archive's own; there are neither weights nor a graph;
            the archive cannot be written, or does not read back.
        ConfigError: a name or version that cannot stand in a URL.
    """
    with staged_archive(spec, weights, version, store, extra, facts):
        return Path(store) / f"{spec.name}.mar"


@contextmanager
def staged_archive(
    spec: ModelSpec,
    weights: bytes | None,
    version: str = "1.0",
    store: str | Path = "model-store",
    extra: Mapping[str, bytes] | None = None,
    facts: CardFacts = CardFacts(),
) -> Iterator[Bundle]:
    """Write an archive beside its place, and put it there when the block ends well; see ``write_archive``.

    Yields:
        The archive, read back and verified. After an error the store is as it was.
    """
    require_url_names(spec.name, version)
    store = Path(store)
    members, made = _members(spec, weights, version, extra or {}, facts), not store.exists()
    try:
        with replacing(store / f"{spec.name}.mar") as part:
            _write_zip(part, members)
            yield open_bundle(part)
    except OSError as error:
        target = store / f"{spec.name}.mar"
        raise ArchiveError(f"{target}: cannot be written: {error.strerror}.", "Choose another --store.") from error
    finally:
        if made and store.is_dir() and not any(store.iterdir()):
            store.rmdir()


def _members(
    spec: ModelSpec, weights: bytes | None, version: str, extra: Mapping[str, bytes], facts: CardFacts
) -> dict[str, bytes]:
    if weights is None and GRAPH not in extra:
        raise ArchiveError(f"{spec.name}: neither weights nor a graph.", "Archive it with its weights.")
    network = {} if weights is None else {WEIGHTS: weights, "model.py": _MODEL.encode()}
    own = {
        SPEC: spec.to_json().encode(),
        MANIFEST: _json(_manifest(spec, version, without_weights=weights is None)),
        "handler.py": _HANDLER.encode(),
        INDEX_TO_NAME: _json(index_to_name(spec)),
        **_runtime_copy(),
    }
    taken = sorted({*own, WEIGHTS, "model.py", CARD, CHECKSUMS} & set(extra))
    if taken:
        raise ArchiveError(f"Member {taken[0]!r} is the archive's own.", "Give the further member another name.")
    members = {**own, **network, **extra}
    digests = {name: hashlib.sha256(members[name]).hexdigest() for name in (WEIGHTS, *extra) if name in members}
    members[CARD] = model_card(spec, version, replace(facts, digests=digests)).encode()
    members[CHECKSUMS] = "".join(
        f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(members.items())
    ).encode()
    return members


def _manifest(spec: ModelSpec, version: str, without_weights: bool) -> dict[str, object]:
    recorded = spec.provenance.get("created", _UNDATED)
    try:
        created = datetime.datetime.fromisoformat(recorded)
    except (TypeError, ValueError) as error:
        raise ArchiveError(f"{recorded!r} is not a time of creation.", "It is in the run's spec.json.") from error
    return {
        "createdOn": created.strftime("%d/%m/%Y %H:%M:%S"),
        "runtime": "python",
        "model": {
            "modelName": spec.name,
            "serializedFile": GRAPH if without_weights else WEIGHTS,
            "handler": "handler.py",
            **({} if without_weights else {"modelFile": "model.py"}),
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


def _write_zip(path: Path, members: Mapping[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        for name, content in sorted(members.items()):
            entry = zipfile.ZipInfo(name, _ZIP_EPOCH)
            entry.create_system = 3  # Unix, whatever system writes it
            entry.external_attr = _READABLE
            file.writestr(entry, content)
