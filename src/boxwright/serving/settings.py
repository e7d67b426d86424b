"""What a server is told, in one place; the command line, a configuration file and the environment fill it in."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from .model import ModelOptions

if TYPE_CHECKING:
    from .access_log import LogForm

__all__ = ["Limits", "Security", "ServerSettings"]


@dataclass(frozen=True)
class Limits:
    """What a server bears.

    Attributes:
        max_body: largest request body in bytes, also when unpacked.
        in_memory: bytes of a body that are kept in memory; more of it lies in a temporary file.
        in_flight: bytes of all bodies together, on their way in or waiting; more are refused.
        body_seconds: from a body's first byte to its last.
        least_rate: bytes per second that a body must come with, on the mean, once ``patience`` is over.
        patience: seconds in which a body may be slow.
        idle_seconds: for which a connection is kept without the whole head of a request, and while a client does not
            read its answer.
        connections: to each port over HTTP at the same time; one more is refused.
        workers: most of one version, which the management calls can ask for.
    """

    max_body: int = 32 * 1024**2
    in_memory: int = 256 * 1024
    in_flight: int = 1024**3
    body_seconds: float = 120.0
    least_rate: float = 4096.0
    patience: float = 10.0
    idle_seconds: float = 30.0
    connections: int = 4096
    workers: int = 64


@dataclass(frozen=True)
class Security:
    """Who may ask.

    Attributes:
        tokens: whether requests need a token, as TorchServe's token authorization has it.
        key_file: where the tokens are written.
        token_minutes: for which a token is valid.
        certificate: PEM file; with ``private_key`` the server speaks TLS.
        private_key: PEM file.
        origins: of pages that may ask from a browser (CORS); ``*`` is any.
        model_api: whether the management calls may register and unregister; they may always list, describe and scale.
        allowed_urls: regular expressions, of which one must fit all of a URL that an archive is registered from; none
            by default: archives come from the store.
        model_control: whether the Open Inference Protocol may load and unload models also where predictions are asked
            for, as Triton's explicit mode has it; on the management port it always may.
    """

    tokens: bool = False
    key_file: Path = Path("key_file.json")
    token_minutes: int = 60
    certificate: Path | None = None
    private_key: Path | None = None
    origins: tuple[str, ...] = ()
    model_api: bool = False
    allowed_urls: tuple[str, ...] = ()
    model_control: bool = False


@dataclass(frozen=True)
class ServerSettings:
    """How archives are served.

    Attributes:
        host: address to bind; loopback by default.
        port: of predictions; 0 takes a free one.
        management_port: of the calls that change what is served; None leaves them out.
        management_host: address of that port; ``host`` if None.
        metrics_port: of ``/metrics``, beside the predictions' port which has it, too; None for no port of its own.
        metrics_host: address of that port; ``host`` if None.
        grpc_port: of the Open Inference Protocol over gRPC; None leaves it out.
        store: folder that models are registered from; None registers nothing.
        grace: seconds for accepted work after SIGTERM.
        access_log: a line per request, as ``json`` or ``text``; None for none.
        models: how each model is served, unless it says so itself.
        limits: what the server bears.
        security: who may ask.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    management_port: int | None = None
    management_host: str | None = None
    metrics_port: int | None = None
    metrics_host: str | None = None
    grpc_port: int | None = None
    store: Path | None = None
    grace: float = 60.0
    access_log: LogForm | None = None
    models: ModelOptions = field(default_factory=ModelOptions)
    limits: Limits = field(default_factory=Limits)
    security: Security = field(default_factory=Security)
