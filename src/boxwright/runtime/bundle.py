"""Opens a trained model wherever it lies: a run folder, an archive, or an archive unpacked by TorchServe."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import zipfile
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Callable, Dict, Mapping, Union

from .errors import ArchiveError
from .spec import ModelSpec

__all__ = [
    "CHECKSUMS",
    "MANIFEST",
    "MAX_ARCHIVE_BYTES",
    "RUN_SPEC",
    "SPEC",
    "WEIGHTS",
    "Bundle",
    "open_bundle",
]

SPEC = "boxwright.json"
RUN_SPEC = "spec.json"
WEIGHTS = "model_state_dict.pth"
MANIFEST = "MAR-INF/MANIFEST.json"
CHECKSUMS = "MAR-INF/SHA256SUMS"

MAX_ARCHIVE_BYTES = 4 * 1024**3
"""Largest accepted sum of the unpacked sizes that an archive's directory announces."""

_VERIFIED = (SPEC, WEIGHTS, MANIFEST)
_MAX_RATIO = 1000
_MAX_MEMBERS = 1000


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
        """The bytes of a ``torch.save``d state dict, read with ``weights_only=True``."""
        return self.read(WEIGHTS)


def open_bundle(path: Union[str, os.PathLike[str]]) -> Bundle:
    """Read a model from a run folder, a ``.mar`` archive, or an unpacked archive.

    An archive's members are checked (names, sizes, links, SHA-256) before anything is used, and
    nothing is written to disk.

    Raises:
        ArchiveError: nothing there, not a model, unsafe, truncated or altered.
    """
    place = Path(path)
    if place.is_dir():
        return _open_folder(place)
    if place.is_file():
        return _open_archive(place)
    raise ArchiveError(f"{place}: no such file or folder.", "Give a run folder or a .mar archive.")


def _open_folder(folder: Path) -> Bundle:
    for name in (SPEC, RUN_SPEC):
        if (folder / name).is_file():
            spec = ModelSpec.load(folder / name)
            members = {file.name: "" for file in folder.iterdir() if file.is_file()}
            return Bundle(spec, os.fspath(folder), members, lambda member: _read(folder / member))
    raise ArchiveError(
        f"{folder}: holds neither {RUN_SPEC} (a run) nor {SPEC} (an unpacked archive).",
        "A run folder gets its spec.json when its first epoch has been validated.",
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArchiveError(f"{path}: cannot be read: {error.strerror}.") from error


def _open_archive(path: Path) -> Bundle:
    try:
        with zipfile.ZipFile(path) as archive:
            _refuse_unsafe(archive, path)
            members = {name: archive.read(name) for name in (*_VERIFIED, CHECKSUMS)}
    except KeyError as error:
        raise ArchiveError(
            f"{path}: not an archive of boxwright: {error.args[0]}.", "Write one with boxwright archive."
        ) from error
    except ArchiveError:
        raise
    except Exception as error:  # zipfile and the decompressors raise whatever they run into
        raise ArchiveError(f"{path}: not a readable archive: {error}.", "Write it again.") from error
    expected = _checksums(members[CHECKSUMS], path)
    for name in _VERIFIED:
        if hashlib.sha256(members[name]).hexdigest() != expected.get(name):
            raise ArchiveError(f"{path}: member {name!r} does not match its SHA-256.", "The archive was altered.")
    spec = ModelSpec.from_json(members[SPEC], f"{path}: {SPEC}")
    version = _version(members[MANIFEST], path)
    return Bundle(spec, os.fspath(path), expected, lambda member: _fetch(path, member), version)


def _fetch(path: Path, member: str) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(member)
    except Exception as error:  # zipfile and the decompressors raise whatever they run into
        raise ArchiveError(f"{path}: member {member!r} cannot be read: {error}.", "Write it again.") from error


def _version(manifest: bytes, path: Path) -> str:
    try:
        return str(json.loads(manifest)["model"]["modelVersion"])
    except (ValueError, KeyError, TypeError) as error:
        raise ArchiveError(f"{path}: {MANIFEST} is malformed.", "Write the archive again.") from error


def _refuse_unsafe(archive: zipfile.ZipFile, path: Path) -> None:
    members = archive.infolist()
    names = [member.filename for member in members]
    if len(members) > _MAX_MEMBERS or len(set(names)) != len(names):
        raise ArchiveError(f"{path}: too many members, or one name twice.", "Do not use it.")
    if sum(member.file_size for member in members) > MAX_ARCHIVE_BYTES:
        raise ArchiveError(f"{path}: unpacks to more than {MAX_ARCHIVE_BYTES:,} bytes.", "Do not use it.")
    for member in members:
        parts = PurePosixPath(member.filename).parts
        leaves = member.filename.startswith("/") or "\\" in member.filename or ".." in parts
        link = stat.S_ISLNK(member.external_attr >> 16)
        bomb = member.file_size > _MAX_RATIO * max(member.compress_size, 1)
        if leaves or link or bomb:
            raise ArchiveError(f"{path}: member {member.filename!r} is unsafe.", "Do not use it.")


def _checksums(text: bytes, path: Path) -> Dict[str, str]:
    """Parse the ``sha256sum`` format: hex digest, two spaces, name."""
    pairs = [line.split("  ", 1) for line in text.decode("utf-8", "replace").splitlines()]
    if any(len(pair) != 2 for pair in pairs):
        raise ArchiveError(f"{path}: {CHECKSUMS} is malformed.", "Write the archive again.")
    return {name: digest for digest, name in pairs}
