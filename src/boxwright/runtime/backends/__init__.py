"""What runs a network: one protocol, and a registry that a new backend joins with one class and one line."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Dict, Tuple, Type

from ..bundle import Bundle
from ..errors import BoxwrightError, ConfigError, MissingDependency
from ..execution import AUTO, PRECISIONS, Execution
from .base import Backend
from .onnxruntime import OnnxRuntimeBackend
from .openvino import OpenVinoBackend
from .torch import CompiledTorchBackend, TorchBackend

__all__ = [
    "BACKENDS",
    "Backend",
    "candidates",
    "find_backend",
    "open_backend",
    "require_installed",
    "settle",
    "usable_executions",
]


BACKENDS: Dict[str, Type[Backend]] = {
    one.name: one for one in (OnnxRuntimeBackend, OpenVinoBackend, TorchBackend, CompiledTorchBackend)
}
"""By name; where several can run a model and nothing was measured, the earlier one is taken."""

_TRAINED = TorchBackend.name


def find_backend(name: str) -> Type[Backend]:
    """The backend of a name.

    Raises:
        ConfigError: there is no such backend.
    """
    if name not in BACKENDS:
        raise ConfigError(f"Backend {name!r} is unknown.", f"Use auto, {', '.join(BACKENDS)}.")
    return BACKENDS[name]


def require_installed(backend: str) -> None:
    """Raise unless a backend's package is installed.

    Raises:
        ConfigError: there is no such backend.
        MissingDependency: its package is not installed.
    """
    kind = find_backend(backend)
    if not _installed(kind):
        raise MissingDependency(f"Backend {backend!r} needs {kind.package}.", f"pip install '{kind.extra}'")


def usable_executions(bundle: Bundle, device: str = "cpu") -> Tuple[Execution, ...]:
    """What can run a model here and was proved equal to the trained one, fp32 first, then in the registry's order.

    The trained network itself counts as proved. Empty only where neither PyTorch nor a proved export can run.
    """
    proved = {f"{_TRAINED}-{PRECISIONS[0]}", *bundle.spec.exports}
    known = [Execution(name, precision, device) for precision in PRECISIONS for name in BACKENDS]
    return tuple(one for one in known if one.variant in proved and _can_run(bundle, one))


def _can_run(bundle: Bundle, execution: Execution) -> bool:
    kind = BACKENDS[execution.backend]
    there = kind.member(execution.precision) in bundle.members
    return there and _installed(kind) and (execution.device == "cpu" or kind.any_device)


def _installed(kind: Type[Backend]) -> bool:
    return find_spec(kind.package) is not None


def candidates(bundle: Bundle, asked: Execution) -> Tuple[Execution, ...]:
    """Every way to run a model that fits what was asked for, backend and precision settled; at least one.

    A backend that is asked for by name need not have been proved.

    Raises:
        ConfigError: an unknown backend, a precision or device that it does not have, or a precision in which nothing
            was proved.
        MissingDependency: the backend is not installed, or nothing that is installed can run the model.
    """
    if asked.backend != AUTO:
        _require_possible(asked)
    usable = usable_executions(bundle, asked.device)
    fitting = [asked.with_variant(one) for one in usable if asked.admits(asked.with_variant(one))]
    if not fitting and asked.backend == AUTO:
        raise _nothing_fits(bundle, asked)
    if not fitting:
        fitting = [asked.with_variant(Execution(asked.backend, "fp32" if asked.precision == AUTO else asked.precision))]
    return tuple(fitting)


def _require_possible(asked: Execution) -> None:
    require_installed(asked.backend)
    kind = BACKENDS[asked.backend]
    if asked.precision not in (AUTO, *kind.precisions):
        others = ", ".join(one.name for one in BACKENDS.values() if asked.precision in one.precisions)
        raise ConfigError(f"Backend {asked.backend!r} does not run {asked.precision}.", f"Use --backend {others}.")
    if asked.device != "cpu" and not kind.any_device:
        raise ConfigError(f"Backend {asked.backend!r} runs on the CPU, not on {asked.device!r}.", "Leave --device out.")


def _nothing_fits(bundle: Bundle, asked: Execution) -> BoxwrightError:
    proved = [variant for variant in bundle.spec.exports if variant.endswith(f"-{asked.precision}")]
    if proved:
        return MissingDependency(
            f"{bundle.source}: {', '.join(proved)}: proved, but cannot run here on {asked.device!r}.",
            "Install the backend, or use the CPU.",
        )
    if asked.precision != AUTO:
        return ConfigError(
            f"{bundle.source}: no export in {asked.precision} was proved.",
            f"Archive it with --precision {asked.precision}.",
        )
    return MissingDependency(
        f"{bundle.source}: nothing here can run this model.",
        "Archive it with its ONNX export, or install PyTorch: pip install 'boxwright[train]'",
    )


def settle(bundle: Bundle, asked: Execution) -> Execution:
    """What was asked for, its backend and precision settled without measuring: the first of ``candidates``."""
    return candidates(bundle, asked)[0]


def open_backend(bundle: Bundle, execution: Execution) -> Backend:
    """Make a model ready to run; what is open in ``execution`` is settled as ``settle`` does.

    Raises:
        ConfigError: see ``candidates``.
        MissingDependency: see ``candidates``.
        ArchiveError: see ``Backend.open``.
    """
    settled = settle(bundle, execution)
    return BACKENDS[settled.backend].open(bundle, settled)
