"""Weights from elsewhere: to start a training from, or taken whole or not at all."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from boxwright.runtime import ModelError, ModelSpec
from boxwright.runtime.bundle import RUN_SPEC

from .catalogue import find_architecture, find_family
from .family import Family

__all__ = [
    "LoadedWeights",
    "fetch_hub_weights",
    "hub_file_name",
    "load_weights",
    "load_whole",
    "network_options",
    "read_state",
    "weights_licence",
]

StateDict = dict[str, Tensor]

_WRAPPERS = ("state_dict", "model", "model_state_dict")
_PREFIXES = ("", "model.", "network.", "module.")  # what others put before the names of a network's tensors
_UNKNOWN_LICENCE = "not known: a file of your own"
_COUNTER = "num_batches_tracked"
_SCRIPT = ("constants.pkl", "/code/")
_REMEDY = "Load it where its code is and save the state dict alone: torch.save(model.state_dict(), path)."


@dataclass(frozen=True)
class LoadedWeights:
    """What loading did.

    Attributes:
        source: file or enum member.
        matched: tensors of the network that were set.
        left: tensors of the network that kept their initial values.
        unused: tensors of the file that no tensor of the network took.
        reshaped: tensors of the same name but another shape, not used; the class-dependent heads as a rule.
    """

    source: str
    matched: tuple[str, ...]
    left: tuple[str, ...]
    unused: tuple[str, ...]
    reshaped: tuple[str, ...]

    def summary(self) -> str:
        """One sentence for a person."""
        parts = [f"{len(self.matched)} tensors from {self.source}"]
        for text, names in (
            ("new", self.left),
            ("in the file but unused", self.unused),
            ("of another shape", self.reshaped),
        ):
            if names:
                parts.append(f"{len(names)} {text} ({_few(names)})")
        return "; ".join(parts)


def _few(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown}, …"


def load_weights(network: nn.Module, weights: str, architecture: str) -> LoadedWeights | None:
    """Set a network's starting weights, in place.

    Args:
        network: of ``build_network``.
        weights: ``none``, ``imagenet``, ``coco``, or the path of a .pth, .pt, .safetensors or .ckpt
            file of the whole detector or of its backbone.
        architecture: catalogue key.

    Returns:
        What was matched; None for ``none``.

    Raises:
        ModelError: the file is missing, unreadable, needs code to be loaded, or matches nothing.
    """
    if weights == "none":
        return None
    hub = weights in ("imagenet", "coco")
    source, file = fetch_hub_weights(weights, architecture) if hub else (weights, Path(weights))
    return _match(network, _file_state(file), source, find_family(architecture))


def network_options(weights: str, architecture: str) -> dict[str, Any]:
    """Options the network must be built with for these weights to mean what they meant.

    Args:
        weights: see ``load_weights``; of a run's file the options are those of its ``spec.json``.
        architecture: catalogue key.

    Returns:
        ``ModelSpec.network``.
    """
    row = find_architecture(architecture)
    if weights in ("none", "auto"):
        return {}
    if weights == "imagenet":
        return {"norm_eps": row.backbone_norm_eps}
    if weights == "coco":
        return {"norm_eps": row.coco_norm_eps}
    return _options_of_file(Path(weights), architecture)


def weights_licence(weights: str, architecture: str) -> str:
    """Under which terms starting weights come, in a few words.

    Args:
        weights: see ``load_weights``; of a run's file what its ``spec.json`` says.
        architecture: catalogue key.
    """
    licences = {"none": "trained from scratch", **find_family(architecture).licences}
    if weights in licences:
        return licences[weights]
    spec = _spec_beside(Path(weights))
    return _UNKNOWN_LICENCE if spec is None else str(spec.provenance.get("weights_licence", _UNKNOWN_LICENCE))


def _spec_beside(path: Path) -> ModelSpec | None:
    """The specification of the run that a file of weights lies in."""
    for folder in (path.parent, path.parent.parent):  # of model_state_dict.pth and of checkpoints/best.ckpt
        if (folder / RUN_SPEC).is_file():
            return ModelSpec.load(folder / RUN_SPEC)
    return None


def _options_of_file(path: Path, architecture: str) -> dict[str, Any]:
    spec = _spec_beside(path)
    if spec is not None:
        return dict(spec.network) if spec.architecture == architecture else {}
    for weights in ("imagenet", "coco"):
        if path.name == hub_file_name(weights, architecture):
            return network_options(weights, architecture)
    return {}


def hub_file_name(weights: str, architecture: str) -> str | None:
    """File name of ``imagenet`` or ``coco`` weights; None if the architecture has none."""
    name = _hub_name(weights, architecture)
    return None if name is None else find_family(architecture).weights_url(name).rsplit("/", 1)[-1]


def _hub_name(weights: str, architecture: str) -> str | None:
    row = find_architecture(architecture)
    return row.coco_weights if weights == "coco" else row.backbone_weights


def fetch_hub_weights(weights: str, architecture: str) -> tuple[str, Path]:
    """Make sure that ``imagenet`` or ``coco`` weights are on disk, where torch.hub keeps them.

    Args:
        weights: ``imagenet`` or ``coco``.
        architecture: catalogue key.

    Returns:
        Name of the weights, and the file.

    Raises:
        ModelError: this architecture has none, or they are not here and cannot be downloaded; the
            file and the folder to put it into are named.
    """
    name = _hub_name(weights, architecture)
    if name is None:
        raise ModelError(f"There are no {weights!r} weights for {architecture!r}.", "Use --weights none, or a file.")
    url = find_family(architecture).weights_url(name)
    file = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    if not file.is_file():
        _download(url, file)
    return name, file


def _download(url: str, file: Path) -> None:
    hash_prefix = file.stem.rsplit("-", 1)[-1]  # see Family.weights_url
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, os.fspath(file), hash_prefix)
    except Exception as error:  # URL, socket, TLS, disk and hash errors share no base
        raise ModelError(
            f"Weights {file.name!r} are not here and could not be downloaded: {error}.",
            f"Fetch {url} where there is a network and put it into {file.parent}, or give --weights none or a file.",
        ) from error


def _file_state(path: Path) -> StateDict:
    shown = f"Weights {os.fspath(path)!r}"
    if not path.is_file():
        raise ModelError(f"{shown}: the file does not exist.", "Give none, imagenet, coco, or the path of a file.")
    return _safetensors_state(path, shown) if path.suffix == ".safetensors" else read_state(path.read_bytes(), shown)


def _safetensors_state(path: Path, source: str) -> StateDict:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return _unwrapped(load_file(path), source)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{source} are not a safetensors file: {error}.") from error


def read_state(content: bytes, source: str) -> StateDict:
    """The tensors by name of a ``torch.save``d file, without running code of it.

    Args:
        content: of the file.
        source: its name, for errors.

    Raises:
        ModelError: it is TorchScript, a pickled network, or holds no tensors by name.
    """
    if _is_script(content):
        raise ModelError(f"{source}: TorchScript, a program.", _REMEDY.replace("Load it", "torch.jit.load it"))
    try:
        document = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # the restricted unpickler raises whatever it runs into
        raise ModelError(f"{source}: not a torch file, or a pickled network that needs its code.", _REMEDY) from error
    return _unwrapped(document, source)


def _is_script(content: bytes) -> bool:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            return any(mark in name for name in file.namelist() for mark in _SCRIPT)
    except Exception:  # zipfile raises whatever it runs into; then it is not a zip that torch would read
        return False


def _unwrapped(document: Any, source: str) -> StateDict:
    """The tensors by name of a file's content, out of what it may be wrapped in."""
    document = document if isinstance(document, Mapping) else {}
    document = next((document[one] for one in _WRAPPERS if isinstance(document.get(one), Mapping)), document)
    state = {key: value for key, value in document.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if not state:
        raise ModelError(f"{source}: no tensors by name.", _REMEDY)
    return state


def load_whole(network: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Set every tensor of a network, in place.

    Names may have one of the usual prefixes, or be those of torchvision before 0.13. Counters of BatchNorm may be
    missing: a frozen one has none.

    Raises:
        ModelError: a tensor is missing, left over, or of another shape.
    """
    own = network.state_dict()
    prefix = max(_PREFIXES, key=lambda one: sum(one + name in state for name in own))
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


def _match(network: nn.Module, state: StateDict, source: str, family: Family) -> LoadedWeights:
    own = network.state_dict()
    # a file of a whole detector, or of a backbone alone
    rules = (str, family.name_in_detector)
    renamed = max((_renamed(state, own, prefix, rule) for prefix in _PREFIXES for rule in rules), key=len)
    fitting = {ours: theirs for ours, theirs in renamed.items() if own[ours].shape == state[theirs].shape}
    if not any(own[ours].is_floating_point() for ours in fitting):
        raise ModelError(
            f"Weights {source!r} match nothing: the file has {_few(tuple(state))}; the network {_few(tuple(own))}.",
            "They belong to another architecture.",
        )
    values = {ours: state[theirs].to(own[ours].dtype) for ours, theirs in fitting.items()}
    network.load_state_dict(values, strict=False)
    counters = {key for key in own if key.endswith(_COUNTER)}
    return LoadedWeights(
        source=source,
        matched=tuple(sorted(set(fitting) - counters)),
        left=tuple(sorted(set(own) - set(fitting) - set(renamed) - counters)),
        unused=tuple(sorted(set(state) - set(renamed.values()))),
        reshaped=tuple(sorted(set(renamed) - set(fitting))),
    )


def _renamed(state: StateDict, own: Mapping[str, Tensor], prefix: str, rule: Callable[[str], str]) -> dict[str, str]:
    """Names of ours to names of theirs, of the tensors that have both."""
    named = ((rule(key.removeprefix(prefix)), key) for key in state if key.startswith(prefix))
    return {ours: theirs for ours, theirs in named if ours in own}
