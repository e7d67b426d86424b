"""Architectures and their families. ``catalogue`` and the families do not import torch before it is needed."""

from .catalogue import CATALOGUE, find_architecture, find_family, require_family
from .family import Architecture, Family
from .weights_named import require_weights_exist

__all__ = [
    "CATALOGUE",
    "Architecture",
    "Family",
    "find_architecture",
    "find_family",
    "require_family",
    "require_weights_exist",
]
