"""Moved to ``run``; kept until no room imports it from here."""

from .run import find_data

__all__ = ["find_data"]
