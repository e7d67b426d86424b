"""From settings and data to a specification and a detector with its starting weights."""

from __future__ import annotations

import datetime
import json
import platform
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import nn

from boxwright.config import TrainConfig
from boxwright.data import DataFolder, fingerprint
from boxwright.data.description import describe_data
from boxwright.host.dependencies import versions
from boxwright.models import find_architecture, find_family
from boxwright.models.detector import Detector
from boxwright.models.freezing import freeze_batchnorm, freeze_stages, learns_statistics, stages_of
from boxwright.models.weights import LoadedWeights, fetch_hub_weights, load_weights, network_options, weights_licence
from boxwright.models.weights_files import read_weights
from boxwright.runtime import ClassEntry, ConfigError, InputSpec, ModelError, ModelSpec
from boxwright.runtime.networks import build_network
from boxwright.runtime.spec import CONFIG
from boxwright.runtime.tiling import windows

from .module import scaled_size
from .settings import canvas_size, require_shared

__all__ = ["prepare", "recorded_settings", "require_company", "require_network", "require_weights", "with_settings"]

_PACKAGES = ("boxwright", "torch", "torchvision", "lightning", "transformers", "numpy", "pillow")
_PRETRAINED_STAGES = 3  # torchvision's choice for pretrained backbones
# of this machine: not for the archive
_PLACES = {"data", "out", "cache_dir", "checkpoint_out", "state_dict_out", "mlflow"}


def prepare(
    config: TrainConfig, folder: DataFolder, console: Console, recorded: ModelSpec | None
) -> tuple[ModelSpec, Detector, TrainConfig]:
    """Specification, detector with its starting weights, and settings with what depended on these weights.

    Args:
        config: resolved settings.
        folder: the data.
        console: to print to.
        recorded: the specification of the run that is continued, whose checkpoint brings the weights; None in a new
            run.
    """
    load = recorded is None
    if load and config.weights == "auto":
        config = config.model_copy(update={"weights": _obtainable_weights(config.model, console)})
    # a resumed network is built as it was, wherever the starting weights' own options have gone
    network = recorded.network if recorded else network_options(config.weights, config.model)
    spec = _specification(config, folder, network)
    if recorded is not None:  # where its weights came from may be gone, and it was not made just now
        spec = replace(spec, provenance={**spec.provenance, **_kept(recorded)})
    _announce(folder, spec, console)
    if recorded is not None and config.multi_scale:  # of a new run, require_network has looked at it
        _require_smallest(spec, config.multi_scale)
    detector = Detector(spec, config.precision)
    loaded = load_weights(detector.network, config.weights, spec) if load else None
    if loaded is not None:
        console.print(f"Weights: {loaded.summary()}.")
    if loaded is not None and loaded.head is not None and loaded.head.warning:
        console.print(f"Warning: {loaded.head.warning}")
    blocks = detector.family.blocks(detector.network)
    config = config.model_copy(update=_freezing(config, loaded, len(stages_of(blocks))) if load else {})
    if config.freeze_batchnorm:
        freeze_batchnorm(blocks)
    stages = config.trainable_stages
    freeze_stages(blocks, stages if isinstance(stages, int) else len(blocks))
    return with_settings(spec, config), detector, config


def _kept(recorded: ModelSpec) -> dict[str, Any]:
    """What a resumed run's specification says of the run's beginning."""
    return {key: recorded.provenance[key] for key in ("created", "weights_licence") if key in recorded.provenance}


def _require_smallest(spec: ModelSpec, multi_scale: float) -> None:
    """Raise unless a network can also be trained on the smallest canvas that ``multi_scale`` gives.

    Raises:
        ConfigError: it cannot.
    """
    row = find_architecture(spec.architecture)
    size = scaled_size(spec.input.height, spec.input.width, 1.0 - multi_scale, row.stride)
    try:
        with torch.device("meta"):  # shapes without values
            build_network(replace(spec, input=row.canvas(*size, spec.input.resize)))
    except ConfigError as error:
        raise ConfigError(f"multi_scale = {multi_scale:g} is too much: {error}", "Or lower multi_scale.") from None


def require_network(config: TrainConfig) -> None:
    """Raise unless the network allows what is asked of it; neither data nor weights are read.

    Raises:
        ConfigError: its backbone has fewer stages than are to be trained, or the canvas does not fit, or the smallest
            one of ``multi_scale``.
        ModelError: the model is unknown, or its folder of weights is of another one.
    """
    row = find_architecture(config.model)
    canvas = row.canvas(*canvas_size(config, row), config.resize or row.resize)
    options = network_options(config.weights, row.name) if Path(config.weights).exists() else {}
    spec = ModelSpec("tried", row.name, (ClassEntry(0, "any"),), canvas, options)
    if config.multi_scale:
        _require_smallest(spec, config.multi_scale)
    if isinstance(config.trainable_stages, int):
        _require_stages(spec, config.trainable_stages)


def _require_stages(spec: ModelSpec, wanted: int) -> None:
    with torch.device("meta"):  # shapes without values
        stages = len(stages_of(find_family(spec.architecture).blocks(build_network(spec))))
    if wanted > stages:
        raise ConfigError(
            f"trainable_stages = {wanted}: the backbone of {spec.architecture} has {stages}.",
            f"Give 0 to {stages}; {stages} trains all of it.",
        )


def require_weights(config: TrainConfig) -> None:
    """Raise for starting weights that cannot be had or read, before the data is read, which takes minutes.

    Raises:
        ModelError: this architecture has none of that word, they cannot be downloaded, or the file holds no tensors.
        ArchiveError: a folder or an archive that is not ours, or is broken.
    """
    weights = config.weights
    if weights in ("imagenet", "coco"):
        fetch_hub_weights(weights, config.model)
    elif weights not in ("auto", "none"):
        network_options(weights, config.model)
        if Path(weights).is_file():
            read_weights(Path(weights))


def require_company(network: nn.Module, batch: int, pictures: int, processes: int = 1) -> int:
    """The fewest pictures of a batch that a network can learn from; raise if there are fewer.

    Args:
        network: to train.
        batch: pictures of a batch.
        pictures: of an epoch.
        processes: that share each batch.

    Raises:
        ConfigError: a BatchNorm would get a batch of one picture, which has no statistics; or more processes than
            pictures.
    """
    require_shared(batch, processes)
    if not learns_statistics(network):
        return 1
    if pictures < processes:
        raise ConfigError(
            f"The training split has {pictures} pictures, fewer than the {processes} devices.", "Use fewer --devices."
        )
    if batch < 2:
        raise ConfigError(
            "batch_size = 1: this model's BatchNorms learn from the pictures of a batch together, which takes two.",
            "Use batch_size=2, with a smaller image_size if that does not fit.",
        )
    if pictures < 2:
        raise ConfigError(
            "The training split has one picture: this model's BatchNorms learn from two or more together.",
            "Add pictures, or choose a model without BatchNorms that learn.",
        )
    return max(2, processes)  # all processes take part in every BatchNorm, with a picture of their own


def with_settings(spec: ModelSpec, config: TrainConfig) -> ModelSpec:
    """The specification of a model that is trained with these settings."""
    return replace(spec, provenance={**spec.provenance, "settings": recorded_settings(config)})


def recorded_settings(config: TrainConfig) -> dict[str, Any]:
    """The settings that travel with a model: without the places of this machine; of a weights file the name."""
    settings = config.model_dump(mode="json", exclude=_PLACES)
    return {**settings, "weights": Path(config.weights).name}


def _obtainable_weights(model: str, console: Console) -> str:
    """ImageNet's weights if they are on disk or can be fetched, else none, with a warning where there are better."""
    row = find_architecture(model)
    if row.backbone_weights is None:
        if row.coco_weights is not None:
            console.print(
                "Warning: training from scratch, which needs far more pictures and epochs than --weights coco."
            )
        return "none"
    try:
        fetch_hub_weights("imagenet", model)
    except ModelError as error:
        warning = "Warning: training from scratch, which needs far more pictures and epochs."
        console.print(f"{warning} {error}")
        return "none"
    return "imagenet"


def _freezing(config: TrainConfig, loaded: LoadedWeights | None, there: int) -> dict[str, Any]:
    """What is frozen of a backbone of so many stages, if the settings leave it open."""
    pretrained = loaded is not None  # then the whole backbone is: without it no weights are taken
    stages = config.trainable_stages
    return {
        "freeze_batchnorm": pretrained if config.freeze_batchnorm is None else config.freeze_batchnorm,
        "trainable_stages": (min(_PRETRAINED_STAGES, there) if pretrained else None) if stages is None else stages,
    }


def _specification(config: TrainConfig, folder: DataFolder, network: Mapping[str, Any]) -> ModelSpec:
    assert config.name is not None, "resolved settings have a name"
    assert isinstance(config.image_size, tuple), "resolved settings have a canvas"
    assert config.resize is not None, "resolved settings say how pictures are laid on it"
    return ModelSpec(
        name=config.name,
        architecture=config.model,
        classes=folder.classes,
        input=replace(
            find_architecture(config.model).canvas(*config.image_size, config.resize),
            tile=config.tile,
            overlap=config.overlap,
        ),
        network=network,
        provenance={
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "data_fingerprint": fingerprint(folder),
            "validation_fingerprint": fingerprint(folder, ("valid",)),
            "data": {
                split.name: {"pictures": len(split.pictures), "boxes": split.boxes} for split in folder.splits.values()
            },
            "data_description": describe_data(folder),
            "weights": config.weights,
            "weights_licence": weights_licence(config.weights, config.model),
            "versions": {"python": platform.python_version(), **versions(_PACKAGES)},
        },
    )


def _announce_windows(folder: DataFolder, space: InputSpec, console: Console) -> None:
    pictures = folder.splits["train"].pictures
    count = sum(len(windows(one.width, one.height, space)) for one in pictures)
    console.print(f"Windows of {space.tile} pixels: {count} in the {len(pictures)} pictures of train")
    if count == len(pictures):
        console.print("Warning: none of them is larger than a window, so --tile brings nothing. Give a smaller one.")


def _announce(folder: DataFolder, spec: ModelSpec, console: Console) -> None:
    for split in folder.splits.values():
        console.print(f"{split.name:>6}: {len(split.pictures)} pictures, {split.boxes} boxes")
    pairs = ", ".join(f"{index} {one.name} (id {one.id})" for index, one in enumerate(spec.classes))
    console.print(f"Classes: {pairs}")
    canvas = f"{spec.input.height} x {spec.input.width} (height x width)"
    console.print(f"Model: {spec.architecture} on a canvas of {canvas}, {spec.input.resize}")
    if spec.input.tile is not None:
        _announce_windows(folder, spec.input, console)
    if CONFIG in spec.network:
        console.print(f"Its weights' own configuration replaces: {json.dumps(spec.network[CONFIG])}")
