"""State dicts of networks built elsewhere, taken whole or not at all."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from boxwright.runtime import ModelError

from .weights import PREFIXES, unwrap_state

__all__ = ["labels_of_head", "load_whole", "read_state"]

# Where a detector scores its labels, and how often a place does.
_HEADS = {"roi_heads.box_predictor.cls_score.bias": 1, "head.classification_head.module_list.0.1.bias": 6}
_COUNTER = "num_batches_tracked"
_SCRIPT = ("constants.pkl", "/code/")


def read_state(content: bytes, source: str) -> dict[str, Tensor]:
    """The tensors by name of a ``torch.save``d file, without running code of it.

    Args:
        content: of the file.
        source: its name, for errors.

    Raises:
        ModelError: it is TorchScript, a pickled network, or holds no tensors by name.
    """
    remedy = "Load it where its code is and save the state dict alone: torch.save(model.state_dict(), path)."
    if _is_script(content):
        raise ModelError(f"{source} is TorchScript, a program.", remedy.replace("Load it", "torch.jit.load it"))
    try:
        document = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # the restricted unpickler raises whatever it runs into
        raise ModelError(f"{source} is no torch file, or a pickled network that needs its code.", remedy) from error
    state = unwrap_state(document) if isinstance(document, Mapping) else {}
    if not state:
        raise ModelError(f"{source} holds no tensors by name.", remedy)
    return state


def _is_script(content: bytes) -> bool:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            return any(mark in name for name in file.namelist() for mark in _SCRIPT)
    except Exception:  # zipfile raises whatever it runs into; then it is no zip that torch would read
        return False


def labels_of_head(state: Mapping[str, Tensor], source: str) -> int:
    """How many labels a detector tells apart, the background included.

    Raises:
        ModelError: there is no head of one of torchvision's detectors.
    """
    for head, times in _HEADS.items():
        sizes = [tensor.numel() for name, tensor in state.items() if name.endswith(head)]
        if len(sizes) == 1 and sizes[0] % times == 0 and sizes[0] > times:
            return sizes[0] // times
    raise ModelError(f"{source} has no {', and no '.join(_HEADS)}.", "It is no detector of torchvision's layout.")


def load_whole(network: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Set every tensor of a network, in place.

    Names may have one of the usual prefixes, or be those of torchvision before 0.13. Counters of BatchNorm may be
    missing: a frozen one has none.

    Raises:
        ModelError: a tensor is missing, left over, or of another shape.
    """
    own = network.state_dict()
    prefix = max(PREFIXES, key=lambda one: sum(one + name in state for name in own))
    renamed = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    reshaped = [
        f"{name} {list(tensor.shape)}, not {list(own[name].shape)}"
        for name, tensor in renamed.items()
        if name in own and tensor.shape != own[name].shape
    ]
    _refuse(reshaped, "of another shape", source)
    try:
        result = network.load_state_dict(renamed, strict=False)  # torchvision's layers rename what is old
    except RuntimeError as error:
        raise ModelError(f"{source}: {str(error).splitlines()[-1].strip()}", "Give the right --model.") from error
    _refuse((name for name in result.missing_keys if not name.endswith(_COUNTER)), "missing", source)
    _refuse(result.unexpected_keys, "not the network's", source)


def _refuse(names: Iterable[str], fault: str, source: str) -> None:
    culprits = list(names)
    if culprits:
        shown = "; ".join(culprits[:3]) + ("; …" if len(culprits) > 3 else "")
        raise ModelError(f"{source}: {len(culprits)} tensors are {fault}: {shown}.", "Give the right --model.")
