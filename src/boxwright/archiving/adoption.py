"""Archives made by hand with torch-model-archiver become ours; not a line of their code runs."""

from __future__ import annotations

import datetime
import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boxwright.host.dependencies import require_train_extra
from boxwright.models import find_architecture
from boxwright.runtime import ArchiveError, ClassEntry, ConfigError, ModelSpec, OperatingPoint
from boxwright.runtime.bundle import INDEX_TO_NAME, MANIFEST, SPEC, class_names_fault
from boxwright.runtime.spec import DEFAULT_THRESHOLD
from boxwright.runtime.strict_json import parse_json
from boxwright.runtime.strict_zip import StrictZip, open_zip

from .writer import write_archive

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Adoption", "adopt", "classes_of_map"]

_MAX_DOCUMENT = 16 * 1024**2
_SUFFIXES = (".pt", ".pth")
_PACKAGES = ("boxwright", "torch", "torchvision")
_BACKGROUND = re.compile(r"[\W_]*(background|bg)?[\W_]*", re.IGNORECASE)
_ZERO_BASED = "it counts from 0, without the background; TorchServe showed each class by its neighbour's name"
_IN_ORDER = "its order is that of the labels, without the background"
_REMEDY = "Give --classes FILE: a text with one class a line, in the order of the labels, without background."


@dataclass(frozen=True)
class Adoption:
    """What became of an old archive.

    Attributes:
        archive: the new one.
        spec: of the model.
        notes: sentences on what was assumed, and what may differ.
    """

    archive: Path
    spec: ModelSpec
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Old:
    """What is taken of an old archive: data alone."""

    source: str
    digest: str
    model: Mapping[str, Any]
    created: str | None
    weights_name: str
    weights: bytes
    label_map: bytes | None


def adopt(
    old: str | Path,
    model: str,
    *,
    name: str | None = None,
    version: str | None = None,
    image_size: tuple[int, int] | None = None,
    threshold: float | None = None,
    classes: str | Path | None = None,
    norm_eps: float | None = None,
    store: str | Path = "model-store",
) -> Adoption:
    """Turn an archive made by hand into ours.

    Its state dict and its class map are read as data. Its handler and model file are not taken over, not imported and
    not looked at: ``model`` says what the network is.

    Args:
        old: a ``.mar`` of torch-model-archiver with a state dict and ``index_to_name.json``.
        model: catalogue key of its architecture.
        name: of the model; the old archive's by default.
        version: of the model; the old archive's by default.
        image_size: canvas (height, width), pixels; the architecture's default canvas by default.
        threshold: lowest reported score; 0.5 by default, that of TorchServe's own object detector.
        classes: a file to read the classes from instead: a text with one a line, or JSON like ``index_to_name.json``.
        norm_eps: BatchNorm epsilon; by default that with which torchvision builds the network, or, where the weights
            are torchvision's own COCO weights, theirs.
        store: folder for the new archive.

    Returns:
        The new archive, and what there is to say about it.

    Raises:
        ArchiveError: the old archive cannot be read or is unsafe, or the class map cannot be understood.
        ModelError: an unknown architecture; weights that need code to be loaded, or do not fit exactly.
        ConfigError: a name, version, canvas or threshold that does not fit.
    """
    require_train_extra()
    from boxwright.models.weights import load_whole
    from boxwright.models.weights_files import read_state
    from boxwright.runtime.networks import build_network

    row = find_architecture(model)
    taken = _read_old(Path(old))
    where = f"{taken.source}: {taken.weights_name}"
    state = read_state(taken.weights, where)
    entries, how_read = _classes(taken, row.labels_of(state, where), classes)
    network_options, about_eps = _network_options(norm_eps, model, taken.weights)
    height, width = image_size or row.image_size
    spec = ModelSpec(
        name=name or str(taken.model.get("modelName", Path(old).stem)),
        architecture=model,
        classes=entries,
        input=row.canvas(height, width, "letterbox"),
        network=network_options,
        operating_point=OperatingPoint(DEFAULT_THRESHOLD if threshold is None else threshold),
        provenance=_provenance(taken),
    )
    _require_elsewhere(Path(old), Path(store) / f"{spec.name}.mar")
    network = build_network(spec)
    load_whole(network, state, where)
    weights = _saved(network.state_dict())
    target = write_archive(spec, weights, version or str(taken.model.get("modelVersion", "1.0")), store)
    return Adoption(target, spec, (how_read, _about_threshold(spec), _about_canvas(spec), about_eps))


def _require_elsewhere(old: Path, target: Path) -> None:
    if target.resolve() == old.resolve():
        raise ConfigError(f"{old}: the new archive would replace it.", "Give another --store or --name.")


def _read_old(path: Path) -> _Old:
    if not path.is_file():
        raise ArchiveError(f"{path}: no such file.", "Give a .mar of torch-model-archiver.")
    digest = _digest(path)
    with open_zip(path) as archive:
        if SPEC in archive.entries:
            raise ArchiveError(f"{path}: boxwright's already.", "Use it as it is.")
        manifest = _manifest(archive, path)
        weights_name = _weights_name(archive, manifest["model"], path)
        label_map = archive.read(INDEX_TO_NAME, _MAX_DOCUMENT) if INDEX_TO_NAME in archive.entries else None
        weights = archive.read(weights_name)
    created = _created(manifest.get("createdOn"))
    return _Old(str(path), digest, manifest["model"], created, weights_name, weights, label_map)


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            if file.read(2) == b"\x1f\x8b":
                raise ArchiveError(f"{path}: a tar.gz.", "Make it again without --archive-format tgz.")
            file.seek(0)
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ArchiveError(f"{path}: cannot be read: {error.strerror}.", "Make it readable.") from error


def _manifest(archive: StrictZip, path: Path) -> Mapping[str, Any]:
    if MANIFEST not in archive.entries:
        raise ArchiveError(f"{path}: there is no {MANIFEST}.", "Give a .mar of torch-model-archiver.")
    manifest = parse_json(archive.read(MANIFEST, _MAX_DOCUMENT), f"{path}: {MANIFEST}")
    if not isinstance(manifest, dict) or not isinstance(manifest.get("model"), dict):
        raise ArchiveError(f"{path}: {MANIFEST} is malformed.", "Make it again with torch-model-archiver.")
    return manifest


def _weights_name(archive: StrictZip, model: Mapping[str, Any], path: Path) -> str:
    named = model.get("serializedFile")
    candidates = [name for name in archive.entries if name.endswith(_SUFFIXES)] if named is None else [named]
    if len(candidates) == 1 and candidates[0] in list(archive.entries):  # what stands there may not be hashable
        return str(candidates[0])
    found = ", ".join(map(str, candidates)) or "none"
    raise ArchiveError(
        f"{path}: the state dict cannot be told: {found}.", "Give it to the archiver: --serialized-file."
    )


def _created(text: Any) -> str | None:
    """The manifest's time in ISO format; it is local to where it was made, so no zone is given."""
    try:
        return datetime.datetime.strptime(text, "%d/%m/%Y %H:%M:%S").isoformat()
    except (ValueError, TypeError):
        return None


def _classes(old: _Old, labels: int, file: str | Path | None) -> tuple[tuple[ClassEntry, ...], str]:
    if file is not None:
        return classes_of_map(_class_file(Path(file)), labels, str(file))
    if old.label_map is None:
        raise ArchiveError(f"{old.source}: there is no {INDEX_TO_NAME}.", "Give --classes FILE, one class a line.")
    where = f"{old.source}: {INDEX_TO_NAME}"
    return classes_of_map(parse_json(old.label_map, where), labels, where)


def _class_file(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ArchiveError(f"{path}: cannot be read: {error}.", "Give a text with one class a line.") from error
    if text.lstrip()[:1] in ("{", "["):
        return parse_json(text, str(path))
    return [line.strip() for line in text.splitlines() if line.strip()]


def _network_options(given: float | None, architecture: str, weights: bytes) -> tuple[dict[str, Any], str]:
    from boxwright.models.weights import hub_file_name

    if given is not None:
        return {"norm_eps": given}, f"BatchNorm epsilon {given:g}, as asked for."
    eps = find_architecture(architecture).coco_norm_eps
    file = hub_file_name("coco", architecture)  # ends in the first digits of its SHA-256
    if file and hashlib.sha256(weights).hexdigest().startswith(Path(file).stem.rsplit("-", 1)[-1]):
        return {"norm_eps": eps}, f"BatchNorm epsilon {eps:g}: these are torchvision's own COCO weights."
    hint = "" if eps else " If it was fine-tuned from torchvision's COCO weights, give --norm-eps 0."
    return {}, f"BatchNorm epsilon as torchvision builds the network.{hint}"


def _provenance(old: _Old) -> dict[str, Any]:
    dated = {} if old.created is None else {"created": old.created}
    return {
        **dated,
        "adopted_from": {"file": Path(old.source).name, "sha256": old.digest, "manifest": dict(old.model)},
        "weights": old.weights_name,
        "weights_licence": "not known: from an archive made by hand",
        "versions": {name: metadata.version(name) for name in _PACKAGES},
    }


def _saved(state: Mapping[str, Tensor]) -> bytes:
    import torch

    buffer = io.BytesIO()
    torch.save({name: tensor.contiguous() for name, tensor in state.items()}, buffer)
    return buffer.getvalue()


def _about_threshold(spec: ModelSpec) -> str:
    score = spec.operating_point.threshold
    told = ", as TorchServe's own object detector" if score == DEFAULT_THRESHOLD else ""
    return f"Detections are reported from a score of {score:g} on{told}; it was not chosen on data."


def _about_canvas(spec: ModelSpec) -> str:
    return (
        f"The canvas is {spec.input.height} x {spec.input.width} (height x width), letterboxed; torchvision resized "
        "each picture in its own way (a Faster R-CNN's to 800 to 1333 pixels as a rule; without antialiasing), so "
        "boxes and scores differ from the old server's. Measure with boxwright evaluate."
    )


def classes_of_map(document: Any, labels: int, source: str) -> tuple[tuple[ClassEntry, ...], str]:
    """The classes of a map, by the number of labels the network has.

    A map with a name for every label counts as torchvision does, 0 is the background. One that lacks a single name
    lacks the background's, whether it counts from 0 or from 1.

    Args:
        document: ``index_to_name.json`` parsed: a list, or names by label.
        labels: of the network, the background included.
        source: name of the file, for errors.

    Returns:
        Classes in the order of the network's labels 1 and up, which are their ids; and a sentence on how the map was
        read.

    Raises:
        ArchiveError: it is not a map, or it cannot be told which name belongs to which label.
    """
    names = _names_by_number(document, source)
    numbers = sorted(names)
    if numbers == list(range(labels)):
        read = f"it counts from 0, and 0 ({names.pop(0)!r}) is the background"
    elif numbers == list(range(1, labels)):
        read = "it counts from 1, without the background"
    elif numbers == list(range(labels - 1)) and not _BACKGROUND.fullmatch(names[0]):
        names = {number + 1: name for number, name in names.items()}
        read = _ZERO_BASED if isinstance(document, Mapping) else _IN_ORDER
    else:
        raise ArchiveError(
            f"{source}: {len(names)} names, from {min(numbers, default=0)} to {max(numbers, default=0)}, for a network "
            f"of {labels} labels, the background one of them: which belongs to which cannot be told.",
            _REMEDY,
        )
    fault = class_names_fault([names[number] for number in sorted(names)])
    if fault:
        raise ArchiveError(f"{source}: {fault}.", _REMEDY)
    return tuple(ClassEntry(number, names[number]) for number in sorted(names)), f"{source}: {read}."


def _names_by_number(document: Any, source: str) -> dict[int, str]:
    if isinstance(document, Mapping) and isinstance(document.get("object_type_names"), Sequence):
        document = document["object_type_names"]  # of TorchServe's older examples
    pairs = list(document.items()) if isinstance(document, Mapping) else None
    if isinstance(document, list):
        pairs = list(enumerate(document))
    if pairs is None:
        raise ArchiveError(f"{source}: neither a list nor names by label.", _REMEDY)
    return dict(_pair(number, name, source) for number, name in pairs)


def _pair(number: int | str, name: Any, source: str) -> tuple[int, str]:
    name = name[-1] if isinstance(name, list) and name else name  # [id, name], as TorchServe reads it
    if not re.fullmatch(r"0|[1-9]\d{0,6}", str(number)) or not isinstance(name, str):
        raise ArchiveError(f"{source}: {number!r}: {name!r} is no label and name.", _REMEDY)
    return int(number), name
