"""Opens a trained model wherever it lies: a run folder, an archive, or an archive unpacked by TorchServe."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import unicodedata
from collections import Counter
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Iterator, Mapping, Optional, Sequence, Union

from .errors import ArchiveError
from .pickled import refuse_code
from .spec import ModelSpec
from .strict_json import parse_json
from .strict_zip import MAX_ARCHIVE_BYTES, StrictZip, name_fault, open_zip

__all__ = [
    "CARD",
    "CHECKSUMS",
    "GRAPH",
    "INDEX_TO_NAME",
    "MANIFEST",
    "MAX_ARCHIVE_BYTES",
    "NAME_PATTERN",
    "RUN_SPEC",
    "SPEC",
    "WEIGHTS",
    "Bundle",
    "class_name_fault",
    "class_names_fault",
    "controls",
    "index_to_name",
    "nothing_there",
    "open_bundle",
]

GRAPH = "model.onnx"
"""The network as a graph; it stands in for the weights in an archive that was written without them."""
SPEC = "boxwright.json"
RUN_SPEC = "spec.json"
WEIGHTS = "model_state_dict.pth"
MANIFEST = "MAR-INF/MANIFEST.json"
CHECKSUMS = "MAR-INF/SHA256SUMS"
INDEX_TO_NAME = "index_to_name.json"
CARD = "MODEL_CARD.md"
"""What the model is, for people; archives of older versions have none."""

NAME_PATTERN = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_\-.]*$")
"""What the name and the version of a model look like: TorchServe's rule."""

_GIVE = "Give a run folder or a .mar archive."
_DOCUMENTS = (SPEC, MANIFEST, INDEX_TO_NAME)
_MAX_DOCUMENT = 16 * 1024**2
_MAX_CARD = 1024**2
_CHUNK = 1024**2
_CONTROLS = ("Cc", "Cs", "Zl", "Zp")  # control characters, halves of pairs, line and paragraph separators
_BIDIRECTIONAL = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # UAX 9: they turn a text around
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Bundle:
    """A model as data: nothing in it has been executed.

    Attributes:
        spec: what the model is.
        source: the path it came from, for errors.
        members: SHA-256 (hex) by name of what it holds; of a folder the names alone, with empty hashes.
        version: of the archive; ``1.0`` for a run folder.
        fetch: reads one member's bytes, unchecked.
    """

    spec: ModelSpec
    source: str
    members: Mapping[str, str]
    fetch: Callable[[str], bytes] = field(repr=False, compare=False)
    version: str = "1.0"

    def read(self, member: str) -> bytes:
        """The bytes of a member, checked against its SHA-256.

        Raises:
            ArchiveError: there is no such member, or it was altered since the model was opened.
        """
        if member not in self.members:
            raise ArchiveError(f"{self.source}: holds no {member}.", "Write the archive again.")
        content = self.fetch(member)
        expected = self.members[member]
        if expected and hashlib.sha256(content).hexdigest() != expected:
            raise ArchiveError(f"{self.source}: member {member!r} does not match its SHA-256.", "It was altered.")
        return content

    def with_members(self, added: Mapping[str, bytes]) -> Bundle:
        """The same model with members from memory, in place of those of their names."""
        hashes = {name: hashlib.sha256(content).hexdigest() for name, content in added.items()}
        fetch = self.fetch
        return replace(
            self,
            members={**self.members, **hashes},
            fetch=lambda member: added[member] if member in added else fetch(member),
        )

    @property
    def weights(self) -> bytes:
        """The bytes of a ``torch.save``d state dict, read with ``weights_only=True``.

        Raises:
            ArchiveError: the archive was written without them; see ``read`` for the others.
        """
        if WEIGHTS not in self.members and GRAPH in self.members:
            raise ArchiveError(
                f"{self.source}: holds the graph alone: it was archived with --without-weights.",
                "PyTorch, TorchServe and training need the weights: use the run folder, or archive it with them.",
            )
        return self.read(WEIGHTS)

    @property
    def card(self) -> Optional[str]:
        """The text of ``MODEL_CARD.md``; None if there is none.

        Raises:
            ArchiveError: see ``read``; or it is not UTF-8.
        """
        return _card_text(self.read(CARD), self.source) if CARD in self.members else None


def open_bundle(path: Union[str, os.PathLike[str]]) -> Bundle:
    """Read a model from a run folder, a ``.mar`` archive, or an unpacked archive.

    Of an archive everything is checked before anything is used: names, sizes, links, the SHA-256 of every member,
    that the members are those listed, that specification, manifest and class map agree, and that the weights name
    no code. Nothing is written to disk, nothing of it is executed. Members of an unpacked archive are also checked
    against their SHA-256; files that are not listed are ignored.

    Raises:
        ArchiveError: nothing there, not a model, unsafe, truncated or altered.
    """
    place = Path(path)
    try:
        if place.is_dir():
            return _open_folder(place)
        if place.is_file():
            return _open_file(place)
    except OSError as error:
        raise ArchiveError(f"{place}: cannot be read: {error.strerror}.", "Make it readable.") from error
    raise nothing_there(place)


def nothing_there(place: Path) -> ArchiveError:
    """The error of a run or an archive that is not there: it may be where those of a project lie, by default."""
    usual = (Path("runs") / place.name, Path("model-store") / place.name, Path("model-store") / f"{place.name}.mar")
    near = next((one for one in usual if place.name and one.exists()), None)
    return ArchiveError(f"{place}: no such file or folder.", _GIVE if near is None else f"Did you mean {near}?")


def _open_file(path: Path) -> Bundle:
    """An archive; what never was one is not worth writing again, as a broken one is."""
    from .picture import SUFFIXES

    kinds = {
        **dict.fromkeys(SUFFIXES, "a picture"),
        **dict.fromkeys((".pth", ".pt", ".ckpt", ".safetensors", ".bin"), "weights alone"),
        **dict.fromkeys((".onnx", ".xml", ".engine", ".tflite"), "a network alone"),
    }
    if kind := kinds.get(path.suffix.lower()):
        raise ArchiveError(f"{path}: is {kind}, not a model.", _GIVE)
    return _open_archive(path)


def class_names_fault(names: Sequence[str]) -> Optional[str]:
    """Why these cannot be the classes of a model, or None: an answer has one key per class beside its score."""
    if not names:
        return "names no classes"
    often = [name for name, count in Counter(names).items() if count > 1]
    if often:
        return f"names class {often[0]!r} more than once"
    if "score" in names:
        return "names a class 'score', which is a key of every answer"
    return next((f"class {name!r} {fault}" for name in names if (fault := class_name_fault(name))), None)


def class_name_fault(name: str) -> Optional[str]:
    """Why a text cannot be the name of a class, or None; joiners, no-break spaces and emoji can be in one."""
    if any(map(_ends_text, name)):
        return "holds a control character"
    return None if name.strip() else "is blank"


def controls(character: str) -> bool:
    """Whether a character does something instead of being shown: to a terminal, or to the order of what follows it."""
    return _ends_text(character) or character in _BIDIRECTIONAL


def _ends_text(character: str) -> bool:
    return unicodedata.category(character) in _CONTROLS


def index_to_name(spec: ModelSpec) -> Dict[str, str]:
    """The network's own labels, as torchvision counts them: 0 is the background."""
    return {"0": "__background__", **{str(index): name for index, name in enumerate(spec.class_names, start=1)}}


def _open_folder(folder: Path) -> Bundle:
    if (folder / CHECKSUMS).is_file():
        return _open_unpacked(folder)
    for name in (SPEC, RUN_SPEC):
        if (folder / name).is_file():
            spec = ModelSpec.load(folder / name)
            members = {file.name: "" for file in folder.iterdir() if file.is_file()}
            return Bundle(spec, os.fspath(folder), members, lambda member: _read(folder / member))
    command = f"boxwright train --resume {shlex.quote(str(folder))}"
    if (folder / "checkpoints" / "best.ckpt").is_file():
        raise ArchiveError(f"{folder}: a run that could not write its end.", f"To write it: {command}")
    if (folder / "config.yaml").is_file():
        raise ArchiveError(f"{folder}: a run without a model: its first epoch never ended.", f"To train it: {command}")
    inside = sorted(one for one in folder.iterdir() if one.suffix == ".mar" or os.path.isfile(one / RUN_SPEC))
    names = ", ".join(os.fspath(one) for one in inside[:5])
    remedy = f"Give one of those in it: {names}." if inside else "Give a folder that boxwright train made."
    raise ArchiveError(f"{folder}: holds neither {RUN_SPEC} (a run) nor {SPEC} (an unpacked archive).", remedy)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArchiveError(f"{path}: cannot be read: {error.strerror}.", "Put it there, readable.") from error


def _open_unpacked(folder: Path) -> Bundle:
    source = os.fspath(folder)
    listed = _checksums(_read(folder / CHECKSUMS), source)
    for name in listed:
        if not (folder / name).is_file():
            raise ArchiveError(f"{source}: holds no {name}.", "Unpack the archive again.")
    kept = _verified(listed, lambda name: _file_chunks(folder / name), source)
    return _bundle(kept, listed, source, lambda member: _read(folder / member))


def _file_chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from iter(lambda: file.read(_CHUNK), b"")


def _open_archive(path: Path) -> Bundle:
    source = os.fspath(path)
    with open_zip(path) as archive:
        _require_ours(archive, source)
        listed = _checksums(archive.read(CHECKSUMS, _MAX_DOCUMENT), source)
        for name in sorted({CHECKSUMS, *listed} ^ set(archive.entries)):
            fault = "is not listed in" if name in archive.entries else "is missing, but listed in"
            raise ArchiveError(f"{source}: member {name!r} {fault} {CHECKSUMS}.", "The archive was altered.")
        kept = _verified(listed, archive.chunks, source)
    return _bundle(kept, listed, source, lambda member: _fetch(path, member))


def _fetch(path: Path, member: str) -> bytes:
    with open_zip(path) as archive:
        if member not in archive.entries:
            raise ArchiveError(f"{path}: holds no {member}.", "It was altered.")
        return archive.read(member)


def _require_ours(archive: StrictZip, source: str) -> None:
    for name in (SPEC, CHECKSUMS):
        if name not in archive.entries:
            remedy = "Write one with boxwright archive; boxwright adopt takes those of torch-model-archiver."
            raise ArchiveError(f"{source}: not an archive of boxwright: there is no {name}.", remedy)


def _verified(listed: Mapping[str, str], chunks: Callable[[str], Iterable[bytes]], source: str) -> Dict[str, BytesIO]:
    """Hash all members; keep the bytes of those that are always read."""
    kept: Dict[str, BytesIO] = {}
    for name in _DOCUMENTS:
        _require_listed(name, listed, source)
    for name, expected in listed.items():
        digest = hashlib.sha256()
        content = kept.setdefault(name, BytesIO()) if name in (*_DOCUMENTS, WEIGHTS, CARD) else None
        for piece in chunks(name):
            digest.update(piece)
            if content is not None:
                content.write(piece)
                _require_reasonable(name, content.tell(), source)
        if digest.hexdigest() != expected:
            raise ArchiveError(f"{source}: member {name!r} does not match its SHA-256.", "The archive was altered.")
    return kept


def _require_listed(name: str, listed: Mapping[str, str], source: str) -> None:
    if name not in listed:
        raise ArchiveError(f"{source}: {name} is missing from {CHECKSUMS}.", "Write the archive again.")


def _require_reasonable(name: str, size: int, source: str) -> None:
    most = {**dict.fromkeys(_DOCUMENTS, _MAX_DOCUMENT), CARD: _MAX_CARD}.get(name)
    if most is not None and size > most:
        raise ArchiveError(f"{source}: {name} is larger than {most:,} bytes.", "Do not use it.")


def _bundle(
    kept: Mapping[str, BytesIO], listed: Mapping[str, str], source: str, fetch: Callable[[str], bytes]
) -> Bundle:
    documents = {name: kept[name].getvalue() for name in _DOCUMENTS}
    spec = ModelSpec.from_json(documents[SPEC], f"{source}: {SPEC}")
    _require_agreement(spec, documents, source)
    model = _model_of_manifest(documents[MANIFEST], source)
    _require_listed(model["serializedFile"], listed, source)
    if WEIGHTS in kept:
        refuse_code(kept[WEIGHTS], source)
    if CARD in kept:
        _card_text(kept[CARD].getvalue(), source)
    return Bundle(spec, source, listed, fetch, str(model["modelVersion"]))


def _card_text(content: bytes, source: str) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ArchiveError(f"{source}: {CARD} is not UTF-8.", "Write the archive again.") from error


def _require_agreement(spec: ModelSpec, documents: Mapping[str, bytes], source: str) -> None:
    """Raise unless manifest, specification and class map describe the same model."""
    model = _model_of_manifest(documents[MANIFEST], source)
    if model.get("modelName") != spec.name or model.get("serializedFile") not in (WEIGHTS, GRAPH):
        raise ArchiveError(f"{source}: {MANIFEST} and {SPEC} name different models.", "The archive was altered.")
    for what, text in (("name", spec.name), ("version", model.get("modelVersion"))):
        if not isinstance(text, str) or not NAME_PATTERN.fullmatch(text):
            raise ArchiveError(f"{source}: the model's {what} {text!r} cannot stand in a URL.", "Write it again.")
    fault = class_names_fault(spec.class_names)
    if fault:
        raise ArchiveError(f"{source}: {fault}.", "Do not use it.")
    if parse_json(documents[INDEX_TO_NAME], f"{source}: {INDEX_TO_NAME}") != index_to_name(spec):
        raise ArchiveError(f"{source}: {INDEX_TO_NAME} and {SPEC} name different classes.", "The archive was altered.")


def _model_of_manifest(text: bytes, source: str) -> Mapping[str, Any]:
    manifest = parse_json(text, f"{source}: {MANIFEST}")
    model = manifest.get("model") if isinstance(manifest, dict) else None
    if not isinstance(model, dict):
        raise ArchiveError(f"{source}: {MANIFEST} is malformed.", "Write the archive again.")
    return model


def _checksums(text: bytes, source: str) -> Dict[str, str]:
    """Parse the ``sha256sum`` format: hex digest, two spaces, name."""
    pairs = [line.split("  ", 1) for line in text.decode("utf-8", "replace").split("\n") if line]
    listed = {pair[-1]: pair[0] for pair in pairs}
    sound = all(_DIGEST.fullmatch(digest) and not name_fault(name) for name, digest in listed.items())
    if not sound or len(listed) != len(pairs) or CHECKSUMS in listed:
        raise ArchiveError(f"{source}: {CHECKSUMS} is malformed.", "Write the archive again.")
    return listed
