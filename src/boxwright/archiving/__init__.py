"""Runs become archives; reading them is runtime's."""

from .writer import RUNTIME_COPY, archive, write_archive

__all__ = ["RUNTIME_COPY", "archive", "write_archive"]
