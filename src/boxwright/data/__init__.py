"""A folder of annotated pictures becomes checked, typed records."""

from .coco import ANNOTATIONS, SPLITS, DataFolder, PictureRecord, Split, read_folder, read_split
from .contract import check_categories, class_contract
from .demo import draw_demo_data
from .fingerprint import fingerprint

__all__ = [
    "ANNOTATIONS",
    "SPLITS",
    "DataFolder",
    "PictureRecord",
    "Split",
    "check_categories",
    "class_contract",
    "draw_demo_data",
    "fingerprint",
    "read_folder",
    "read_split",
]
