"""The Ray cluster that a verb runs on: one that is there already, or one of this machine that ends with the verb."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from boxwright.host.dependencies import require_packages
from boxwright.host.machine import cores
from boxwright.runtime import ConfigError

__all__ = ["LOCAL", "connected", "environment", "require_cluster", "require_processors", "require_ray"]

LOCAL = "ray"
"""Where ``RAY_ADDRESS`` says, else on this machine."""

_ADDRESS = re.compile(r"(?:ray://)?[\w.-]+:\d{1,5}|\[[0-9a-fA-F:]+\]:\d{1,5}|auto")
_SECONDS_TO_CONNECT = 5.0
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DISABLE_FAILURE_SIGNAL_HANDLER": "1",  # it answers SIGTERM with a stack trace and SIGABRT
}


def require_ray(on: str) -> None:
    """Raise unless a cluster can be asked for so; nothing is started or imported.

    Args:
        on: ``ray``, ``ray://HOST:PORT`` (Ray's client) or ``HOST:PORT`` (from a machine of the cluster).

    Raises:
        ConfigError: it is something else.
        MissingDependency: ``boxwright[ray]`` is not installed.
    """
    if on != LOCAL and not _ADDRESS.fullmatch(on):
        raise ConfigError(
            f"--on {on!r} is not a cluster.",
            "Use ray (the cluster of RAY_ADDRESS, else this machine), HOST:PORT or ray://HOST:PORT.",
        )
    require_packages(("ray",), "boxwright[ray]")


def require_cluster(on: str) -> None:
    """Raise unless something listens where the cluster should be, before anything else is done; nothing is started.

    Args:
        on: see ``require_ray``.

    Raises:
        ConfigError: nothing does, or see ``require_ray``.
        MissingDependency: see ``require_ray``.
    """
    require_ray(on)
    address = _address(on)
    if address and not _is_connected():
        _require_somebody(address)


def require_processors(on: str, needed: int, option: str) -> None:
    """Raise unless a cluster that is to be started on this machine has so many processors; nothing is started.

    One that is there already is not asked: it may grow.

    Args:
        on: see ``require_ray``.
        needed: processors.
        option: what asks for them.

    Raises:
        ConfigError: it has fewer.
    """
    if _address(on) is None and not _is_connected() and needed > cores():
        raise ConfigError(
            f"{option}: {needed} processors are needed, and this machine has {cores()}.",
            "Ask for fewer, or give the address of a larger cluster to --on.",
        )


def _is_connected() -> bool:
    """Whether this process has a connection already, which is then used; Ray is not imported to find out."""
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


def _address(on: str) -> str | None:
    """Of a cluster that is there already; None for one of this machine that is still to be started."""
    return on if on != LOCAL else os.environ.get("RAY_ADDRESS")


@contextmanager
def connected(on: str = LOCAL, tell: Callable[[str], object] = lambda text: None) -> Iterator[None]:
    """A cluster that tasks can be given to. One that was started here ends with the context; usage is not reported.

    SIGTERM is as Ctrl-C within the context, in a process's main thread.

    Args:
        on: see ``require_ray``. A connection that exists already is used, and left.
        tell: called with a sentence before what takes a while.

    Raises:
        ConfigError: no cluster answers there, or it does not let this process in.
        MissingDependency: ``boxwright[ray]`` is not installed.
    """
    require_ray(on)
    with environment(_QUIET):
        import ray

        if ray.is_initialized():
            yield
            return
        address = _address(on)
        if address:
            _require_somebody(address)
        tell(f"Connecting to the cluster at {address}." if address else "Starting a cluster on this machine.")
        before = signal.getsignal(signal.SIGTERM)
        try:
            if address:
                ray.init(address=address, logging_level="ERROR", log_to_driver=False)
            else:
                ray.init(
                    address="local",
                    num_cpus=cores(),
                    include_dashboard=False,
                    logging_level="ERROR",
                    log_to_driver=False,
                )
        except (ConnectionError, TimeoutError, RuntimeError, ValueError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise (_refused(address, reason) if address else _not_started(reason)) from error
        try:
            with _sigterm_as_interrupt(before):
                yield
        finally:
            ray.shutdown()


@contextmanager
def _sigterm_as_interrupt(afterwards: Any) -> Iterator[None]:
    """Ray's own handler ends the process without a word; afterwards it is as it was before Ray."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, afterwards)


def _require_somebody(address: str) -> None:
    """Raise unless a connection can be made: Ray itself would go on trying for minutes.

    Raises:
        ConfigError: it cannot.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _SECONDS_TO_CONNECT).close()
    except OSError as error:
        raise _nobody(address, str(error.strerror or error)) from error


def _refused(address: str, reason: str) -> ConfigError:
    """Something listens there; Ray's reason does not say whether it wants a token, as ``ray start`` makes one."""
    return ConfigError(
        f"The Ray cluster at {address} cannot be used: {reason.rstrip('.')}.",
        "If it wants a token, as those of 'ray start' do, set RAY_AUTH_MODE=token here, and RAY_AUTH_TOKEN unless the "
        "token is in ~/.ray/auth_token. Versions of Ray and Python must also be the cluster's.",
    )


def _not_started(reason: str) -> ConfigError:
    return ConfigError(
        f"No Ray cluster could be started on this machine: {reason.rstrip('.')}.",
        "Ray's logs, in its folder for temporary files, say more; memory or disk space may be short.",
    )


def _nobody(where: str, reason: str) -> ConfigError:
    return ConfigError(
        f"No Ray cluster answers at {where}: {reason.rstrip('.')}.",
        "Correct the address, or start one with 'ray start --head'; --on ray without RAY_ADDRESS needs none.",
    )


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Variables that Ray reads from the environment alone; what the caller has set stays."""
    added = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
