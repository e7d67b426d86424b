"""Pages for people: self-contained HTML files that need no network."""

from .check_page import write_check_page

__all__ = ["write_check_page"]
