"""Folders that transformers' ``save_pretrained`` writes: their configuration compared, and their tensors."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import Tensor

from boxwright.runtime import ClassEntry, InputSpec, MissingDependency, ModelError, ModelSpec
from boxwright.runtime.networks.transformers_detectors import (
    TRANSFORMERS,
    kind_of,
    load_class,
    own_options,
    transformers_config,
)
from boxwright.runtime.spec import CONFIG

__all__ = ["classes_of_folder", "fetch_repository", "options_of_folder", "state_of_folder"]

_CONFIG_FILE, _WEIGHTS_FILE = "config.json", "model.safetensors"

_BACKBONE = "backbone_config"
_HEAD = "bbox_embed."

# What only training looks at stays as the row has it: losses, matching, noise, initial values, dropout.
_OF_TRAINING = ("weight_loss_", "matcher_", "focal_", "mal_", "mask_", "segmentation_", "initializer_", "init_")
_OF_TRAINING_ENDS = ("_coefficient", "_cost", "_noise_ratio", "_noise_scale", "dropout", "_dropout_prob", "_path_rate")
_OF_TRAINING_TOO = {"num_denoising", "auxiliary_loss", "use_focal_loss", "use_dense_one_to_one"}


def fetch_repository(name: str, url: str) -> Path:
    """Make sure that the two files of a repository of the Hugging Face hub are on disk.

    Args:
        name: of the repository.
        url: where a person finds it.

    Returns:
        The folder, in huggingface_hub's cache.

    Raises:
        ModelError: they are not here and cannot be downloaded, or ``HF_HUB_OFFLINE`` forbids it.
        MissingDependency: huggingface_hub, which comes with transformers, is not installed.
    """
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise MissingDependency("These weights need huggingface_hub.", "pip install 'boxwright[hf]'") from error
    try:
        return Path(snapshot_download(name, allow_patterns=[_CONFIG_FILE, _WEIGHTS_FILE]))
    except Exception as error:  # those of HTTP, of the hub and of the disk share no base
        reason = str(error).strip().splitlines()[0].rstrip(".:")
        raise ModelError(
            f"Weights {name!r} are not here and could not be downloaded: {reason}.",
            f"Fetch {_CONFIG_FILE} and {_WEIGHTS_FILE} of {url} where there is a network, into a folder of their own, "
            "and give --weights FOLDER; or --weights none.",
        ) from error


def options_of_folder(folder: Path, architecture: str) -> dict[str, Any]:
    """What of ``ModelSpec.network`` makes an architecture the network of a folder.

    Args:
        folder: with its ``config.json``.
        architecture: catalogue key.

    Returns:
        Empty where the configuration is the row's.

    Raises:
        ModelError: the configuration is of another architecture, or cannot be read.
    """
    kind, found = kind_of(architecture), _read_config(folder).get("model_type")
    if found != kind.name:
        raise ModelError(
            f"{folder}: its config.json describes {found!r}; {architecture} is {kind.name!r}.", "Give another --model."
        )
    theirs = _their_config(folder, architecture)
    options = _differences(theirs, architecture)
    if not options:
        return {}
    same = next((name for name in _of_kind(architecture) if not _differences(theirs, name)), None)
    if same is not None:
        raise ModelError(f"{folder}: its config.json describes {same}, not {architecture}.", f"Give --model {same}.")
    return {CONFIG: options}


def state_of_folder(folder: Path, architecture: str) -> dict[str, Tensor]:
    """The tensors of a folder, by the names that transformers has for them today.

    transformers reads them itself: it knows what they were called in former releases.

    Args:
        folder: with ``config.json`` and ``model.safetensors``.
        architecture: catalogue key.

    Raises:
        ModelError: one of these files is missing, or cannot be read.
    """
    _read_config(folder)
    if not (folder / _WEIGHTS_FILE).is_file():
        raise ModelError(f"{folder}: holds no {_WEIGHTS_FILE}.", f"Put it beside its {_CONFIG_FILE}.")
    config = _their_config(folder, architecture)
    if hasattr(config, "freeze_backbone_batch_norms"):
        config.freeze_backbone_batch_norms = False
    kind = load_class(kind_of(architecture).network)
    try:
        with _quiet():
            network, report = kind.from_pretrained(
                os.fspath(folder), config=config, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
    except Exception as error:  # safetensors, transformers and torch raise what has no common base
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise ModelError(f"Weights {os.fspath(folder)!r} cannot be read: {reason}.", "Fetch them again.") from error
    missing = {*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])}
    state = {name: value for name, value in network.state_dict().items() if name not in missing}
    return _with_one_box_head(state, folder) if getattr(config, "share_bbox_head", False) else state


def classes_of_folder(folder: Path) -> list[str] | None:
    """Names of the classes of a folder, by label; None if its configuration does not say.

    Args:
        folder: with ``config.json``.

    Raises:
        ModelError: its configuration cannot be read.
    """
    names = _read_config(folder).get("id2label")
    if not isinstance(names, dict) or sorted(map(str, names)) != sorted(map(str, range(len(names)))):
        return None
    return [str(names[key]) for key in sorted(names, key=int)]


def _with_one_box_head(state: Mapping[str, Tensor], folder: Path) -> dict[str, Tensor]:
    """The box head that all layers share, read by ourselves: transformers 5.24 leaves it at random values, unsaid."""
    from safetensors.torch import load_file

    head = {_within_head(name): value for name, value in load_file(folder / _WEIGHTS_FILE).items() if _HEAD in name}
    return {name: head.get(_within_head(name), value) if _HEAD in name else value for name, value in state.items()}


def _within_head(name: str) -> str:
    """What follows the layer's number in the name of a box head's tensor."""
    return name.split(_HEAD, 1)[1].split(".", 1)[1]


def _read_config(folder: Path) -> Mapping[str, Any]:
    path = folder / _CONFIG_FILE
    if not path.is_file():
        raise ModelError(
            f"Weights {os.fspath(folder)!r}: a folder that holds no {_CONFIG_FILE}.",
            f"Give a folder with {_CONFIG_FILE} and {_WEIGHTS_FILE}, as transformers' save_pretrained writes it.",
        )
    try:
        document = json.loads(path.read_bytes())
    except ValueError as error:
        raise ModelError(f"{path}: not JSON: {error}.", "Fetch it again.") from error
    if not isinstance(document, dict):
        raise ModelError(f"{path}: not a configuration of transformers.", "Fetch it again.")
    return document


def _their_config(folder: Path, architecture: str) -> Any:
    kind = load_class(kind_of(architecture).config)
    try:
        with _quiet():
            return kind.from_pretrained(os.fspath(folder), local_files_only=True)
    except Exception as error:  # transformers' checks of values share no base
        reason = " ".join(str(error).split()).rstrip(".")
        raise ModelError(f"{folder}: its config.json cannot be read: {reason}.", "Fetch it again.") from error


def _of_kind(architecture: str) -> list[str]:
    return [name for name in TRANSFORMERS.builders if kind_of(name) == kind_of(architecture)]


def _differences(theirs: Any, architecture: str) -> dict[str, Any]:
    """Options of the network itself that are not the row's."""
    spec = ModelSpec("row", architecture, (ClassEntry(0, "any"),), InputSpec(640, 640))
    ours = transformers_config(spec)
    backbone = _changed(theirs.backbone_config, ours.backbone_config)
    return {**_changed(theirs, ours), **({_BACKBONE: backbone} if backbone else {})}


def _changed(theirs: Any, ours: Any) -> dict[str, Any]:
    """Options of theirs that differ from ours, as JSON has them."""
    own, other = ({name: _plain(getattr(one, name, None)) for name in own_options(ours)} for one in (theirs, ours))
    return {name: value for name, value in sorted(own.items()) if value != other[name] and not _is_of_training(name)}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _is_of_training(name: str) -> bool:
    return name.startswith(_OF_TRAINING) or name.endswith(_OF_TRAINING_ENDS) or name in _OF_TRAINING_TOO


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what transformers prints of what we say ourselves."""
    logging: Any = import_module("transformers.utils.logging")  # it has no types

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
