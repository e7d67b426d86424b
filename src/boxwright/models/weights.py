"""Weights from elsewhere: to start a training from, or taken whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from boxwright.runtime import ClassEntry, ModelError, ModelSpec
from boxwright.runtime.bundle import RUN_SPEC
from boxwright.runtime.networks import build_network

from .catalogue import CATALOGUE, find_architecture, find_family
from .class_rows import HeadStart, start_head
from .family import Family
from .tensor_names import COUNTER, find_network
from .weights_files import WeightsFile, maker_of, read_weights, spec_of

__all__ = [
    "LoadedWeights",
    "fetch_hub_weights",
    "hub_file_name",
    "load_weights",
    "load_whole",
    "network_options",
    "weights_licence",
]

_UNKNOWN_LICENCE = "not known: a file of your own"
_SHOWN = 3


@dataclass(frozen=True)
class LoadedWeights:
    """What loading did. A file that does not bring the whole backbone is refused, so that there is nothing of it.

    Attributes:
        source: file or enum member.
        place: what stands before the names of the network's tensors in the file; may be empty.
        matched: tensors of the network that were set, those of the class head at least in part.
        left: tensors of the network that kept their initial values.
        unused: tensors of the file that no tensor of the network took.
        reshaped: tensors of the same name but another shape, not used.
        backbone_alone: whether the file brings the backbone and nothing else of the network.
        head: which classes start with rows of the file's class head; None if it has none.
    """

    source: str
    place: str
    matched: tuple[str, ...]
    left: tuple[str, ...]
    unused: tuple[str, ...]
    reshaped: tuple[str, ...]
    backbone_alone: bool
    head: HeadStart | None

    def summary(self) -> str:
        """One sentence for a person."""
        under = f", there under {self.place.rstrip('.')!r}" if self.place else ""
        alone = ", the backbone alone" if self.backbone_alone else ""
        parts = [f"{len(self.matched)} tensors from {self.source}{under}{alone}"]
        for text, names in (
            ("new", self.left),
            ("in the file but unused", self.unused),
            ("of another shape", self.reshaped),
        ):
            if names:
                parts.append(f"{len(names)} {text} ({_few(names)})")
        if self.head is not None:
            kept, new = (_few(names) or "none" for names in (self.head.kept, self.head.new))
            parts.append(f"class head {self.head.reading}: kept {kept}; new {new}")
        return "; ".join(parts)


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown}, … and {len(names) - _SHOWN} more"


def load_weights(
    network: nn.Module, weights: str, spec: ModelSpec, class_names: Sequence[str] | None = None
) -> LoadedWeights | None:
    """Set a network's starting weights, in place.

    Rows of the class head are taken over by the names of the classes; classes that the file does not know keep the
    network's initial values. Where nothing says what the file's classes are called, they are taken to be ours if they
    are equally many, with a warning; otherwise the class head stays new.

    Args:
        network: of ``build_network``.
        weights: ``none``, ``imagenet``, ``coco``, or the path of a .pth, .pt, .safetensors or .ckpt file of the whole
            detector or of its backbone, of an archive, of a run folder, or of a folder of transformers.
        spec: what the network was built from.
        class_names: of the file, by label, without the background; by default what the file, or the specification of
            the run that it lies in, says.

    Returns:
        What was matched; None for ``none``.

    Raises:
        ModelError: the file is missing or unreadable, or does not bring the whole backbone.
        ArchiveError: an archive or a run folder that cannot be read.
    """
    if weights == "none":
        return None
    hub = weights in ("imagenet", "coco")
    source, path = fetch_hub_weights(weights, spec.architecture) if hub else (weights, Path(weights))
    family = find_family(spec.architecture)
    if _is_familys_folder(path):
        file = WeightsFile(family.folder_state(path, spec.architecture))
        names = family.folder_classes(path)
    else:
        file = read_weights(path)
        names = _class_names(path, file, spec.architecture)
    return _load(network, file, source, (spec, names if class_names is None else class_names))


def _is_familys_folder(path: Path) -> bool:
    """Whether weights are a folder of another kind than a run's."""
    return path.is_dir() and not (path / RUN_SPEC).is_file()


def _class_names(path: Path, file: WeightsFile, architecture: str) -> Sequence[str] | None:
    """What the classes of a file are called, by label; None if nothing says it."""
    name = _hub_name("coco", architecture)
    if name is not None and path.name == hub_file_name("coco", architecture):
        return find_family(architecture).classes_of_weights(name)
    return None if file.spec is None else file.spec.class_names


def network_options(weights: str, architecture: str) -> dict[str, Any]:
    """Options the network must be built with for these weights to mean what they meant.

    Args:
        weights: see ``load_weights``; of a run's file the options are those of its ``spec.json``.
        architecture: catalogue key.

    Returns:
        ``ModelSpec.network``.
    """
    row, family = find_architecture(architecture), find_family(architecture)
    if weights in ("none", "auto"):
        return {}
    folder = _folder(weights, architecture)
    if folder is not None:
        return family.folder_options(folder, architecture)
    if weights == "imagenet":
        return {"norm_eps": row.backbone_norm_eps}
    if weights == "coco":
        return {"norm_eps": row.coco_norm_eps}
    return _options_of_file(Path(weights), architecture)


def _folder(weights: str, architecture: str) -> Path | None:
    """The folder that weights lie in; None if they are a file, or there are none."""
    name = _hub_name(weights, architecture) if weights in ("imagenet", "coco") else None
    if name is not None:
        return find_family(architecture).fetch_folder(name)
    return Path(weights) if _is_familys_folder(Path(weights)) else None


def weights_licence(weights: str, architecture: str) -> str:
    """Under which terms starting weights come, in a few words.

    Args:
        weights: see ``load_weights``; of a run's file what its ``spec.json`` says.
        architecture: catalogue key.
    """
    licences = {"none": "trained from scratch", **find_family(architecture).licences}
    if weights in licences:
        return licences[weights]
    spec = spec_of(Path(weights))
    return _UNKNOWN_LICENCE if spec is None else str(spec.provenance.get("weights_licence", _UNKNOWN_LICENCE))


def _options_of_file(path: Path, architecture: str) -> dict[str, Any]:
    spec = spec_of(path)
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
    """Make sure that ``imagenet`` or ``coco`` weights are on disk, where torch.hub or the family keeps them.

    Args:
        weights: ``imagenet`` or ``coco``.
        architecture: catalogue key.

    Returns:
        Name of the weights, and the file or the folder.

    Raises:
        ModelError: this architecture has none, or they are not here and cannot be downloaded; the
            file and the folder to put it into are named.
    """
    name = _hub_name(weights, architecture)
    if name is None:
        words = ", ".join(_words(architecture))
        problem = f"There are no {weights!r} weights for {architecture!r}."
        raise ModelError(problem, f"Use --weights {words}, or a file.")
    folder = find_family(architecture).fetch_folder(name)
    if folder is not None:
        return name, folder
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


def load_whole(network: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Set every tensor of a network, in place.

    Anything may stand before all names, and they may be those of torchvision before 0.13. Counters of BatchNorm may
    be missing: a frozen one has none.

    Raises:
        ModelError: a tensor is missing, left over, or of another shape.
    """
    own = network.state_dict()
    prefix = find_network(state, own).place
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
    _refuse((name for name in result.missing_keys if not name.endswith(COUNTER)), "missing", source)
    _refuse(result.unexpected_keys, "not the network's", source)


def _refuse(names: Iterable[str], fault: str, source: str) -> None:
    culprits = list(names)
    if culprits:
        shown = "; ".join(culprits[:3]) + ("; …" if len(culprits) > 3 else "")
        raise ModelError(f"{source}: {len(culprits)} tensors are {fault}: {shown}.", "Give the right --model.")


def _load(
    network: nn.Module, file: WeightsFile, source: str, wanted: tuple[ModelSpec, Sequence[str] | None]
) -> LoadedWeights:
    """Set what fits; ``wanted`` is what the network was built from, and the names of the file's classes."""
    spec, class_names = wanted
    row, family = find_architecture(spec.architecture), find_family(spec.architecture)
    own = network.state_dict()
    found = find_network(file.tensors, own, family)
    theirs = {ours: file.tensors[name] for ours, name in found.names.items()}
    values = {
        name: tensor.to(own[name].dtype)
        for name, tensor in theirs.items()
        if row.rows_of(name) is None and tensor.shape == own[name].shape
    }
    backbone = _backbone_tensors(network, family)
    if not backbone <= set(values):
        raise _another_architecture(file, source, spec.architecture, (len(backbone & set(values)), len(backbone)))
    head_values, head = start_head(row, own, theirs, (spec.class_names, class_names))
    values.update(head_values)
    network.load_state_dict(values, strict=False)
    counters = {name for name in own if name.endswith(COUNTER)}
    return LoadedWeights(
        source=source,
        place=found.place,
        matched=tuple(sorted(set(values) - counters)),
        left=tuple(sorted(set(own) - set(theirs) - counters)),
        unused=tuple(sorted(set(file.tensors) - set(found.names.values()))),
        reshaped=tuple(sorted(set(theirs) - set(values))),
        backbone_alone=head is None and set(values) - counters <= backbone,
        head=head,
    )


def _backbone_tensors(network: nn.Module, family: Family) -> set[str]:
    """Names of the tensors of a network's backbone, without its counters."""
    blocks = family.blocks(network)
    inside = {id(tensor) for block in blocks for tensor in (*block.parameters(), *block.buffers())}
    named = network.state_dict(keep_vars=True).items()  # the tensors themselves, not others that share their values
    return {name for name, tensor in named if id(tensor) in inside and tensor.is_floating_point()}


def _words(architecture: str) -> list[str]:
    """What ``--weights`` takes for it besides files and folders."""
    row = find_architecture(architecture)
    there = {"imagenet": row.backbone_weights, "coco": row.coco_weights}
    return [*(word for word, weights in there.items() if weights is not None), "none"]


def _another_architecture(file: WeightsFile, source: str, wanted: str, share: tuple[int, int]) -> ModelError:
    maker = maker_of((*file.tensors, *file.code))
    own = maker is None and _architecture_of(file.tensors)
    if own:
        whose = f"they are of {own!r}"
    elif maker is not None:
        whose = f"their names are those of {maker}"
    else:
        whose = f"they hold {_few(tuple(file.tensors))}"
    return ModelError(
        f"Weights {source!r} bring {share[0]} of the {share[1]} tensors of the backbone of {wanted!r}: {whose}.",
        f"Give weights of {wanted!r} or of its backbone, or {' or '.join(_words(wanted))}; or the --model that these "
        "belong to.",
    )


def _architecture_of(tensors: Mapping[str, Tensor]) -> str | None:
    """The architecture whose backbone these tensors bring whole; of several the one that they fit best."""
    shares = {name: _share_of(name, tensors) for name in CATALOGUE}
    best = max(shares, key=lambda name: shares[name])
    return best if shares[best] else None


def _share_of(architecture: str, tensors: Mapping[str, Tensor]) -> float:
    """The share of an architecture's tensors that are here; 0 without its whole backbone."""
    row, family = find_architecture(architecture), find_family(architecture)
    classes = (ClassEntry(1, "any"),)
    try:
        with torch.device("meta"):  # names and shapes, without values
            network = build_network(ModelSpec("any", architecture, classes, row.canvas(*row.image_size, "letterbox")))
    except Exception:  # packages that are not installed, networks that need values: this one is not known
        return 0.0
    own = network.state_dict()
    found = find_network(tensors, own, family).names
    fitting = {ours for ours, theirs in found.items() if tensors[theirs].shape == own[ours].shape}
    return len(fitting) / len(own) if _backbone_tensors(network, family) <= fitting else 0.0
