"""An application, or the gRPC server, on a free port of this machine for the time of a block."""

import asyncio
import threading
from contextlib import contextmanager

import uvicorn

from boxwright.serving.grpc_server import start_grpc


@contextmanager
def listening(app):
    """Yields HOST:PORT."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", lifespan="off", ws="none")
    server = uvicorn.Server(config)
    listener = config.bind_socket()
    listener.listen(128)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield "{}:{}".format(*listener.getsockname()[:2])
    finally:
        server.should_exit = True
        thread.join(30)
        listener.close()


@contextmanager
def grpc_listening(service, **options):
    """Yields HOST:PORT."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def run(coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(30)

    try:
        server = run(start_grpc(service, "127.0.0.1", 0, **options))
        try:
            yield f"127.0.0.1:{server.port}"
        finally:
            run(server.stop(5.0))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()
