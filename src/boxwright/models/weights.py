"""Starting weights: none, ImageNet's, COCO's, or a file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from boxwright.runtime import ModelError, ModelSpec
from boxwright.runtime.bundle import RUN_SPEC

from .catalogue import find_architecture

__all__ = [
    "PREFIXES",
    "LoadedWeights",
    "fetch_hub_weights",
    "hub_file_name",
    "load_weights",
    "network_options",
    "unwrap_state",
    "weights_licence",
]

StateDict = dict[str, Tensor]

_WRAPPERS = ("state_dict", "model", "model_state_dict")
PREFIXES = ("", "model.", "network.", "module.")
"""What others put before the names of a network's tensors."""

# Where a backbone's own state dict has its layers under another name than the detector.
_BODY = "backbone.body."
_LICENCES = {
    "none": "trained from scratch",
    "imagenet": "torchvision's, BSD-3-Clause; trained on ImageNet, whose terms of access are non-commercial",
    "coco": "torchvision's, BSD-3-Clause; trained on COCO (annotations CC BY 4.0, pictures under Flickr's terms)",
}
_UNKNOWN_LICENCE = "not known: a file of your own"


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
    if weights in ("imagenet", "coco"):
        source, file = fetch_hub_weights(weights, architecture)
        state = _file_state(file)
    else:
        source, state = weights, _file_state(Path(weights))
    return _match(network, state, source)


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


def weights_licence(weights: str) -> str:
    """Under which terms starting weights come, in a few words.

    Args:
        weights: see ``load_weights``; of a run's file what its ``spec.json`` says.
    """
    if weights in _LICENCES:
        return _LICENCES[weights]
    path = Path(weights)
    for folder in (path.parent, path.parent.parent):
        if (folder / RUN_SPEC).is_file():
            return str(ModelSpec.load(folder / RUN_SPEC).provenance.get("weights_licence", _UNKNOWN_LICENCE))
    return _UNKNOWN_LICENCE


def _options_of_file(path: Path, architecture: str) -> dict[str, Any]:
    for folder in (path.parent, path.parent.parent):  # of model_state_dict.pth and of checkpoints/best.ckpt
        if (folder / RUN_SPEC).is_file():
            spec = ModelSpec.load(folder / RUN_SPEC)
            return dict(spec.network) if spec.architecture == architecture else {}
    for weights in ("imagenet", "coco"):
        if path.name == hub_file_name(weights, architecture):
            return network_options(weights, architecture)
    return {}


def hub_file_name(weights: str, architecture: str) -> str | None:
    """File name of torchvision's weights; None where there are none."""
    from torchvision.models import get_weight

    row = find_architecture(architecture)
    member = row.coco_weights if weights == "coco" else row.backbone_weights
    return None if member is None else str(get_weight(member).url).rsplit("/", 1)[-1]


def fetch_hub_weights(weights: str, architecture: str) -> tuple[str, Path]:
    """Make sure that ``imagenet`` or ``coco`` weights are on disk, where torch.hub keeps them.

    Args:
        weights: ``imagenet`` or ``coco``.
        architecture: catalogue key.

    Returns:
        Name of torchvision's weights enum member, and the file.

    Raises:
        ModelError: this architecture has none, or they are not here and cannot be downloaded; the
            file and the folder to put it into are named.
    """
    from torchvision.models import get_weight

    row = find_architecture(architecture)
    member = row.coco_weights if weights == "coco" else row.backbone_weights
    if member is None:
        raise ModelError(f"There are no {weights!r} weights for {architecture!r}.", "Use --weights none, or a file.")
    url = get_weight(member).url
    file = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    if not file.is_file():
        _download(url, file)
    return member, file


def _download(url: str, file: Path) -> None:
    hash_prefix = file.stem.rsplit("-", 1)[-1]  # torchvision's file names end in their SHA-256
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, os.fspath(file), hash_prefix)
    except Exception as error:  # URL, socket, TLS, disk and hash errors share no base
        raise ModelError(
            f"Weights {file.name!r} are not here and could not be downloaded: {error}.",
            f"Fetch {url} where there is a network and put it into {file.parent}, or give --weights none or a file.",
        ) from error


def _file_state(path: Path) -> StateDict:
    if not path.is_file():
        raise ModelError(
            f"Weights {os.fspath(path)!r}: there is no such file.", "Give none, imagenet, coco, or the path of a file."
        )
    document = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    state = unwrap_state(document)
    if not state:
        raise ModelError(f"Weights {os.fspath(path)!r} hold no tensors by name.", "Give a state dict.")
    return state


def _read_safetensors(path: Path) -> Mapping[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"Weights {os.fspath(path)!r} are not a safetensors file: {error}.") from error


def _read_torch(path: Path) -> Mapping[str, Any]:
    try:
        document = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the restricted unpickler raises whatever it runs into
        raise ModelError(
            f"Weights {os.fspath(path)!r} are no torch file, or would need code to be loaded.",
            "Save the state dict alone: torch.save(model.state_dict(), path).",
        ) from error
    if not isinstance(document, Mapping):
        raise ModelError(f"Weights {os.fspath(path)!r} are not a state dict.", "Save model.state_dict().")
    return document


def unwrap_state(document: Mapping[str, Any]) -> StateDict:
    """The tensors by name of a file's content, out of what it may be wrapped in."""
    for wrapper in _WRAPPERS:
        if isinstance(document.get(wrapper), Mapping):
            document = document[wrapper]
            break
    return {key: value for key, value in document.items() if isinstance(key, str) and isinstance(value, Tensor)}


def _match(network: nn.Module, state: StateDict, source: str) -> LoadedWeights:
    own = network.state_dict()
    renamed = max((_rename(state, own, prefix, body) for prefix in PREFIXES for body in (False, True)), key=len)
    fitting = {ours: theirs for ours, theirs in renamed.items() if own[ours].shape == state[theirs].shape}
    if not any(own[ours].is_floating_point() for ours in fitting):
        raise ModelError(
            f"Weights {source!r} match nothing: the file has {_few(tuple(state))}; the network {_few(tuple(own))}.",
            "They belong to another architecture.",
        )
    values = {ours: state[theirs].to(own[ours].dtype) for ours, theirs in fitting.items()}
    network.load_state_dict(values, strict=False)
    counters = {key for key in own if key.endswith("num_batches_tracked")}
    return LoadedWeights(
        source=source,
        matched=tuple(sorted(set(fitting) - counters)),
        left=tuple(sorted(set(own) - set(fitting) - set(renamed) - counters)),
        unused=tuple(sorted(set(state) - set(renamed.values()))),
        reshaped=tuple(sorted(set(renamed) - set(fitting))),
    )


def _rename(state: StateDict, own: Mapping[str, Tensor], prefix: str, backbone: bool) -> dict[str, str]:
    """Names of ours to names of theirs, reading the file as a whole detector or as a backbone alone."""
    pairs = ((key, key.removeprefix(prefix)) for key in state if key.startswith(prefix))
    if not backbone:
        return {short: key for key, short in pairs if short in own}
    # torchvision's MobileNets keep their layers under 'features', the extractor does not
    named = ((key, _BODY + short.removeprefix("features.")) for key, short in pairs)
    return {ours: key for key, ours in named if ours in own}
