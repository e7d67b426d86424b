"""A folder of annotated pictures becomes checked, typed records."""

from .checks import Inspection, inspect_folder, require_data_folder
from .coco import DataFolder, PictureRecord, Split, folder_of, read_folder, read_split
from .contract import class_contract
from .demo import draw_demo_data
from .documents import ANNOTATIONS, SPLITS
from .findings import CODES, Finding
from .fingerprint import fingerprint

__all__ = [
    "ANNOTATIONS",
    "CODES",
    "SPLITS",
    "DataFolder",
    "Finding",
    "Inspection",
    "PictureRecord",
    "Split",
    "class_contract",
    "draw_demo_data",
    "fingerprint",
    "folder_of",
    "inspect_folder",
    "read_folder",
    "read_split",
    "require_data_folder",
]
