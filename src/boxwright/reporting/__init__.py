"""Pages for people: self-contained HTML files that need no network."""

from .check_page import write_check_page
from .comparison_page import ComparedRun, write_comparison_page
from .report_page import write_report

__all__ = ["ComparedRun", "write_check_page", "write_comparison_page", "write_report"]
