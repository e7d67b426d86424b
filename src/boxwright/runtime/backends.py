"""What runs a network: one protocol, several runtimes, and the choice between them."""

from __future__ import annotations

import re
import threading
import time
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Dict, List, Mapping, Optional, Protocol, Tuple

import numpy as np

from .bundle import WEIGHTS, Bundle
from .detections import Detections
from .errors import ArchiveError, ConfigError, MissingDependency
from .memory import return_freed_memory

__all__ = [
    "BACKENDS",
    "PRECISIONS",
    "Backend",
    "Chosen",
    "Variant",
    "candidates",
    "open_backend",
    "require_installed",
    "usable_variants",
]

BACKENDS = ("onnxruntime", "openvino", "torch", "torch-compile")
PRECISIONS = ("fp32", "bf16", "int8")

ONNX = "model.onnx"
"""Member that holds the fp32 graph."""

ONNX_INT8 = "model.int8.onnx"
"""Member that holds the quantised graph."""

_PACKAGES = {"onnxruntime": "onnxruntime", "openvino": "openvino", "torch": "torch", "torch-compile": "torch"}
_EXTRAS = {"onnxruntime": "boxwright", "openvino": "boxwright[openvino]"}
_ROUNDS = 3
_SECONDS = 0.1  # a run that takes longer says enough by itself: whoever waits for a server waits for these runs
# A tensor of ONNX may name a file to be read from: a protobuf string of 8 bytes, its length before it.
_EXTERNAL_DATA = re.compile(rb"(?:\x08|\x88\x80*\x00)location")

_measuring = threading.Lock()  # two at once would slow each other down
_choices: Dict[Tuple[Any, ...], Tuple[Variant, str, Mapping[str, float]]] = {}


class Backend(Protocol):
    """Anything that runs a network."""

    def detect(self, canvases: np.ndarray) -> List[Detections]:
        """uint8 [N, 3, H, W] to N detections in canvas pixels."""


@dataclass(frozen=True)
class Variant:
    """A runtime and a precision.

    Attributes:
        backend: one of ``BACKENDS``.
        precision: one of ``PRECISIONS``.
    """

    backend: str
    precision: str = "fp32"

    def __str__(self) -> str:
        return f"{self.backend}-{self.precision}"

    @classmethod
    def parse(cls, text: str) -> Variant:
        """``BACKEND-PRECISION`` read back.

        Raises:
            ConfigError: it names no backend or precision.
        """
        backend, _, precision = text.rpartition("-")
        if backend not in BACKENDS or precision not in PRECISIONS:
            raise ConfigError(f"Variant {text!r} is unknown.", f"Use one of {', '.join(BACKENDS)}, then '-fp32'.")
        return cls(backend, precision)

    @property
    def member(self) -> str:
        """What it runs of an archive."""
        if self.backend.startswith("torch"):
            return WEIGHTS
        return ONNX_INT8 if self.precision == "int8" else ONNX


@dataclass(frozen=True)
class Chosen:
    """A backend, and how it came to be the one.

    Attributes:
        backend: ready to run.
        variant: what it is.
        reason: one sentence for a person.
        milliseconds: a picture took, by variant; empty where there was nothing to choose.
    """

    backend: Backend
    variant: Variant
    reason: str
    milliseconds: Mapping[str, float]


def open_backend(
    bundle: Bundle,
    backend: str = "auto",
    precision: str = "auto",
    device: str = "cpu",
    threads: Optional[int] = None,
) -> Chosen:
    """The runtime a model runs in.

    ``auto`` takes, of what was proved equal to the trained model and can run here, the one that is
    fastest on a warm-up canvas; the trained network itself counts as proved. What was fastest once stays
    chosen while the process lives: two that are nearly as fast would otherwise give now one's answers, now
    the other's.

    Args:
        bundle: the model.
        backend: one of ``BACKENDS``, or ``auto``.
        precision: one of ``PRECISIONS``, or ``auto``.
        device: a torch device; anything but ``cpu`` leaves torch alone to choose from.
        threads: processors one picture may use; all by default.

    Raises:
        ConfigError: an unknown backend or precision, or a combination that there is not.
        MissingDependency: the runtime is not installed.
        ArchiveError: the archive does not hold what it runs, or it is broken.
    """
    found = candidates(bundle, backend, precision, device)
    if len(found) == 1:
        opened = _open(bundle, found[0], device, threads)
        return Chosen(opened, found[0], f"{found[0]}: {_only_reason(backend)}", {})
    return _fastest_once(bundle, found, device, threads)


def usable_variants(bundle: Bundle, device: str = "cpu") -> Tuple[Variant, ...]:
    """What ``auto`` chooses from: proved, its member there, its runtime installed; never empty with torch."""
    known = {f"{backend}-{precision}" for backend in BACKENDS for precision in PRECISIONS}
    proved = [Variant.parse(text) for text in bundle.spec.exports if text in known]  # others are of a later version
    proved = [one for one in proved if one.member in bundle.members]
    trained = Variant("torch")
    everything = [*proved, *([] if trained in proved else [trained])]
    return tuple(
        one for one in everything if _installed(one.backend) and (device == "cpu" or one.backend.startswith("torch"))
    )


def candidates(bundle: Bundle, backend: str = "auto", precision: str = "auto", device: str = "cpu") -> List[Variant]:
    """What ``open_backend`` chooses from; arguments and errors are its own.

    A backend that is asked for by name need not be proved.
    """
    _require_known("backend", backend, BACKENDS)
    _require_known("precision", precision, PRECISIONS)
    if backend != "auto":
        require_installed(backend)
        _require_device(backend, device)
    found = [
        one
        for one in usable_variants(bundle, device)
        if backend in ("auto", one.backend) and precision in ("auto", one.precision)
    ]
    if found:
        return found
    if backend != "auto":  # asked for by name: proved or not
        return [Variant(backend, "fp32" if precision == "auto" else precision)]
    unusable = [text for text in bundle.spec.exports if text.endswith(f"-{precision}")]
    if unusable:
        raise MissingDependency(
            f"{bundle.source}: {', '.join(unusable)}: proved, and cannot run here on {device!r}.",
            "Install the runtime, or use the CPU.",
        )
    if precision != "auto":
        raise ConfigError(
            f"{bundle.source}: no export in {precision} was proved.", f"Archive it with --precision {precision}."
        )
    raise MissingDependency(
        f"{bundle.source}: nothing here can run this model.",
        "Archive it with its ONNX export, or install PyTorch: pip install 'boxwright[train]'",
    )


def _require_known(what: str, given: str, known: Tuple[str, ...]) -> None:
    if given != "auto" and given not in known:
        raise ConfigError(f"{what.capitalize()} {given!r} is unknown.", f"Use auto, {', '.join(known)}.")


def _require_device(backend: str, device: str) -> None:
    if device != "cpu" and not backend.startswith("torch"):
        raise ConfigError(f"Backend {backend!r} runs on the CPU, not on {device!r}.", "Leave --device out.")


def _installed(backend: str) -> bool:
    return find_spec(_PACKAGES[backend]) is not None


def require_installed(backend: str) -> None:
    """Nothing, where a backend's package is installed.

    Raises:
        MissingDependency: it is not.
    """
    if not _installed(backend):
        extra = _EXTRAS.get(backend, "boxwright[train]")
        raise MissingDependency(f"Backend {backend!r} needs {_PACKAGES[backend]}.", f"pip install '{extra}'")


def _only_reason(backend: str) -> str:
    return "the only one that is proved and can run here." if backend == "auto" else "as asked for."


def _open(bundle: Bundle, variant: Variant, device: str, threads: Optional[int]) -> Backend:
    if variant.backend.startswith("torch"):
        from .torch_backend import TorchBackend

        compiled = variant.backend == "torch-compile"
        return TorchBackend(bundle, device, precision=variant.precision, compiled=compiled, threads=threads)
    source = f"{bundle.source}: {variant.member}"
    if variant.backend == "onnxruntime" and variant.precision == "bf16":
        raise ConfigError("onnxruntime runs no bf16 on the CPU.", "Use --backend openvino or torch.")
    graph = bundle.read(variant.member)
    if b"location" in graph and _EXTERNAL_DATA.search(graph):
        raise ArchiveError(f"{source}: reads files outside the archive.", "Do not use it.")
    if variant.backend == "openvino":
        from .openvino_backend import OpenVinoBackend

        return OpenVinoBackend(graph, source, precision=variant.precision, threads=threads)
    from .onnx_backend import OnnxBackend

    return OnnxBackend(graph, source, threads)


def _fastest_once(bundle: Bundle, variants: List[Variant], device: str, threads: Optional[int]) -> Chosen:
    key = (bundle.source, tuple(sorted(bundle.members.items())), device, threads, tuple(variants))
    with _measuring:
        if key not in _choices:
            chosen = _fastest(bundle, variants, device, threads)
            _choices[key] = (chosen.variant, chosen.reason, chosen.milliseconds)
            return chosen
    variant, reason, milliseconds = _choices[key]
    return Chosen(_open(bundle, variant, device, threads), variant, reason, milliseconds)


def _fastest(bundle: Bundle, variants: List[Variant], device: str, threads: Optional[int]) -> Chosen:
    canvas = _warm_up_canvas(bundle)
    best: Optional[Tuple[float, Variant, Backend]] = None
    milliseconds: Dict[str, float] = {}
    for variant in variants:
        opened = _open(bundle, variant, device, threads)
        return_freed_memory()
        took = _time(opened, canvas)
        milliseconds[str(variant)] = round(took, 2)
        if best is None or took < best[0]:
            best = (took, variant, opened)
    assert best is not None, "there was something to choose from"
    measured = ", ".join(f"{name} {took:.1f} ms" for name, took in sorted(milliseconds.items(), key=lambda one: one[1]))
    return Chosen(best[2], best[1], f"{best[1]}: fastest at warm-up ({measured} a picture).", milliseconds)


def _warm_up_canvas(bundle: Bundle) -> np.ndarray:
    """Noise in blocks: something for every part of a detector to do. uint8 [1, 3, H, W]."""
    canvas = bundle.spec.input
    blocks = np.random.default_rng(0).integers(0, 256, (1, 3, canvas.height // 16, canvas.width // 16), np.uint8)
    return np.ascontiguousarray(blocks.repeat(16, axis=2).repeat(16, axis=3))


def _time(backend: Backend, canvas: np.ndarray) -> float:
    """Least milliseconds of a few runs, after one that does not count; of a slow network fewer."""
    backend.detect(canvas)
    times: List[float] = []
    while len(times) < _ROUNDS and sum(times) < 1000 * _SECONDS:
        started = time.perf_counter()
        backend.detect(canvas)
        times.append(1000 * (time.perf_counter() - started))
    return min(times)
