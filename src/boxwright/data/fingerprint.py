"""Tells whether two data folders hold the same data."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from .coco import DataFolder
from .documents import ANNOTATIONS, SPLITS

__all__ = ["fingerprint"]


def fingerprint(folder: DataFolder, splits: Sequence[str] = SPLITS) -> str:
    """SHA-256 (hex) over each split's annotation file and every picture's name and size in bytes.

    Pictures are not read: a picture replaced by another of the same size goes unseen.

    Args:
        folder: checked records.
        splits: that count, those that exist.
    """
    digest = hashlib.sha256()
    for name, split in folder.splits.items():
        if name not in splits:
            continue
        digest.update(name.encode() + (folder.root / name / ANNOTATIONS).read_bytes())
        for record in split.pictures:
            digest.update(f"{_relative(record.path, folder.root)}\0{record.path.stat().st_size}\n".encode())
    return digest.hexdigest()


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()
