"""From settings and data to a specification and a detector with its starting weights."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Mapping
from typing import Any

from rich.console import Console

from boxwright.config import TrainConfig
from boxwright.data import DataFolder, fingerprint
from boxwright.host.dependencies import versions
from boxwright.models import find_architecture
from boxwright.models.detector import Detector
from boxwright.models.freezing import freeze_batchnorm, freeze_stages
from boxwright.models.weights import LoadedWeights, fetch_hub_weights, load_weights, network_options, weights_licence
from boxwright.runtime import ModelError, ModelSpec

__all__ = ["prepare"]

_PACKAGES = ("boxwright", "torch", "torchvision", "lightning", "numpy", "pillow")
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
    _announce(folder, spec, console)
    detector = Detector(spec, config.precision)
    loaded = load_weights(detector.network, config.weights, config.model) if load else None
    if loaded is not None:
        console.print(f"Weights: {loaded.summary()}.")
    config = config.model_copy(update=_freezing(config, loaded) if load else {})
    blocks = detector.family.blocks(detector.network)
    if config.freeze_batchnorm:
        freeze_batchnorm(blocks)
    freeze_stages(blocks, len(blocks) if config.trainable_stages is None else config.trainable_stages)
    return spec, detector, config


def _obtainable_weights(model: str, console: Console) -> str:
    """ImageNet's weights if they are on disk or can be fetched, else none."""
    if find_architecture(model).backbone_weights is None:
        return "none"
    try:
        fetch_hub_weights("imagenet", model)
    except ModelError as error:
        warning = "Warning: training from scratch, which needs far more pictures and epochs."
        console.print(f"{warning} {error}")
        return "none"
    return "imagenet"


def _freezing(config: TrainConfig, loaded: LoadedWeights | None) -> dict[str, Any]:
    pretrained = loaded is not None
    stages = config.trainable_stages
    return {
        "freeze_batchnorm": pretrained if config.freeze_batchnorm is None else config.freeze_batchnorm,
        "trainable_stages": (_PRETRAINED_STAGES if pretrained else None) if stages is None else stages,
    }


def _specification(config: TrainConfig, folder: DataFolder, network: Mapping[str, Any]) -> ModelSpec:
    assert config.name is not None, "resolved settings have a name"
    assert isinstance(config.image_size, tuple), "resolved settings have a canvas"
    return ModelSpec(
        name=config.name,
        architecture=config.model,
        classes=folder.classes,
        input=find_architecture(config.model).canvas(*config.image_size, config.resize),
        network=network,
        provenance={
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "data_fingerprint": fingerprint(folder),
            "validation_fingerprint": fingerprint(folder, ("valid",)),
            "data": {
                split.name: {"pictures": len(split.pictures), "boxes": split.boxes} for split in folder.splits.values()
            },
            "weights": config.weights,
            "weights_licence": weights_licence(config.weights, config.model),
            "settings": config.model_dump(mode="json", exclude=_PLACES),
            "versions": {"python": platform.python_version(), **versions(_PACKAGES)},
        },
    )


def _announce(folder: DataFolder, spec: ModelSpec, console: Console) -> None:
    for split in folder.splits.values():
        console.print(f"{split.name:>6}: {len(split.pictures)} pictures, {split.boxes} boxes")
    pairs = ", ".join(f"{index} {one.name} (id {one.id})" for index, one in enumerate(spec.classes))
    console.print(f"Classes: {pairs}; contract {spec.contract[:12]}")
    canvas = f"{spec.input.height} x {spec.input.width}"
    console.print(f"Model: {spec.architecture} on a canvas of {canvas} ({spec.input.resize})")
