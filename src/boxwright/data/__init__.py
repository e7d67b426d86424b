"""A folder of annotated pictures becomes checked, typed records."""

from typing import TYPE_CHECKING, Any

from .checks import Inspection, check, inspect_folder, require_data_folder
from .demo import draw_demo_data
from .documents import ANNOTATIONS, SPLITS, split_named
from .findings import CODES, Finding
from .records import DataFolder, PictureRecord, Split, fingerprint, folder_of, read_folder, read_split
from .repair import repair
from .stored import local_data
from .truth import Truth, read_truth

if TYPE_CHECKING:
    from .conversion import Conversion as Conversion
    from .conversion import convert as convert

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
    "local_data",
    "read_folder",
    "read_split",
    "read_truth",
    "repair",
    "require_data_folder",
    "split_named",
]


def __getattr__(name: str) -> Any:
    """What only ``convert`` needs is imported when it is asked for: the readers of all formats take a while."""
    if name in ("Conversion", "convert"):
        from . import conversion

        return getattr(conversion, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
