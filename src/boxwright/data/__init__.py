"""A folder of annotated pictures becomes checked, typed records."""

from .checks import Inspection, check, inspect_folder, require_data_folder
from .conversion import Conversion, convert
from .demo import draw_demo_data
from .documents import ANNOTATIONS, SPLITS
from .findings import CODES, Finding
from .records import DataFolder, PictureRecord, Split, fingerprint, folder_of, read_folder, read_split
from .repair import repair
from .truth import Truth, read_truth

__all__ = [
    "ANNOTATIONS",
    "CODES",
    "SPLITS",
    "Conversion",
    "DataFolder",
    "Finding",
    "Inspection",
    "PictureRecord",
    "Split",
    "Truth",
    "check",
    "convert",
    "draw_demo_data",
    "fingerprint",
    "folder_of",
    "inspect_folder",
    "read_folder",
    "read_split",
    "read_truth",
    "repair",
    "require_data_folder",
]
