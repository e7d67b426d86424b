"""The tensors and parameters of the Open Inference Protocol, the same over HTTP and gRPC.

One input, ``image`` BYTES [N]: N encoded pictures. Outputs, of all pictures one after the other, ``n`` detections in
all: ``boxes`` FP32 [n, 4] xyxy in pixels of each picture, ``scores`` FP32 [n], ``labels`` INT64 [n], ``label_names``
BYTES [n], and ``num_detections`` INT32 [N], which says how many of them belong to each picture. The last one is sent
if there is more than one picture, or where it is named.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .calls import THRESHOLDS, Found, number_of
from .refusals import Refusal

__all__ = [
    "IMAGE",
    "OUTPUTS",
    "Call",
    "Output",
    "Parameters",
    "TensorType",
    "elements_of",
    "malformed",
    "outputs_of",
    "pictures_of_raw",
    "pictures_of_texts",
    "read_input",
    "read_output",
    "read_parameters",
    "wanted_outputs",
]


@dataclass(frozen=True)
class TensorType:
    """A tensor as the metadata describe it.

    Attributes:
        name: of the tensor.
        datatype: in the protocol's words.
        shape: -1 where it depends on the request.
        dtype: numpy's name, little-endian; None for BYTES.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    dtype: str | None


IMAGE = TensorType("image", "BYTES", (-1,), None)

_COUNTS = "num_detections"
OUTPUTS: Mapping[str, TensorType] = {
    one.name: one
    for one in (
        TensorType("boxes", "FP32", (-1, 4), "<f4"),
        TensorType("scores", "FP32", (-1,), "<f4"),
        TensorType("labels", "INT64", (-1,), "<i8"),
        TensorType("label_names", "BYTES", (-1,), None),
        TensorType(_COUNTS, "INT32", (-1,), "<i4"),
    )
}

_MOST_MICROSECONDS = 2**63  # what the protocol's numbers hold

_WITHOUT_MEANING: Mapping[str, str] = {
    "priority": "pictures are answered in the order in which they come",
    "sequence_id": "each request stands alone",
    "sequence_start": "each request stands alone",
    "sequence_end": "each request stands alone",
    "classification": "the answer holds boxes; see the outputs scores and label_names",
    "shared_memory_region": "no memory is shared with clients; send the tensor itself",
    "shared_memory_byte_size": "no memory is shared with clients; send the tensor itself",
    "shared_memory_offset": "no memory is shared with clients; send the tensor itself",
}
"""Parameters that the protocol's extensions define and nothing here could honour. Zero and false ask for nothing."""


@dataclass(frozen=True)
class Parameters:
    """What a request's parameters ask for.

    Attributes:
        threshold: lowest reported score; None is the model's operating point.
        timeout: seconds after which nobody waits for the answer any more; None leaves it to the server.
        binary: whether outputs are raw, unless they say otherwise.
    """

    threshold: float | None = None
    timeout: float | None = None
    binary: bool = False


@dataclass(frozen=True, eq=False)
class Call:
    """A request that was read.

    Attributes:
        pictures: encoded; whoever asks an engine for them empties the list.
        outputs: whether each output is to be raw, by name, in the order of the answer.
        parameters: of the request.
        id: to be repeated in the answer, or None.
        model: name and version that the body says beside the URL, as they stand there.
    """

    pictures: list[bytes]
    outputs: Mapping[str, bool]
    parameters: Parameters
    id: str | None = None
    model: tuple[Any, Any] = (None, None)


@dataclass(frozen=True, eq=False)
class Output:
    """One output of an answer.

    Attributes:
        type: name and datatype.
        values: numbers, as the type's dtype; texts of BYTES.
    """

    type: TensorType
    values: np.ndarray | list[str]

    @property
    def shape(self) -> list[int]:
        """Of the values."""
        return list(self.values.shape) if isinstance(self.values, np.ndarray) else [len(self.values)]

    def plain(self) -> list[Any]:
        """Flat, row by row, as JSON has it."""
        flat: list[Any] = self.values.ravel().tolist() if isinstance(self.values, np.ndarray) else self.values
        return flat

    def raw(self) -> bytes:
        """Little-endian; each text is its length as uint32, then its bytes in UTF-8."""
        if isinstance(self.values, np.ndarray):
            return self.values.tobytes()
        encoded = [text.encode() for text in self.values]
        return b"".join(struct.pack("<I", len(one)) + one for one in encoded)


def malformed(reason: str) -> Refusal:
    """400: the request does not fit the protocol."""
    return Refusal(400, f"The request is malformed: {reason}.")


# parameters


def read_parameters(given: Mapping[str, Any]) -> Parameters:
    """A request's parameters.

    Raises:
        Refusal: 400, one is unknown or does not fit.
    """
    threshold = timeout = None
    binary = False
    for name, value in given.items():
        if name in THRESHOLDS:
            if threshold is not None:
                raise malformed(f"{' and '.join(THRESHOLDS)} are the same parameter; send one")
            threshold = _number(value, name)
        elif name == "timeout":
            timeout = _seconds(value)
        elif name == "binary_data_output":
            binary = _flag(value, name)
        else:
            _refuse_unless_idle(name, value, "the request", f"{', '.join(THRESHOLDS)}, timeout, binary_data_output")
    return Parameters(threshold, timeout, binary)


def read_input(name: str, datatype: str, shape: Sequence[int], parameters: Mapping[str, Any]) -> tuple[int, bool]:
    """The one input, as it is announced.

    Returns:
        The number of pictures, and whether they are in base64 even where they are raw.

    Raises:
        Refusal: 400, it is no ``IMAGE``, or a parameter is unknown.
    """
    if name != IMAGE.name:
        raise malformed(f"there is one input, {IMAGE.name}, not {name!r}")
    axes = [axis for axis in shape if type(axis) is int and axis >= 1]
    if datatype != IMAGE.datatype or len(axes) != len(shape) or len(axes) not in (1, 2) or axes[1:] not in ([], [1]):
        raise malformed(f"input {IMAGE.name} is {IMAGE.datatype} of shape [N], encoded pictures")
    base64_too = False
    for key, value in parameters.items():
        if key == "content_type":
            if value != "base64":
                raise malformed(f"content_type {value!r} of input {IMAGE.name} is unknown; there is base64")
            base64_too = True
        elif key != "binary_data_size":
            _refuse_unless_idle(key, value, f"input {IMAGE.name}", "binary_data_size, content_type")
    return axes[0], base64_too


def read_output(name: str, parameters: Mapping[str, Any], binary: bool) -> bool:
    """Whether an output is to be raw.

    Args:
        name: of the output.
        parameters: of the output.
        binary: whether it is, if its parameters do not say.

    Raises:
        Refusal: 400, there is no such output, or a parameter is unknown.
    """
    if name not in OUTPUTS:
        raise malformed(f"there is no output {name!r}, only {', '.join(OUTPUTS)}")
    for key, value in parameters.items():
        if key == "binary_data":
            binary = _flag(value, key)
        else:
            _refuse_unless_idle(key, value, f"output {name}", "binary_data")
    return binary


def wanted_outputs(named: Mapping[str, bool], pictures: int, binary: bool) -> Mapping[str, bool]:
    """The outputs to send, and whether each is raw: those that are named, else all that say something."""
    return named or {name: binary for name in OUTPUTS if name != _COUNTS or pictures > 1}


def _number(value: Any, name: str) -> float:
    return number_of("" if isinstance(value, bool) else str(value), name)


def _seconds(microseconds: Any) -> float | None:
    if type(microseconds) is not int or not 0 <= microseconds < _MOST_MICROSECONDS:
        raise malformed(f"timeout = {repr(microseconds)[:40]} is not a whole number of microseconds below 2**63")
    return microseconds / 1e6 or None  # none is given: that is what 0 means


def _flag(value: Any, name: str) -> bool:
    if not isinstance(value, bool):
        raise malformed(f"{name} = {value!r} is neither true nor false")
    return value


def _refuse_unless_idle(name: str, value: Any, where: str, known: str) -> None:
    if name not in _WITHOUT_MEANING:
        raise malformed(f"parameter {name!r} of {where} is unknown; there is {known}")
    if value not in (0, "", None):
        raise malformed(f"parameter {name!r} of {where} cannot be honoured: {_WITHOUT_MEANING[name]}")


# input


def elements_of(raw: bytes) -> list[bytes]:
    """The elements of a raw BYTES tensor: the length of each as uint32, little-endian, then its bytes.

    Raises:
        Refusal: 400, they do not fill the tensor.
    """
    elements, place = [], 0
    while place < len(raw):
        start = place + 4
        if start > len(raw):
            raise malformed(f"the raw data of {IMAGE.name} end within the length of an element")
        (size,) = struct.unpack_from("<I", raw, place)
        place = start + size
        if place > len(raw):
            raise malformed(f"the raw data of {IMAGE.name} end within an element of {size} bytes")
        elements.append(raw[start:place])
    return elements


def pictures_of_raw(elements: Sequence[bytes], count: int, in_base64: bool) -> list[bytes]:
    """Pictures from elements that are bytes.

    Raises:
        Refusal: 400, they are not as many as the shape says, or no base64 where that is announced.
    """
    if len(elements) != count:
        raise malformed(f"the data of {IMAGE.name} are {len(elements)} elements, its shape says {count}")
    return [_decoded(one) for one in elements] if in_base64 else list(elements)


def pictures_of_texts(data: Any, count: int) -> list[bytes]:
    """Pictures from JSON: texts in base64, flat or in lists of one.

    Raises:
        Refusal: 400, it is something else, or not as many as the shape says.
    """
    texts = [data] if isinstance(data, str) else data
    if not isinstance(texts, list):
        raise malformed(f"data of {IMAGE.name} are no list of texts, pictures in base64")
    texts = [one[0] if isinstance(one, list) and len(one) == 1 else one for one in texts]
    if not all(isinstance(one, str) for one in texts):
        raise malformed(f"each of the data of {IMAGE.name} is one text, a picture in base64")
    return pictures_of_raw([one.encode("utf-8", "replace") for one in texts], count, in_base64=True)


def _decoded(text: bytes) -> bytes:
    try:
        return base64.b64decode(b"".join(text.split()), validate=True)  # in lines, as the tool of that name writes it
    except binascii.Error as broken:
        raise malformed(f"data of {IMAGE.name} is not base64: {broken}") from None


# outputs


def outputs_of(found: Sequence[Found]) -> dict[str, Output]:
    """All outputs for answered pictures, by name."""
    detections = [one.detections for one in found]
    labels = np.concatenate([one.labels for one in detections])
    values: dict[str, np.ndarray | list[str]] = {
        "boxes": np.concatenate([one.boxes for one in detections]),
        "scores": np.concatenate([one.scores for one in detections]),
        "labels": labels,
        # by the names of the version that answered: a model may be replaced between two pictures of a request
        "label_names": [one.model.class_names[label] for one in found for label in one.detections.labels],
        _COUNTS: np.array([len(one) for one in detections]),
    }
    return {name: Output(kind, _typed(values[name], kind)) for name, kind in OUTPUTS.items()}


def _typed(values: np.ndarray | list[str], kind: TensorType) -> np.ndarray | list[str]:
    return values.astype(kind.dtype, copy=False) if isinstance(values, np.ndarray) else values
