"""Pages for people: self-contained HTML files that need no network."""

from .check_page import write_check_page
from .comparison_page import ComparedRun, report_comparison, write_comparison_page
from .report_page import Report, write_report
from .run_report import choose_threshold, missing_pictures, report_evaluation, report_run

__all__ = [
    "ComparedRun",
    "Report",
    "choose_threshold",
    "missing_pictures",
    "report_comparison",
    "report_evaluation",
    "report_run",
    "write_check_page",
    "write_comparison_page",
    "write_report",
]
