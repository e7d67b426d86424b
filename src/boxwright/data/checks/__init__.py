"""The data check: reads every split, opens every picture, and reports everything at once."""

from .inspection import Inspection, check, inspect_folder, require_data_folder

__all__ = ["Inspection", "check", "inspect_folder", "require_data_folder"]
