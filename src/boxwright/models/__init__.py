"""One protocol over many architectures. ``catalogue`` is free of torch; the rest is not."""

from .catalogue import CATALOGUE, Architecture, find_architecture

__all__ = ["CATALOGUE", "Architecture", "find_architecture"]
