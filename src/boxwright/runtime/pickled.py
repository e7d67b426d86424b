"""Looks into a file of ``torch.save`` without loading it, and without torch."""

from __future__ import annotations

import re
import zipfile
from typing import BinaryIO, Iterator, Optional

from .errors import ArchiveError

__all__ = ["refuse_code"]

_ZIP = b"PK\x03\x04"
_MAX_PICKLE = 4 * 1024**2
_MAKES_TENSORS = re.compile(
    r"collections OrderedDict"
    r"|torch\._utils _rebuild_(tensor_v2|parameter)"
    r"|torch \w+Storage|torch\.storage (Untyped|Typed)Storage"
    r"|torch (Size|device|b?float\w*|u?int\w+|bool|half|long)"
)
# Opcodes that name what a pickle calls, except GLOBAL, the only one that torch.save writes.
_OTHER_NAMES = frozenset({"STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"})


def refuse_code(weights: BinaryIO, source: str) -> None:
    """Refuse weights that would need more than tensors and dictionaries to be loaded.

    Loading them stays restricted (``weights_only=True``); this is for tools that are less careful, and for servers
    that run another member and would never notice.

    Args:
        weights: the file.
        source: its name, for errors.

    Raises:
        ArchiveError: they name a function or class that does not make tensors, are not a file of ``torch.save``, or
            only a part of one.
    """
    try:
        asked = next(_foreign_names(weights), None)
    except zipfile.BadZipFile as error:  # it begins as one
        raise ArchiveError(
            f"{source}: the weights are cut short or damaged: {error}.", "Copy the whole file again, or train again."
        ) from error
    except Exception as error:  # zipfile and pickletools raise whatever they run into
        raise _refused(source) from error
    if asked is not None:
        raise _refused(source, asked)


def _refused(source: str, asked: Optional[str] = None) -> ArchiveError:
    culprit = "" if asked is None else f": they ask for {asked!r}"
    return ArchiveError(
        f"{source}: the weights are not a plain state dict{culprit}.",
        "Files that need code to be loaded are refused.",
    )


def _foreign_names(weights: BinaryIO) -> Iterator[str]:
    import pickletools

    weights.seek(0)
    if weights.read(len(_ZIP)) != _ZIP:  # torch.load would take it for its older format, whatever follows
        raise ValueError("not a zip file")
    with zipfile.ZipFile(weights) as file:
        entries = file.infolist()
        (pickle,) = [entry for entry in entries if entry.filename.lower().endswith("data.pkl")]
        if pickle.filename != f"{entries[0].filename.split('/')[0]}/data.pkl":
            raise ValueError("another data.pkl than PyTorch reads")
        with file.open(pickle) as opened:
            content = opened.read(_MAX_PICKLE)
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name in _OTHER_NAMES:
            yield opcode.name
        elif opcode.name == "GLOBAL" and not _MAKES_TENSORS.fullmatch(str(argument)):
            yield str(argument)
