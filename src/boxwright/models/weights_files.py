"""Files of weights, ours and others', read as tensors by name; no code of a file is run."""

from __future__ import annotations

import io
import os
import re
import zipfile
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from boxwright.runtime import ArchiveError, ModelError, ModelSpec, open_bundle
from boxwright.runtime.bundle import RUN_SPEC

from .tensor_names import prefers
from .weights_named import weights_file_missing

__all__ = ["CHECKPOINT_KEY", "StateDict", "WeightsFile", "maker_of", "read_state", "read_weights", "spec_of"]

StateDict = dict[str, Tensor]

CHECKPOINT_KEY = "boxwright"
"""Key of a checkpoint of ours: the specification, and the figures and validation detections of its epoch."""

_SCRIPT = ("constants.pkl", "/code/")
_REMEDY = "Load it where its code is and save the state dict alone: torch.save(model.state_dict(), path)."
_NOT_WEIGHTS = "Give a file of weights, such as .safetensors or .pth, or a run folder."
_POINTER = b"version https://git-lfs"
_ZIP = b"PK\x03\x04"
_PICKLE = b"\x80"
_OLDER_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # what its format before 1.6 begins with, a pickle too
_BEGINNING = 4096
# parts of names that torch.compile, FSDP and activation checkpointing put in, wherever they wrap something
_WRAPPINGS = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}

# Whose checkpoints have such names, of tensors or of the code that they ask for.
_MAKERS = {
    "detectron2": r"backbone\.bottom_up\.|proposal_generator\.|detectron2\.",
    "MMDetection": r"(roi_head\.)?bbox_head\.\w|neck\.lateral_convs\.|rpn_head\.rpn_|mmengine\.|mmdet\.|mmcv\.",
    "Ultralytics": r"ultralytics\.|models\.yolo\.|model\.\d+\.(conv|cv\d|m)\.",
    "YOLOX": r"backbone\.backbone\.(stem|dark\d)\.",
    "RF-DETR": r"rfdetr\.|transformer\.enc_out_class_embed\.|backbone\.0\.encoder\.encoder\.",
    "RT-DETR or D-FINE, as their authors publish them": r"decoder\.(dec|enc)_score_head\.",
    "DETR": r"transformer\.encoder\.layers\.\d|class_embed\.",
    "Hugging Face transformers": r"model\.(backbone\.)?(conv_encoder|encoder_input_proj|decoder\.layers)\b",
}


@dataclass(frozen=True)
class WeightsFile:
    """What a file of weights holds.

    Attributes:
        tensors: by name; the names of nested mappings are joined with dots.
        spec: the specification in it, if it is a checkpoint or an archive of ours, or of the run that it lies in.
        code: names of the classes and functions that the file asks for; none was imported or called.
    """

    tensors: StateDict
    spec: ModelSpec | None = None
    code: tuple[str, ...] = ()


class _Inert:
    """Takes the place of whatever code a file asks for: it is made and filled, and does nothing."""

    def __new__(cls, *values: Any, **named: Any) -> _Inert:
        return super().__new__(cls)

    def __init__(self, *values: Any, **named: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def read_weights(path: Path) -> WeightsFile:
    """Read a file of weights.

    Args:
        path: of a .pth, .pt, .ckpt or .safetensors file, of an archive of ours, or of a run folder.

    Raises:
        ModelError: the file is missing or unreadable, or holds no tensors by name.
        ArchiveError: a folder or an archive that is not ours, or is broken.
    """
    source = f"Weights {os.fspath(path)!r}"
    if path.is_dir() or path.suffix == ".mar":
        bundle = open_bundle(path)
        return WeightsFile(read_state(bundle.weights, source), bundle.spec)
    if not path.is_file():
        raise weights_file_missing(path)
    try:
        _require_weights(path, source)
        document, code = (_safetensors(path, source), ()) if path.suffix == ".safetensors" else _torch(path, source)
    except OSError as error:
        raise ModelError(f"{source}: cannot be read: {error.strerror or error}.", "Make it readable.") from error
    spec = _recorded_spec(document, source)
    tensors = _tensors(document["state_dict"] if spec else document)  # ours: not the detections beside them
    if not tensors:
        raise _without_tensors(source, code)
    return WeightsFile(tensors, spec or _spec_beside(path), code)


def spec_of(path: Path) -> ModelSpec | None:
    """The specification that a file of weights holds or lies beside; None if there is none."""
    if path.is_dir() and not (path / RUN_SPEC).is_file():  # of transformers
        return None
    return read_weights(path).spec if path.exists() else _spec_beside(path)


def _spec_beside(path: Path) -> ModelSpec | None:
    for folder in (path.parent, path.parent.parent):  # of model_state_dict.pth and of checkpoints/best.ckpt
        if (folder / RUN_SPEC).is_file():
            return ModelSpec.load(folder / RUN_SPEC)
    return None


def maker_of(names: Iterable[str]) -> str | None:
    """Whose checkpoints have names as these, of tensors or of code; None if it is not known."""
    together = "\n".join(names)
    return next((maker for maker, sign in _MAKERS.items() if re.search(rf"(?m)^(?:.*\.)?(?:{sign})", together)), None)


def read_state(content: bytes, source: str) -> StateDict:
    """The tensors by name of a ``torch.save``d file that asks for no code.

    Where there are several mappings of tensors it is the largest; of equal ones an average of weights (``ema``).

    Args:
        content: of the file.
        source: its name, for errors.

    Raises:
        ModelError: it is TorchScript, a pickled network, or holds no tensors by name.
    """
    if _is_script(io.BytesIO(content)):
        raise _a_script(source)
    try:
        document = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # the restricted unpickler raises whatever it runs into
        raise ModelError(f"{source}: not a torch file, or a pickled network that needs its code.", _REMEDY) from error
    mappings = dict(_mappings(document))
    if not mappings:
        raise _without_tensors(source, ())
    return mappings[max(mappings, key=lambda place: (len(mappings[place]), prefers(place)))]


def _require_weights(path: Path, source: str) -> None:
    """Raise for files that are known at sight to be something else."""
    with path.open("rb") as file:
        beginning = file.read(_BEGINNING)
    if beginning.startswith(_POINTER):
        raise ModelError(f"{source}: a Git LFS pointer, not the file itself.", "Run: git lfs pull")
    if path.suffix != ".safetensors" and beginning and b"\0" not in beginning and beginning.isascii():
        raise ModelError(f"{source}: a text, no weights.", _NOT_WEIGHTS)
    is_pickle = beginning.startswith(_PICKLE) and not beginning.startswith(_OLDER_TORCH)
    if is_pickle and b"numpy" in beginning:
        raise ModelError(
            f"{source}: a pickle of numpy arrays, as detectron2's model zoo has.",
            "It belongs to an architecture of detectron2; give weights of the architecture that you train.",
        )
    if _is_script(path):
        raise _a_script(source)


def _a_script(source: str) -> ModelError:
    return ModelError(f"{source}: TorchScript, a program.", _REMEDY.replace("Load it", "torch.jit.load it"))


def _is_script(file: Path | io.BytesIO) -> bool:
    try:
        with zipfile.ZipFile(file) as opened:
            return any(mark in name for name in opened.namelist() for mark in _SCRIPT)
    except Exception:  # zipfile raises whatever it runs into; then it is not a zip that torch would read
        return False


def _safetensors(path: Path, source: str) -> StateDict:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise ModelError(f"{source} are not a safetensors file: {error}.", "Download or save them again.") from error


def _torch(path: Path, source: str) -> tuple[Any, tuple[str, ...]]:
    """What a file of ``torch.save`` holds, and the code that it asks for, which nothing is done with.

    Checkpoints of others hold arguments, schedulers and networks beside the tensors. Loading stays restricted
    (``weights_only=True``): every name that torch does not know as harmless means ``_Inert``.
    """
    with path.open("rb") as file:
        is_zip = file.read(len(_ZIP)) == _ZIP  # the older format can neither be mapped nor searched for names
    try:
        code = tuple(sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))) if is_zip else ()
        with torch.serialization.safe_globals([(_Inert, name) for name in code]):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip), code
    except Exception as error:  # the restricted unpickler raises whatever it runs into
        raise ModelError(f"{source}: not a torch file, or a pickled network that needs its code.", _REMEDY) from error


def _without_tensors(source: str, code: tuple[str, ...]) -> ModelError:
    if not code:
        return ModelError(f"{source}: no tensors by name.", _REMEDY)
    if all(name.startswith("numpy.") for name in code):
        remedy = "Save tensors: torch.save({name: torch.from_numpy(array) for name, array in arrays.items()}, path)."
        return ModelError(f"{source}: numpy arrays, no tensors by name.", remedy)
    maker = maker_of(code)
    whose = "" if maker is None else f" of {maker}"
    return ModelError(f"{source}: a pickled network{whose} that needs its code ({code[0]}).", _REMEDY)


def _recorded_spec(document: Any, source: str) -> ModelSpec | None:
    """The specification in a checkpoint of ours."""
    recorded = document.get(CHECKPOINT_KEY) if isinstance(document, dict) else None
    text = recorded.get("spec") if isinstance(recorded, dict) else None
    if not isinstance(text, str) or not isinstance(document.get("state_dict"), dict):
        return None
    try:
        return ModelSpec.from_json(text, source)
    except ArchiveError as error:
        raise ModelError(f"{source}: its specification cannot be read: {error.message}", error.remedy) from error


def _tensors(document: Any) -> StateDict:
    """All tensors by name, those of nested mappings with their place before it."""
    tensors: StateDict = {}
    for place, mapping in _mappings(document):
        for name, tensor in mapping.items():
            parts = f"{place}.{name}".split(".") if place else name.split(".")
            tensors.setdefault(".".join(part for part in parts if part not in _WRAPPINGS), tensor)
    return tensors


def _mappings(document: Any) -> Iterator[tuple[str, StateDict]]:
    """Every mapping that holds tensors by name, with its place: the keys that lead to it, joined with dots."""
    waiting: deque[tuple[str, Any]] = deque([("", document)])
    seen: set[int] = set()  # a file may hold a mapping that holds itself
    while waiting:
        place, node = waiting.popleft()
        if not isinstance(node, Mapping) or id(node) in seen:
            continue
        seen.add(id(node))
        named = {key: value for key, value in node.items() if isinstance(key, str)}
        tensors = {key: value.detach() for key, value in named.items() if _is_plain(value)}
        if tensors:
            yield place, tensors
        waiting.extend((f"{place}.{key}" if place else key, value) for key, value in named.items())


def _is_plain(value: Any) -> bool:
    is_tensor = isinstance(value, Tensor) and value.layout == torch.strided
    return is_tensor and not value.is_meta and not value.is_quantized
