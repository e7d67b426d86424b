"""Runs, and archives made by hand, become archives; reading them is runtime's."""

from .adoption import Adoption, adopt
from .card import CardFacts, Failure, model_card
from .contents import ArchiveContents, Member, inspect_archive
from .writer import RUNTIME_COPY, write_archive

__all__ = [
    "RUNTIME_COPY",
    "Adoption",
    "ArchiveContents",
    "CardFacts",
    "Failure",
    "Member",
    "adopt",
    "inspect_archive",
    "model_card",
    "write_archive",
]
