"""Runs, and archives made by hand, become archives; reading them is runtime's."""

from .adoption import Adoption, adopt
from .contents import ArchiveContents, Member, inspect_archive
from .writer import RUNTIME_COPY, write_archive

__all__ = [
    "RUNTIME_COPY",
    "Adoption",
    "ArchiveContents",
    "Member",
    "adopt",
    "inspect_archive",
    "write_archive",
]
