"""The data check: every split read, every picture opened, everything found reported at once."""

from .inspection import Inspection, check, inspect_folder, require_data_folder

__all__ = ["Inspection", "check", "inspect_folder", "require_data_folder"]
