"""Export, archive, serve and check, in one step."""

from .archive import archive

__all__ = ["archive"]
