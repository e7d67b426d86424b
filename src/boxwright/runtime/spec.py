"""What a model is, in one JSON document: classes, canvas, operating point, figures, provenance."""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Sequence, Tuple, Type, TypeVar, Union

from .errors import ArchiveError, ConfigError
from .strict_json import parse_json

__all__ = ["CONFIG", "DEFAULT_THRESHOLD", "HARDLY_ANYTHING", "ClassEntry", "InputSpec", "ModelSpec", "OperatingPoint"]

FORMAT = 1
MAX_SIDE = 8192
MIN_TILE = 64
MAX_OVERLAP = 0.5
_AGAIN = "The file was edited or cut off; write it again with boxwright."
DEFAULT_THRESHOLD = 0.5
"""Score threshold of a model whose operating point was never measured."""
HARDLY_ANYTHING = 0.05
"""F2 below which a detector finds next to nothing: its figures hang on single boxes, and on rounding."""
CONFIG = "config"
"""Key of ``ModelSpec.network``: options of a library's own configuration that replace the architecture's; a mapping, in
which those of the backbone are another one."""

T = TypeVar("T")


@dataclass(frozen=True)
class ClassEntry:
    """One class: its category id in the training JSON, and its name.

    Raises:
        ConfigError: a value of the wrong type.
    """

    id: int
    name: str

    def __post_init__(self) -> None:
        if not isinstance(self.id, int) or isinstance(self.id, bool) or not isinstance(self.name, str):
            raise ConfigError(f"Class {self.id!r}, {self.name!r} does not fit:", "give an integer and a text.")


@dataclass(frozen=True)
class InputSpec:
    """The canvas a model sees.

    Attributes:
        height: pixels, 1..8192. Which sizes a network takes its architecture says.
        width: pixels, in the same range.
        resize: ``letterbox`` (proportions kept, padded) or ``stretch``.
        pad: RGB, 0..255, of the padding. The default is the ImageNet mean, which normalises to about 0.
        mean: RGB mean subtracted after scaling to [0, 1] (ImageNet's by default).
        std: RGB standard deviation divided by.
        tile: side of the windows that larger pictures are seen in, picture pixels; None: they are seen as a whole.
        overlap: share of a window's side that neighbours have in common at least, above 0 to .5.

    Raises:
        ConfigError: a size outside its range, an unknown resize mode, or numbers that do not fit.
    """

    height: int
    width: int
    resize: str = "letterbox"
    pad: Tuple[int, int, int] = (124, 116, 104)
    mean: Tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: Tuple[float, float, float] = (0.229, 0.224, 0.225)
    tile: Optional[int] = None
    overlap: float = 0.2

    def __post_init__(self) -> None:
        if self.tile is not None and not (_is_whole(self.tile) and self.tile >= MIN_TILE):
            raise ConfigError(f"tile = {self.tile!r} does not fit:", f"give {MIN_TILE} pixels or more.")
        if not _is_number(self.overlap) or not 0.0 < self.overlap <= MAX_OVERLAP:
            raise ConfigError(
                f"overlap = {self.overlap!r} does not fit:", f"give a share above 0, up to {MAX_OVERLAP}."
            )
        for axis in (self.height, self.width):
            if not isinstance(axis, int) or isinstance(axis, bool) or not 0 < axis <= MAX_SIDE:
                raise ConfigError(
                    f"Canvas {self.height} x {self.width} (height x width) does not fit:",
                    f"each side must be an integer from 1 to {MAX_SIDE}.",
                )
        if self.resize not in ("letterbox", "stretch"):
            raise ConfigError(f"Resize mode {self.resize!r} is unknown.", "Use 'letterbox' or 'stretch'.")
        for name in ("pad", "mean", "std"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
            if len(getattr(self, name)) != 3 or not all(_is_number(value) for value in getattr(self, name)):
                raise ConfigError(f"{name} = {list(getattr(self, name))!r} does not fit:", "give three numbers, RGB.")
        if not all(0 <= value <= 255 for value in self.pad) or not all(value > 0 for value in self.std):
            raise ConfigError(f"pad = {list(self.pad)}, std = {list(self.std)} do not fit:", "0..255, and above 0.")


@dataclass(frozen=True)
class OperatingPoint:
    """The score thresholds chosen on validation data; a detection is reported from its threshold on.

    Attributes:
        threshold: for all classes, in [0, 1].
        objective: what it maximises: ``f2``, ``precision>=0.95`` and the like.
        value: of the figure that was maximised; None if never measured.
        split: where it was measured.
        interval: (low, high) of the threshold, 95 %; None if never measured.
        value_interval: (low, high) of the value, 95 %.
        per_class: by class name, for the classes with boxes enough to choose by; in [0, 1].
        by_class: whether ``per_class`` is used; a class without an entry has ``threshold``.

    Raises:
        ConfigError: a threshold outside [0, 1], something that is not an interval, or a value of the wrong type.
    """

    threshold: float = DEFAULT_THRESHOLD
    objective: str = "f2"
    value: Optional[float] = None
    split: Optional[str] = None
    interval: Optional[Tuple[float, float]] = None
    value_interval: Optional[Tuple[float, float]] = None
    per_class: Mapping[str, float] = field(default_factory=dict)
    by_class: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.per_class, Mapping):
            raise ConfigError(f"per_class = {self.per_class!r} does not fit:", "give a threshold by class name.")
        for threshold in (self.threshold, *self.per_class.values()):
            _require_score(threshold)
        for name in ("interval", "value_interval"):
            object.__setattr__(self, name, _interval(name, getattr(self, name)))
        texts = (self.objective, "" if self.split is None else self.split)
        number = self.value is None or _is_number(self.value)
        if not number or not all(isinstance(text, str) for text in texts) or not isinstance(self.by_class, bool):
            raise ConfigError("The operating point has a value of the wrong type.", "Write it again.")

    @property
    def is_chosen(self) -> bool:
        """Whether it was chosen on data; where nothing was detected, it is the default, and its value is 0."""
        return self.value is not None and not (self.value == 0 and self.interval is None)

    @property
    def value_of(self) -> str:
        """What ``value`` is the value of, as it stands before it: ``recall `` of ``precision>=0.9``; empty for F2."""
        return {"precision": "recall ", "recall": "precision "}.get(self.objective.partition(">=")[0], "")

    def thresholds(self, names: Sequence[str]) -> Tuple[float, ...]:
        """Those in use, by class index.

        Args:
            names: class names by index.
        """
        chosen = self.per_class if self.by_class else {}
        return tuple(chosen.get(name, self.threshold) for name in names)


def _require_score(value: object) -> None:
    if not _is_number(value) or not 0.0 <= value <= 1.0:  # type: ignore[operator]
        raise ConfigError(f"Threshold {value!r} is outside 0..1.", "Give a score.")


def _interval(name: str, value: Any) -> Optional[Tuple[float, float]]:
    if value is None:
        return None
    if not isinstance(value, (list, tuple)) or len(value) != 2 or not all(_is_number(end) for end in value):
        raise ConfigError(f"{name} = {value!r} does not fit:", "give two numbers, low and high.")
    return (value[0], value[1])


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


@dataclass(frozen=True)
class ModelSpec:
    """Everything about a model but its weights.

    Attributes:
        name: of the run; lower-case letters, digits, ``_``, ``-`` and ``.`` are safe in URLs.
        architecture: key of the catalogue.
        classes: by class index 0..K-1, sorted by category id.
        input: the canvas.
        network: architecture options that change the built network.
        operating_point: the default threshold everywhere.
        measured: figures by split, as written by training.
        exports: what was proved equal to the trained model, by variant (``BACKEND-PRECISION``): the archive's
            member it runs, the figures before and after, the largest differences.
        provenance: settings, versions, data fingerprint.
    """

    name: str
    architecture: str
    classes: Tuple[ClassEntry, ...]
    input: InputSpec
    network: Mapping[str, Any] = field(default_factory=dict)
    operating_point: OperatingPoint = OperatingPoint()
    measured: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    exports: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    format: int = FORMAT

    def __post_init__(self) -> None:
        texts = (self.name, self.architecture, *self.class_names)
        inner = (*_values(self.measured), *_values(self.exports))
        mappings = (self.network, self.measured, self.exports, self.provenance, *inner)
        sound = all(isinstance(text, str) for text in texts) and all(isinstance(one, Mapping) for one in mappings)
        if not sound:
            raise ConfigError(f"Model specification {self.name!r} has a value of the wrong type.", "Write it again.")
        eps = self.network.get("norm_eps", 0.0)
        if not _is_number(eps) or eps < 0:
            raise ConfigError(f"norm_eps = {eps!r} does not fit:", "give a number, 0 or above.")
        if not isinstance(self.network.get(CONFIG, {}), Mapping):
            raise ConfigError(f"{CONFIG} = {self.network[CONFIG]!r} does not fit:", "give options by name.")

    @property
    def class_names(self) -> Tuple[str, ...]:
        """Class names by index."""
        return tuple(entry.name for entry in self.classes)

    @property
    def finds_hardly_anything(self) -> bool:
        """Whether its F2 on the validation split is below ``HARDLY_ANYTHING``; False if that was never measured."""
        f2 = self.measured.get("valid", {}).get("f2")
        return isinstance(f2, (int, float)) and f2 < HARDLY_ANYTHING

    @property
    def contract(self) -> str:
        """SHA-256 (hex) of the class contract: the ordered (id, name) pairs."""
        pairs = json.dumps([[entry.id, entry.name] for entry in self.classes], ensure_ascii=False)
        return hashlib.sha256(pairs.encode("utf-8")).hexdigest()

    def to_json(self) -> str:
        """The document, indented, keys in declaration order, newline at the end."""
        document = {**asdict(self), "contract": self.contract}
        if self.input.tile is None:  # as versions without windows wrote and read it
            for key in ("tile", "overlap"):
                del document["input"][key]
        return json.dumps(document, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: Union[str, bytes], source: str = "spec") -> ModelSpec:
        """Read a document written by ``to_json``.

        Args:
            text: the JSON.
            source: its file name, for errors.

        Raises:
            ArchiveError: broken JSON, a missing or unknown key, a format newer than this version,
                or a class list that does not match its recorded hash.
        """
        document = parse_json(text, source)
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise ArchiveError(f"{source}: not a model specification of format {FORMAT}.", "Update boxwright.")
        contract = document.pop("contract", None)
        spec = cls._from_document(document, source)
        if contract != spec.contract:
            raise ArchiveError(
                f"{source}: the classes {list(spec.class_names)} do not match their recorded hash.",
                _AGAIN,
            )
        return spec

    @classmethod
    def _from_document(cls, document: Dict[str, Any], source: str) -> ModelSpec:
        try:
            entries = tuple(_build(ClassEntry, entry, source) for entry in document["classes"])
            parts = {
                "classes": entries,
                "input": _build(InputSpec, document["input"], source),
                "operating_point": _build(OperatingPoint, document["operating_point"], source),
            }
        except (KeyError, TypeError) as error:
            raise ArchiveError(f"{source}: key {error} is missing or malformed.", _AGAIN) from error
        return _build(cls, {**document, **parts}, source)

    @classmethod
    def load(cls, path: Union[str, os.PathLike[str]]) -> ModelSpec:
        """Read ``spec.json`` or ``boxwright.json``.

        Raises:
            ArchiveError: the file is missing, or see ``from_json``.
        """
        try:
            text = Path(path).read_bytes()
        except OSError as error:
            problem = f"{os.fspath(path)}: cannot be read: {error.strerror}."
            raise ArchiveError(problem, "Put it there, readable.") from error
        return cls.from_json(text, os.fspath(path))


def _values(mapping: Any) -> Sequence[Any]:
    return tuple(mapping.values()) if isinstance(mapping, Mapping) else ()


def _build(kind: Type[T], values: Mapping[str, Any], source: str) -> T:
    known = {item.name for item in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - known)
    if unknown:
        raise ArchiveError(f"{source}: unknown key {unknown[0]!r} in {kind.__name__}.", "Update boxwright.")
    try:
        return kind(**values)
    except (TypeError, ConfigError) as error:
        raise ArchiveError(f"{source}: {kind.__name__}: {str(error).rstrip('.')}.", _AGAIN) from error
