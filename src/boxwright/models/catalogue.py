"""Every architecture boxwright offers, and its family; nothing here imports torch."""

from __future__ import annotations

import difflib

from boxwright.host.dependencies import require_packages
from boxwright.runtime import ModelError

from .family import Architecture, Family
from .single_stage import SingleStage
from .transformers_detectors import DeimV2, DFine, RfDetr, RtDetrV2
from .two_stage import TwoStage

__all__ = ["CATALOGUE", "FAMILIES", "find_architecture", "find_family", "require_family"]

FAMILIES: tuple[Family, ...] = (TwoStage(), SingleStage(), RtDetrV2(), DFine(), DeimV2(), RfDetr())

CATALOGUE: dict[str, Architecture] = {row.name: row for family in FAMILIES for row in family.rows}
"""Architectures by name."""


def find_architecture(name: str) -> Architecture:
    """The row of an architecture.

    Raises:
        ModelError: unknown; the nearest known name is given.
    """
    if name in CATALOGUE:
        return CATALOGUE[name]
    close = difflib.get_close_matches(name, CATALOGUE, n=1, cutoff=0.4)
    hint = f"Did you mean {close[0]!r}?" if close else "boxwright models lists all; without a model, one is chosen."
    raise ModelError(f"Model {name!r} is unknown.", hint)


def find_family(name: str) -> Family:
    """The family of an architecture.

    Raises:
        ModelError: see ``find_architecture``.
    """
    row = find_architecture(name)
    return next(family for family in FAMILIES if row in family.rows)


def require_family(name: str) -> None:
    """Raise unless what an architecture's networks are built from is installed; nothing of it is imported.

    Raises:
        ModelError: see ``find_architecture``.
        MissingDependency: it is not.
    """
    family = find_family(name)
    require_packages(family.packages, family.extra)
