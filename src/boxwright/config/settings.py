"""All settings of a training run, in one frozen model."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails

from boxwright.host.files import write_text
from boxwright.host.places import Place, place_of, shown_place
from boxwright.host.plain_yaml import require_plain
from boxwright.runtime import ConfigError
from boxwright.runtime.bundle import NAME_PATTERN
from boxwright.runtime.picture import DATA_PIXELS, LARGEST_PIXELS
from boxwright.runtime.spec import MAX_OVERLAP, MIN_TILE

__all__ = [
    "ALIASES",
    "AUTO",
    "CONFIG_FILE",
    "HABITS",
    "TrainConfig",
    "data_of_run",
    "is_setting",
    "load_config",
    "other_words",
    "parse_assignment",
    "save_config",
    "settings_shown",
]

CONFIG_FILE = "config.yaml"
"""The settings of a run, in its folder."""

AUTO = "auto"
"""Of ``TrainConfig.model``: choose one."""

ALIASES = {
    "dataset_path": "data",
    "epoch_num": "epochs",
    "checkpoint_pl": "weights",
    "wandb_project_name": "wandb_project",
    "wandb_run_name": "name",
    "checkpoint_pl_output": "checkpoint_out",
    "model_state_dict_output": "state_dict_out",
    "gpus_num": "gpus",
}
"""Our key by the reference demo's in ``config.yaml``; ``batch_size`` and ``fast_dev_run`` are the same."""

HABITS = {
    "batch": "batch_size",
    "dataset_dir": "data",
    "early_stopping_patience": "patience",
    "imgsz": "image_size",
    "img_size": "image_size",
    "lr": "learning_rate",
    "lr0": "learning_rate",
    "output_dir": "out",
    "project": "out",
    "resolution": "image_size",
}
"""Our key by those of other trainers which mean the same (ultralytics, rfdetr)."""

_ANSWERS = {
    "amp": "It is precision here: auto, fp32 or bf16.",
    "cos_lr": "The learning rate always rises, then falls along a cosine.",
    "exist_ok": "A run is never overwritten; choose another name.",
    "fliplr": "It is augmentation here: none, light, standard or strong.",
    "freeze": "It is trainable_stages here: how many stages of the backbone are trained, counted from the last.",
    "grad_accum_steps": "It is total_batch here: pictures per step, batch_size times the steps.",
    "half": "It is precision here: auto, fp32 or bf16.",
    "mosaic": "It is augmentation=strong here.",
    "num_classes": "The classes are those of the data.",
    "plots": "Every run has its report.html.",
    "pretrained": "It is weights here: auto, none, imagenet, coco, a file or a run.",
    "resume": "It is a verb's option here: boxwright train --resume RUN.",
    "time": "It is minutes here.",
    "use_ema": "It is ema here: a decay such as 0.998; 0 turns it off.",
    "verbose": "What a run prints is in its metrics.jsonl, too.",
}
"""What to do here, by keys of other trainers which mean something else or do not exist."""

_DEVICES: dict[object, str | int] = {
    "cpu": 0,
    "cuda": 1,
    "gpu": 1,
    "auto": "auto",
}  # with 1, it is told if there is none
_NOT_A_DEVICE = "Use cpu or cuda; for several GPUs give their number with devices."

_EXPECTED = {
    "batch_size": "give a whole number from 1, or auto",
    "devices": "give a whole number from 1, or auto",
    "data": "give the path of a folder",
    "gpus": "give a whole number from 0, or auto",
    "image_size": "give one side, or [height, width], in pixels",
    "mlflow": "give a tracking URI, such as sqlite:///mlflow.db or http://localhost:5000",
    "trainable_stages": "give a whole number from 0, or all",
    "name": "give a text; put it into quotes if it looks like a number or a date",
}
"""Messages for keys where pydantic's own message is about types."""


_TOTAL_BATCH = 16
_MOST_PICTURES = 10_000_000  # of an epoch, whose order is one list in memory; a step has no more


class TrainConfig(BaseModel):
    """Settings of one training run.

    Attributes:
        data: folder with ``train/``, ``valid/`` and optionally ``test/``, a ``.zip`` of it, or a URL of either, such as
            ``s3://bucket/folder``.
        check: before training, ``full`` decodes every picture once; ``headers`` reads their sizes only, and does
            not find broken pixels, copies and look-alikes.
        max_pixels: largest accepted width x height of a picture; a server accepts 50 million.
        model: key of the catalogue (``boxwright models``); ``auto`` chooses one for this data and device, and with it
            those of ``image_size``, ``batch_size``, ``learning_rate``, ``epochs`` and ``minutes`` that are not given.
        weights: ``auto`` (ImageNet's if they are here or can be downloaded, else none, with a warning), ``none``,
            ``imagenet``, ``coco``, a .pth, .safetensors, .ckpt or .mar file, a run folder, or a folder of transformers.
        epochs: passes over the training split, at most: ``patience`` may end training earlier; with ``model: auto``
            chosen if it is not given.
        minutes: plan so many epochs that training ends in about this time, on this machine; if ``epochs`` is given, at
            most so many.
        epoch_pictures: pictures of an epoch, up to 10 million; by default all of the training split, and those that
            come again.
        name: of the run folder; by default the data folder's name and a number.
        out: folder that holds the runs, or its URL.
        image_size: size of the canvas in pixels: one side, or [height, width], the height first; multiples of 32, of 56
            for ``rfdetr_base``.
        tile: side of the windows that larger pictures are seen in, in picture pixels, in training and ever after; by
            default pictures are seen as a whole. The canvas is then of this size, unless ``image_size`` is given.
        overlap: share of a window that neighbours have in common at least, above 0 to .5: objects should fit into it.
        resize: ``letterbox`` keeps proportions, ``stretch`` fills the canvas; by default the architecture's, as its
            COCO weights were trained.
        batch_size: pictures that are held at once, by all devices together; ``auto`` is as many of ``total_batch`` as
            fit into memory.
        total_batch: pictures per step of the optimizer, a multiple of ``batch_size``: the gradients of several
            batches are added up; by default ``batch_size``, or 16 if that is ``auto``.
        optimizer: ``adamw`` or ``sgd`` (momentum .9).
        learning_rate: peak of the one-cycle schedule; by default the architecture's.
        backbone_rate: learning rate of the backbone, as a factor of the others'; by default the architecture's.
        layer_decay: factor by which each backbone stage learns more slowly than the one after it, 0..1.
        weight_decay: of weights; biases and normalisation layers are not decayed.
        warmup: share of the steps in which the learning rate rises, 0..1.
        gradient_clip: largest gradient norm; 0 turns clipping off.
        ema: decay of the moving average of the weights, per step of the optimizer, 0..1; the average is what is
            evaluated, kept and served. 0 turns it off.
        patience: end training after so many epochs without a better ``monitor``; 0 never does.
        augmentation: ``none``, ``light`` (mirror, colour), ``standard`` (zoom, crop) or ``strong`` (mosaic).
        close_mosaic: so many last epochs put no other pictures into one; by default a sixth of all.
        multi_scale: share by which each batch's canvas may be larger or smaller than ``image_size``, 0..1; validation
            never is.
        repeat_threshold: pictures with a class that is in less than this share of the pictures, 0..1, come more often:
            LVIS's repeat factor sampling. 0 turns it off.
        freeze_batchnorm: keep BatchNorm statistics and scales as loaded; by default, only if pretrained
            weights are loaded.
        trainable_stages: how many backbone stages are trained, counted from the last, at most as many as there are, or
            ``all``; by default 3 with pretrained weights, else all.
        precision: of training: ``auto`` (bf16 if the processor has it), ``fp32`` or ``bf16``; evaluation uses fp32.
        devices: processes that train together and share each batch: each has a GPU of its own, or without GPUs a part
            of the processor. ``auto`` takes all GPUs; by default one device is used, or as many as ``gpus`` says.
        gpus: ``auto`` uses GPUs if there are any, 0 does not. If fewer can be used than asked for, a warning is
            printed.
        workers: processes that load pictures, for each split.
        cache: keep decoded pictures between epochs: ``off``, ``ram``, or ``disk``, which later runs use again.
        cache_dir: folder of the disk cache; by default ``$XDG_CACHE_HOME/boxwright`` or ``~/.cache/boxwright``.
            A picture takes 3 x height x width bytes of the canvas; its files may be deleted at any time.
        seed: of all random numbers; under 2**32, as NumPy wants.
        checkpoint_minutes: within an epoch, a checkpoint is saved so often; a killed run loses no more than that.
            0 saves after epochs only.
        monitor: the figure that decides which epoch is the best: ``val/f2`` or ``val/map``.
        objective: what the operating point maximises on validation: ``f2`` (any F-beta, as ``f1`` or ``f0.5``),
            or one figure while the other stays high: ``precision>=0.95``, ``recall>=0.9``.
        thresholds_by_class: use a threshold of its own for each class that has enough boxes.
        wandb: ``auto`` is ``online`` if an API key is configured, else ``offline``; ``off`` turns W&B off.
        wandb_project: project of the run in W&B, and its experiment in MLflow.
        wandb_pictures: how many validation pictures W&B and TensorBoard show with their boxes, 0..16.
        wandb_model: whether W&B gets the best model as an artifact; its size is printed first.
        tensorboard: whether figures and pictures are also written to ``tensorboard/`` in the run folder;
            needs ``boxwright[tensorboard]``.
        mlflow: tracking URI of an MLflow that also gets the figures, as ``sqlite:///mlflow.db`` or ``http://…``;
            needs ``boxwright[mlflow]``.
        fast_dev_run: one batch of training and one of validation, to see that everything works; no model is kept.
        checkpoint_out: a second folder for the best checkpoint, as ``NAME.ckpt``.
        state_dict_out: a second folder for the best weights, as ``NAME_model.pth``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    data: Annotated[Place, BeforeValidator(place_of)]
    check: Literal["full", "headers"] = "full"
    max_pixels: int = Field(default=DATA_PIXELS, ge=1, le=LARGEST_PIXELS)
    model: str = AUTO
    weights: str = "auto"
    epochs: int = Field(default=12, ge=1)
    minutes: float | None = Field(default=None, gt=0)
    epoch_pictures: int | None = Field(default=None, ge=1, le=_MOST_PICTURES)
    name: str | None = None
    out: Annotated[Place, BeforeValidator(place_of)] = Path("runs")
    image_size: int | tuple[int, int] | None = None
    tile: int | None = Field(default=None, ge=MIN_TILE)
    overlap: float = Field(default=0.2, gt=0, le=MAX_OVERLAP)
    resize: Literal["letterbox", "stretch"] | None = None
    batch_size: Literal["auto"] | Annotated[int, Field(ge=1)] = 4
    total_batch: int | None = Field(default=None, ge=1, le=_MOST_PICTURES)
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float | None = Field(default=None, gt=0)
    backbone_rate: float | None = Field(default=None, gt=0)
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    weight_decay: float = Field(default=0.01, ge=0)
    warmup: float = Field(default=0.1, gt=0, lt=1)
    gradient_clip: float = Field(default=10.0, ge=0)
    ema: float = Field(default=0.0, ge=0, lt=1)
    patience: int = Field(default=0, ge=0)
    augmentation: Literal["none", "light", "standard", "strong"] = "light"
    close_mosaic: int | None = Field(default=None, ge=0)
    multi_scale: float = Field(default=0.0, ge=0, lt=1)
    repeat_threshold: float = Field(default=0.0, ge=0, le=1)
    freeze_batchnorm: bool | None = None
    trainable_stages: Literal["all"] | Annotated[int, Field(ge=0)] | None = None
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    devices: Literal["auto"] | Annotated[int, Field(ge=1)] | None = None
    gpus: Literal["auto"] | int = "auto"
    workers: int = Field(default=2, ge=0)
    cache: Literal["off", "ram", "disk"] = "off"
    cache_dir: Path | None = None
    seed: int = Field(default=0, ge=0, lt=2**32)
    checkpoint_minutes: float = Field(default=10.0, ge=0)
    monitor: Literal["val/f2", "val/map"] = "val/f2"
    objective: str = "f2"
    thresholds_by_class: bool = False
    wandb: Literal["auto", "online", "offline", "off"] = "auto"
    wandb_project: str = "boxwright"
    wandb_pictures: int = Field(default=16, ge=0, le=16)
    wandb_model: bool = False
    tensorboard: bool = False
    mlflow: str | None = None
    fast_dev_run: bool = False
    checkpoint_out: Path | None = None
    state_dict_out: Path | None = None

    @property
    def batch(self) -> int:
        """``batch_size``, once it is known."""
        assert self.batch_size != "auto", "resolved settings have a number"
        return self.batch_size

    @property
    def step_pictures(self) -> int:
        """Pictures per step of the optimizer."""
        return self.total_batch or (_TOTAL_BATCH if self.batch_size == "auto" else self.batch_size)

    @field_validator("data", "out", "weights", "cache_dir", "checkpoint_out", "state_dict_out", mode="before")
    @classmethod
    def _from_home(cls, place: object) -> object:
        """As a shell does it, which sees neither files of settings nor what follows ``key=``."""
        expanded = os.path.expanduser  # Path.expanduser raises where there is no home
        return expanded(place) if isinstance(place, str) else place

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: object, info: ValidationInfo) -> object:
        """Pydantic would make one of it, and a training with ``epochs: true`` would have one epoch."""
        assert info.field_name is not None, "of a field"
        kinds = _kinds(cls.model_fields[info.field_name].annotation)
        if value is True and kinds & {int, float} and bool not in kinds:
            raise ValueError("use a number, not true")
        return value

    @field_validator("name")
    @classmethod
    def _name_fits_a_url(cls, name: str | None) -> str | None:
        if name is not None and not NAME_PATTERN.fullmatch(name):
            raise ValueError("use letters, digits, '_', '-' and '.'; start with a letter or digit")
        return name

    @field_validator("total_batch")
    @classmethod
    def _whole_batches(cls, total: int | None, info: ValidationInfo) -> int | None:
        batch = info.data.get("batch_size")
        if total is not None and isinstance(batch, int) and total % batch:
            raise ValueError(f"use a multiple of batch_size, which is {batch}")
        return total

    @field_validator("wandb", "cache", mode="before")
    @classmethod
    def _off_is_a_word(cls, word: object) -> object:
        return "off" if word is False else word  # YAML 1.1 reads a bare off as false

    @field_validator("overlap")
    @classmethod
    def _of_windows(cls, overlap: float, info: ValidationInfo) -> float:
        if overlap != cls.model_fields["overlap"].default and info.data.get("tile") is None:
            raise ValueError("it is of windows; give tile, too")
        return overlap

    @field_validator("cache")
    @classmethod
    def _of_whole_pictures(cls, cache: str, info: ValidationInfo) -> str:
        if cache != "off" and info.data.get("tile") is not None:
            raise ValueError("with tile there is no cache yet; leave it off")
        return cache

    @field_validator("cache_dir")
    @classmethod
    def _of_a_disk_cache(cls, folder: Path | None, info: ValidationInfo) -> Path | None:
        if folder is not None and info.data.get("cache") != "disk":
            raise ValueError("it is of the disk cache; give cache: disk, too")
        return folder

    @field_validator("mlflow", mode="before")
    @classmethod
    def _off_is_none(cls, word: object) -> object:
        return None if word in (False, "off") else word

    @field_validator("gpus")
    @classmethod
    def _gpus_not_negative(cls, gpus: str | int) -> str | int:
        if isinstance(gpus, int) and gpus < 0:
            raise ValueError("use 'auto', 0 or more")
        return gpus


def _kinds(annotation: Any) -> set[Any]:
    """All types that an annotation is made of."""
    return {annotation}.union(*map(_kinds, get_args(annotation)))


def load_config(path: Path | None, overrides: Mapping[str, Any] | None = None) -> TrainConfig:
    """Read settings from a YAML file, then apply ``overrides``; keys of ``ALIASES`` and ``HABITS`` are understood.

    Args:
        path: the file; None for overrides alone.
        overrides: by key; None values are ignored.

    Raises:
        ConfigError: unreadable file, an unknown key (the message names the nearest known one), or a value
            that does not fit.
    """
    source = str(path) if path else "settings"
    values = _own_keys(_read_yaml(path), source) if path else {}
    values |= _own_keys({key: value for key, value in (overrides or {}).items() if value is not None}, source)
    try:
        return TrainConfig(**values)
    except ValidationError as error:
        raise _readable(error, values, source, overrides or {}) from None


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        require_plain(text)  # a run, and its settings with it, may be somebody else's
        _require_once(yaml.compose(text, yaml.SafeLoader), path)
        document = yaml.safe_load(text)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}.", "Check the path.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"{path}: not YAML: {' '.join(str(error).split())}.", "Write one 'key: value' per line."
        ) from error
    if document is not None and not isinstance(document, dict):
        raise ConfigError(f"{path}: not a list of settings.", "Write one 'key: value' per line.")
    return document or {}


def _require_once(document: yaml.Node | None, path: Path) -> None:
    """Raise if a key stands in a file twice; YAML's reader would keep the last without a word."""
    keys = [key.value for key, _ in document.value] if isinstance(document, yaml.MappingNode) else []
    twice = next((key for index, key in enumerate(keys) if key in keys[:index]), None)
    if twice is not None:
        raise ConfigError(f"{path}: {twice!r} is given twice.", "Keep one.")


def _own_keys(values: Mapping[str, Any], source: str) -> dict[str, Any]:
    own: dict[str, Any] = {}
    for key, value in values.items():
        if key == "device":
            key, value = "gpus", _gpus_of(value, source)
        target = ALIASES.get(key) or HABITS.get(key, key)
        if target not in TrainConfig.model_fields and {"train", "names"} <= values.keys():
            raise ConfigError(
                f"{source}: describes a data set of YOLO.", "Convert it: boxwright convert FOLDER OUT, then train OUT."
            )
        if target not in TrainConfig.model_fields and {"images", "annotations"} <= values.keys():
            raise ConfigError(f"{source}: annotations, not settings.", "Give the folder that train/ and valid/ are in.")
        if target not in TrainConfig.model_fields:
            raise ConfigError(f"{source}: unknown key {key!r}.", _nearest(str(key)))
        if target in own:
            raise ConfigError(f"{source}: {target!r} is given twice, also as {key!r}.", "Keep one.")
        if value not in ("", None):  # in the demo's file an empty key means none
            own[target] = value
    return own


def _gpus_of(device: object, source: str) -> str | int:
    """``gpus`` for another trainer's ``device``."""
    if device in ("", None):
        return "auto"
    if device not in _DEVICES:
        raise ConfigError(f"{source}: 'device' = {device!r} does not fit.", _NOT_A_DEVICE)
    return _DEVICES[device]


def is_setting(key: str) -> bool:
    """Whether a key is a setting, or another trainer's word that ``load_config`` understands or has an answer to."""
    return key in TrainConfig.model_fields or key in ALIASES or key in HABITS or key in _ANSWERS or key == "device"


def other_words(key: str) -> str:
    """What to do instead of another trainer's word that has no meaning here; empty if it has one, or is not known."""
    return _ANSWERS.get(key, "")


def _nearest(key: str) -> str:
    if key in _ANSWERS:
        return _ANSWERS[key]
    known = [*TrainConfig.model_fields, *ALIASES, *HABITS]
    close = difflib.get_close_matches(key, known, n=1)
    return f"Did you mean {close[0]!r}?" if close else f"Known keys: {', '.join(TrainConfig.model_fields)}."


def _expected(fault: ErrorDetails) -> str:
    """What to give instead, in our words where pydantic's are about types."""
    bounds = fault.get("ctx", {})
    choices = re.findall(r"'([^']+)'", str(bounds.get("expected")))
    close = difflib.get_close_matches(str(fault["input"]).lower(), choices, n=1)
    words = {
        "bool_parsing": "give true or false",
        "bool_type": "give true or false",
        "finite_number": "give a number that is finite",
        "float_parsing": "give a number",
        "float_type": "give a number",
        "greater_than": f"give more than {bounds.get('gt')}",
        "greater_than_equal": f"give {bounds.get('ge')} or more",
        "int_from_float": "give a whole number",
        "int_parsing": "give a whole number",
        "int_type": "give a whole number",
        "less_than": f"give less than {bounds.get('lt')}",
        "less_than_equal": f"give {bounds.get('le')} or less",
        "literal_error": f"give {bounds.get('expected')}" + (f"; did you mean {close[0]!r}?" if close else ""),
        "string_type": "give a text; put it into quotes if it looks like a number",
    }
    return words.get(fault["type"], fault["msg"])


def _readable(
    error: ValidationError, values: Mapping[str, Any], source: str, overrides: Mapping[str, Any]
) -> ConfigError:
    first = error.errors(include_url=False)[0]
    key = str(first["loc"][0]) if first["loc"] else "settings"
    if first["type"] == "missing":
        return ConfigError(f"{source}: {key!r} is missing.", f"Add --{key} or a line '{key}: …'.")
    given = values.get(key, first["input"])
    source = "settings" if overrides.get(key) is not None else source
    is_ours = first["type"] == "value_error"
    message = str(first["ctx"]["error"]) if is_ours else _EXPECTED.get(key) or _expected(first)
    remedy = f"What {key!r} takes: docs/settings.md."
    end = "" if message.endswith("?") else "."
    return ConfigError(f"{source}: {key!r} = {given!r} does not fit: {message}{end}", remedy)


def parse_assignment(text: str) -> tuple[str, Any]:
    """``key=value`` from the command line; the value is read as YAML.

    Raises:
        ConfigError: no equals sign, or a value that is not YAML.
    """
    key, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"--set {text!r} has no '='.", "Write --set key=value.")
    try:
        return key.strip(), yaml.safe_load(value)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"--set {text!r}: the value is not YAML: {' '.join(str(error).split())}.") from error


def save_config(config: TrainConfig, path: Path) -> None:
    """Write all resolved settings, so that ``boxwright train FILE`` does the same training again.

    Passwords and keys that are part of the URL of the data are not written: they have to be given again.
    """
    write_text(path, yaml.safe_dump(settings_shown(config), sort_keys=False, allow_unicode=True))


def settings_shown(config: TrainConfig) -> dict[str, Any]:
    """All resolved settings as JSON has them, for files and trackers; of URLs what ``shown_place`` shows."""
    return config.model_dump(mode="json") | {key: shown_place(getattr(config, key)) for key in ("data", "out")}


def data_of_run(run: Path) -> Place | None:
    """The folder, or its URL, that a run was trained on, as its settings say; None if they cannot be read."""
    try:
        return load_config(run / CONFIG_FILE).data
    except ConfigError:
        return None
