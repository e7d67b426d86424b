"""Binds a port and runs the application on it."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import uvicorn

from boxwright.host.memory import keep_freed_memory
from boxwright.runtime import Execution, ServingError

from .app import MAX_BODY, create_app
from .engine import Engine, ServedModel, load_models

__all__ = ["background_server", "serve"]

_SHUTDOWN_SECONDS = 10


def serve(
    archives: Iterable[str | os.PathLike[str]],
    host: str = "127.0.0.1",
    port: int = 8080,
    execution: Execution = Execution(),
    *,
    max_body: int = MAX_BODY,
    on_ready: Callable[[Engine, str], None] | None = None,
) -> None:
    """Serve archives until interrupted; accepted work is finished first.

    Args:
        archives: ``.mar`` files.
        host: address to bind; loopback by default.
        port: 0 takes a free one.
        execution: how they run, as far as it is settled; see ``load_models``.
        max_body: largest accepted request body in bytes.
        on_ready: called with the engine and the base URL when the port is bound.

    Raises:
        ArchiveError: an archive cannot be used.
        ConfigError: an unknown backend or precision.
        MissingDependency: the backend is not installed.
        ServingError: the port is taken, or nothing was given.
    """
    keep_freed_memory()
    engine = Engine(load_models(archives, execution))
    listener = _listen(host, port)
    if on_ready:
        on_ready(engine, _base_url(listener))
    _server(engine, max_body).run(sockets=[listener])


@contextmanager
def background_server(models: Mapping[str, ServedModel]) -> Iterator[str]:
    """Serve loaded models on a free loopback port from a thread, for the time of the block.

    Yields:
        The base URL, ``http://127.0.0.1:PORT``, when it answers.
    """
    listener = _listen("127.0.0.1", 0)
    server = _server(Engine(models), MAX_BODY)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        # the socket listens already: a request sent now waits in its backlog until the server runs
        yield _base_url(listener)
    finally:
        server.should_exit = True
        thread.join()


def _server(engine: Engine, max_body: int) -> uvicorn.Server:
    config = uvicorn.Config(
        create_app(engine, max_body),
        log_level="warning",
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
        lifespan="off",
    )
    return uvicorn.Server(config)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only on sockets that name their protocol; without it answers wait 40 ms for an ACK
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except (OSError, OverflowError) as error:
        listener.close()
        raise ServingError(f"{host}:{port} cannot be bound: {error}.", "Choose another --port or --host.") from error
    return listener


def _base_url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
