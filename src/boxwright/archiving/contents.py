"""What an archive holds, for people and programs that want to know before they use it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boxwright.host.places import in_command
from boxwright.inputs.stores import local_place
from boxwright.runtime import ArchiveError, ModelSpec, open_bundle
from boxwright.runtime.bundle import CHECKSUMS
from boxwright.runtime.strict_zip import open_zip

__all__ = ["ArchiveContents", "Member", "inspect_archive"]


@dataclass(frozen=True)
class Member:
    """One file of an archive.

    Attributes:
        name: its path inside.
        size: unpacked, bytes.
        sha256: of its bytes, hex.
    """

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class ArchiveContents:
    """An archive that was verified.

    Attributes:
        path: of the archive.
        size: of the file, bytes.
        version: of the model.
        spec: what the model is: classes, canvas, operating point, figures, proofs, provenance.
        members: by name; without the list of their hashes, which cannot hold its own.
        card: text of the model card; None in archives of older versions.
    """

    path: Path
    size: int
    version: str
    spec: ModelSpec
    members: tuple[Member, ...]
    card: str | None = None

    def to_document(self) -> dict[str, Any]:
        """All of it as JSON: ``archive``, ``size``, ``version``, ``spec``, ``members``, ``card``."""
        return {
            "archive": str(self.path),
            "size": self.size,
            "version": self.version,
            "spec": json.loads(self.spec.to_json()),
            "members": [vars(member) for member in self.members],
            "card": self.card,
        }


def inspect_archive(path: str | Path) -> ArchiveContents:
    """Verify an archive and say what it holds; nothing of it is executed, nothing is written.

    Args:
        path: a ``.mar`` of ours, or a URL of it.

    Raises:
        ArchiveError: it cannot be read, is unsafe, altered or truncated; see ``boxwright.runtime.open_bundle``.
    """
    place = local_place(path)
    if place.is_dir():
        raise ArchiveError(
            f"{place}: a folder.", f"Give a .mar archive; of a run: boxwright archive {in_command(place)}"
        )
    bundle = open_bundle(place)
    with open_zip(place) as archive:
        sizes = {name: entry.size for name, entry in archive.entries.items()}
    members = tuple(Member(name, sizes[name], digest) for name, digest in sorted(bundle.members.items()))
    assert CHECKSUMS not in bundle.members, "it cannot hold its own hash"
    return ArchiveContents(place, place.stat().st_size, bundle.version, bundle.spec, members, bundle.card)
