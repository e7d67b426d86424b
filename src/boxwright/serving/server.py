"""Binds ports and runs the applications on them, until told to end."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import uvicorn
from starlette.types import ASGIApp

from boxwright.host.memory import keep_freed_memory, return_freed_memory
from boxwright.runtime import BoxwrightError, Execution, MissingDependency, ServingError

from .access_log import tracer_of_environment, with_access_log
from .app import create_app, management_app, predictions_app
from .calls import Service
from .configuration import ModelChanges
from .connections import guarded
from .engine import Engine
from .management import StoreRepository
from .metrics import Metrics, create_metrics_app
from .model import ServedModel
from .registry import NotRegistered, Registry, Rescan
from .settings import Security, ServerSettings
from .tokens import Tokens
from .workers import memory_of

__all__ = ["Offer", "background_server", "run", "serve", "serve_app"]

_log = logging.getLogger(__name__)

_OPTIONS = {
    "predictions": "--port",
    "management": "--management-port",
    "metrics": "--metrics-port",
    "grpc": "--grpc-port",
}
_BACKLOG = 2048
_FAREWELL_SECONDS = 5.0
_LAST_SECONDS = 2  # for answers to those who waited until the grace time was over
_TIDY_SECONDS = 5.0
_KEPT_BYTES = 64 * 1024**2
_MOMENT = 0.3  # seconds: longer than a connection waits in the backlog


class Offer(NamedTuple):
    """What is served, and where from.

    Attributes:
        archives: ``.mar`` files.
        execution: how they run, as far as it is settled; see ``load_model``.
        workers: of each model; by default as many as its execution has sessions.
        load: names of files in the store, each with the name to serve it under (None: its own); None: all of them.
        models: what a configuration says of a name and a version.
    """

    archives: tuple[Path, ...] = ()
    execution: Execution = Execution()
    workers: int | None = None
    load: Sequence[tuple[str, str | None]] | None = ()
    models: Mapping[tuple[str, str], ModelChanges] = MappingProxyType({})


def serve(
    archives: Iterable[str | os.PathLike[str]],
    host: str = "127.0.0.1",
    port: int = 8080,
    execution: Execution = Execution(),
    *,
    settings: ServerSettings = ServerSettings(),
    on_ready: Callable[[Engine, Mapping[str, str]], None] | None = None,
) -> None:
    """Serve archives until interrupted; accepted work is finished first.

    Args:
        archives: ``.mar`` files.
        host: address to bind; loopback by default.
        port: 0 takes a free one.
        execution: how they run, as far as it is settled; see ``load_model``.
        settings: all else.
        on_ready: see ``run``.

    Raises:
        ArchiveError: an archive cannot be used.
        ConfigError: an unknown backend or precision.
        MissingDependency: the backend is not installed.
        ServingError: a port is taken, or nothing was given.
    """
    offer = Offer(tuple(map(Path, archives)), execution, load=() if settings.store is None else None)
    run(offer, replace(settings, host=host, port=port), on_ready)


def run(
    offer: Offer,
    settings: ServerSettings,
    on_ready: Callable[[Engine, Mapping[str, str]], None] | None = None,
    on_rescan: Callable[[Rescan], None] | None = None,
) -> None:
    """Serve until SIGTERM or Ctrl-C, as ``settings`` say.

    The ports are bound and answered first, so that who asks whether the server lives is told so while models load.

    Args:
        offer: what is served.
        settings: how.
        on_ready: called with the engine and the base URL of each port, by what it is for: ``predictions``,
            ``management``, ``metrics`` and ``grpc`` (this one as ``HOST:PORT``), as soon as all models answer.
        on_rescan: called with what changed, whenever SIGHUP made the server look into its store again; faults are
            logged.

    Raises:
        ArchiveError, ConfigError, MissingDependency, ServingError: see ``serve``.
    """
    keep_freed_memory()
    _require_tls(settings.security)
    if settings.store is not None and not settings.store.is_dir():
        raise ServingError(f"{settings.store} is not a folder.", "Give the folder that holds the archives to --store.")
    ports = _bound(settings)
    # now: gRPC's listener is closed before all models answer
    urls = {
        what: _base_url(listener, settings.security) if what != "grpc" else _address(listener)
        for what, listener in ports.items()
    }
    engine = Engine()
    engine.ready, engine.loading = False, True
    execution = offer.execution
    if offer.workers and execution.sessions is None:
        execution = replace(execution, sessions=offer.workers)  # so that each gets its share of the processors
    registry = Registry(engine, settings, execution, offer.workers, offer.models)
    security = settings.security
    repository = None if settings.store is None else StoreRepository(registry)
    service = Service(engine, settings, repository if security.model_control else None)
    managed = Service(engine, settings, repository if security.model_api else None)
    metrics = Metrics(engine, service.intake, managed.intake)
    tokens = Tokens(security.key_file, security.token_minutes) if security.tokens else None
    apps = {
        "predictions": predictions_app(service, metrics, tokens),
        "management": management_app(managed, registry, metrics, tokens),
        "metrics": create_metrics_app(metrics),
    }
    servers = [_Port(_server(_logged(apps[what], settings), settings), ports[what]) for what in ports if what in apps]

    def load() -> None:
        _load_named(registry, offer)
        _load_store(registry, offer)
        _note_absent(registry, offer)
        if not engine.models and settings.management_port is None:
            where = f"{settings.store} holds no archive" if settings.store is not None else "There is nothing"
            remedy = "Give one or more .mar archives; or --management-port, to register some later."
            raise ServingError(f"{where} to serve.", remedy)
        engine.ready, engine.loading = True, False
        if on_ready:
            on_ready(engine, urls)

    def rescan() -> None:
        if engine.loading:
            _log.warning("SIGHUP: the models are still being loaded. Send it again when they are.")
            return
        try:
            found = registry.rescan()
        except Exception:
            _log.exception("SIGHUP: the store could not be looked at")  # nobody waits for this thread
            return
        if on_rescan:
            on_rescan(found)

    asyncio.run(_until_told(_Running(service, servers, ports.get("grpc"), tokens), load, rescan))


def _load_named(registry: Registry, offer: Offer) -> None:
    """Load the archives that were named, each as its own configuration and the server's say.

    Raises:
        BoxwrightError: one cannot be served.
    """
    for path in offer.archives:
        try:
            registry.load_file(path)
        except NotRegistered as fault:
            if isinstance(fault.__cause__, BoxwrightError):
                raise fault.__cause__ from None
            remedy = "Leave it out, or archive it under another --name or --version."
            raise ServingError(f"{path} cannot be served: {fault.message}.", remedy) from fault


def _load_store(registry: Registry, offer: Offer) -> None:
    """Load what was asked for from the store. If that is all of it, a broken file is logged and passed over.

    Raises:
        ServingError: a file that was named cannot be served.
    """
    if offer.load is None:
        registry.rescan(at_startup=True)
        return
    for file, name in offer.load:
        try:
            registry.load(file, name, at_startup=True)
        except NotRegistered as fault:
            raise ServingError(f"{file} cannot be served: {fault.message}.", "Correct load_models.") from fault


def _note_absent(registry: Registry, offer: Offer) -> None:
    """Name the models that a configuration describes and that are not served."""
    served = {(model.name, model.version) for model in registry.served()}
    for name, version in sorted(set(offer.models) - served):
        _log.warning("models: %s %s is not served; what is said of it counts once it is registered.", name, version)


def serve_app(
    app: ASGIApp, settings: ServerSettings = ServerSettings(), on_ready: Callable[[str], None] = lambda url: None
) -> None:
    """Serve another application with this server's limits on connections, until SIGTERM or Ctrl-C.

    Args:
        app: the application.
        settings: host, port, limits, TLS and grace.
        on_ready: called with the base URL when the port is bound.

    Raises:
        ServingError: the port is taken, or the certificate cannot be used.
    """
    _require_tls(settings.security)
    listener = _listen(settings.host, settings.port, _OPTIONS["predictions"])
    on_ready(_base_url(listener, settings.security))
    asyncio.run(_until_signal(_server(app, settings), listener))


async def _until_signal(server: uvicorn.Server, listener: socket.socket) -> None:
    # uvicorn's own ``run`` raises the signal once more when it has ended
    loop = asyncio.get_running_loop()

    def end() -> None:
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        if sys.platform == "win32":
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(end))
        else:
            loop.add_signal_handler(number, end)
    await server._serve([listener])


@contextmanager
def background_server(models: Mapping[str, ServedModel], settings: ServerSettings = ServerSettings()) -> Iterator[str]:
    """Serve loaded models on a free loopback port from a thread, for the time of the block.

    Yields:
        The base URL, ``http://127.0.0.1:PORT``, when it answers.
    """
    listener = _listen("127.0.0.1", 0, _OPTIONS["predictions"])
    engine = Engine(models)
    server = _server(create_app(engine, settings), settings)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        # the socket listens already: a request sent now waits in its backlog until the server runs
        yield _base_url(listener, settings.security)
    finally:
        server.should_exit = True
        thread.join()
        engine.close(settings.grace)


class _Port(NamedTuple):
    """A server and the socket it answers."""

    server: uvicorn.Server
    listener: socket.socket


class _Running(NamedTuple):
    """What one event loop runs.

    Attributes:
        service: what answers.
        ports: over HTTP.
        grpc: a socket that keeps gRPC's port; None without gRPC.
        tokens: that gRPC asks for.
    """

    service: Service
    ports: Sequence[_Port]
    grpc: socket.socket | None
    tokens: Tokens | None


async def _until_told(running: _Running, load: Callable[[], None], rescan: Callable[[], None]) -> None:
    """Answer on all ports until SIGTERM or Ctrl-C; then finish what was accepted, and end.

    From the signal on the server says that it is not ready, and answers what comes all the same: who balances the load
    learns of it later. It stops listening when nothing was left to do for a moment, after ``_FAREWELL_SECONDS`` at the
    latest, and ends when all is answered. Who still waits when the grace time is over is told so, and the server ends
    within ``_LAST_SECONDS`` more. A second signal ends it at once.
    """
    engine, grace = running.service.engine, running.service.settings.grace
    loop = asyncio.get_running_loop()
    over = math.inf  # when the grace time is over, by the loop's clock
    ending = asyncio.Event()
    _listen_to_signals(ending, engine, rescan)
    # uvicorn's ``serve`` would take the signals for itself
    serving = [asyncio.ensure_future(server._serve([listener])) for server, listener in running.ports]
    rpc = await _start_grpc(running)
    tidying = asyncio.ensure_future(_give_memory_back(engine))
    told = asyncio.ensure_future(ending.wait())
    loading = _begun(load)
    try:
        first: set[asyncio.Future[Any]] = {told, loading, *serving}
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        if loading.done():
            await loading
            await asyncio.wait({told, *serving}, return_when=asyncio.FIRST_COMPLETED)
            over = loop.time() + grace
            await _quiet([server for server, _ in running.ports], min(_FAREWELL_SECONDS, grace))
    finally:
        told.cancel()
        tidying.cancel()
        engine.ready = False
        left = max(0.0, min(over - loop.time(), grace))
        for server, _ in running.ports:
            server.config.timeout_graceful_shutdown = round(left) + _LAST_SECONDS
            server.should_exit = True
        if rpc is not None:
            serving.append(asyncio.ensure_future(rpc.stop(left + _LAST_SECONDS)))
        await asyncio.wait(serving, timeout=left)
        if loading.done():
            # whoever still waits is told so; on a thread that is left behind if a worker hangs
            await asyncio.wait({_begun(lambda: engine.close(0.0))}, timeout=_LAST_SECONDS)
        await asyncio.gather(*serving)


def _begun(call: Callable[[], object]) -> asyncio.Future[None]:
    """Run a call on a thread that nobody waits for when the server is to end meanwhile."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def settle(error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def run() -> None:
        error: BaseException | None = None
        try:
            call()
        except BaseException as raised:
            error = raised
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(settle, error)

    threading.Thread(target=run, name="loading", daemon=True).start()
    return done


def _listen_to_signals(ending: asyncio.Event, engine: Engine, rescan: Callable[[], None]) -> None:
    """SIGTERM and Ctrl-C end the server, SIGHUP lets it look at its store again."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        if sys.platform == "win32":  # whose loops take no handlers
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(_tell, ending, engine))
        else:
            loop.add_signal_handler(number, _tell, ending, engine)
    if sys.platform != "win32":
        loop.add_signal_handler(signal.SIGHUP, lambda: loop.run_in_executor(None, rescan))


async def _start_grpc(running: _Running) -> Any:
    if running.grpc is None:
        return None
    from .grpc_server import start_grpc

    host, port = running.grpc.getsockname()[:2]
    running.grpc.close()  # gRPC binds by itself; until here the port was kept for it
    return await start_grpc(running.service, host, port, running.tokens)


async def _quiet(servers: Sequence[uvicorn.Server], seconds: float) -> None:
    """Return when no request was on its way for a moment, or the time is over."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    quiet_since = loop.time()
    while loop.time() < min(end, quiet_since + _MOMENT):
        await asyncio.sleep(0.02)
        if any(server.server_state.tasks for server in servers):
            quiet_since = loop.time()


async def _give_memory_back(engine: Engine) -> None:
    """Return what a burst took, once nothing is left to do: between pictures it is kept, which is faster."""
    least = memory_of(os.getpid())
    while True:
        await asyncio.sleep(_TIDY_SECONDS)
        held = memory_of(os.getpid())
        if not engine.pending and held > least + _KEPT_BYTES:
            await asyncio.to_thread(return_freed_memory)
            least = min(held, memory_of(os.getpid()))


def _tell(told: asyncio.Event, engine: Engine) -> None:
    if told.is_set():
        os._exit(1)  # whoever sends a second signal does not want to wait
    engine.ready = False
    told.set()


def _server(app: ASGIApp, settings: ServerSettings) -> uvicorn.Server:
    security = settings.security
    config = uvicorn.Config(
        app,
        http=guarded(settings.limits.idle_seconds, settings.limits.connections),
        ws="none",
        lifespan="off",
        log_config=None,  # logging is the caller's: uvicorn's own setup closes handlers that are there
        log_level="warning",
        access_log=False,
        backlog=_BACKLOG,
        server_header=False,
        timeout_keep_alive=int(settings.limits.idle_seconds),
        timeout_graceful_shutdown=round(settings.grace) + _LAST_SECONDS,  # counted from when it stops listening
        ssl_certfile=security.certificate,
        ssl_keyfile=security.private_key,
        ssl_version=ssl.PROTOCOL_TLS_SERVER,
    )
    return uvicorn.Server(config)


def _require_tls(security: Security) -> None:
    """Raise unless the certificate and its key, if there are any, can be used; before a port is bound."""
    if security.certificate is None:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(security.certificate, security.private_key)
    except OSError as error:  # ssl.SSLError is one
        files = f"{security.certificate} and {security.private_key}"
        remedy = "Give a PEM certificate and the key that belongs to it."
        # OpenSSL's own words are places in its source
        reason = "one is not PEM, or they do not belong together" if isinstance(error, ssl.SSLError) else error.strerror
        raise ServingError(f"{files} cannot be used for TLS: {reason}.", remedy) from error


def _logged(app: ASGIApp, settings: ServerSettings) -> ASGIApp:
    tracer = tracer_of_environment()
    if settings.access_log is None and tracer is None:
        return app
    return with_access_log(app, settings.access_log or "json", tracer)


def require_ports(settings: ServerSettings) -> None:
    """Raise unless ports and certificate can be used, before anything slow begins; nothing listens there afterwards.

    Raises:
        ServingError: they cannot.
        MissingDependency: gRPC is not installed.
    """
    _require_tls(settings.security)
    for listener in _bound(settings).values():
        listener.close()


def _bound(settings: ServerSettings) -> dict[str, socket.socket]:
    """A listening socket for each port that was asked for, by what it is for.

    Raises:
        ServingError: one of them cannot be bound, or gRPC is not installed.
    """
    ports = {
        "predictions": settings.port,
        "management": settings.management_port,
        "metrics": settings.metrics_port,
        "grpc": settings.grpc_port,
    }
    wanted = {what: port for what, port in ports.items() if port is not None}
    if settings.grpc_port is not None and find_spec("grpc") is None:
        raise MissingDependency("--grpc-port needs grpcio.", "pip install 'boxwright[grpc]'")
    hosts = {"management": settings.management_host, "metrics": settings.metrics_host}
    places = {what: (hosts.get(what) or settings.host, port) for what, port in wanted.items()}
    _require_different(places)
    return {what: _listen(host, port, _OPTIONS[what]) for what, (host, port) in places.items()}


def _require_different(places: Mapping[str, tuple[str, int]]) -> None:
    taken: dict[tuple[str, int], str] = {}
    for what, place in places.items():
        option, port = _OPTIONS[what], place[1]
        if place in taken:
            raise ServingError(f"{taken[place]} and {option} are both {port}.", "Give each a port of its own.")
        if port:  # 0 takes a free one
            taken[place] = option


def _listen(host: str, port: int, option: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only on sockets that name their protocol; without it answers wait 40 ms for an ACK
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or str(error)
        remedy = f"Choose another {option}, 0 for any free one, or another --host."
        raise ServingError(f"{host}:{port} cannot be used: {reason}.", remedy) from error
    return listener


def _base_url(listener: socket.socket, security: Security) -> str:
    return f"{'https' if security.certificate else 'http'}://{_address(listener)}"


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
