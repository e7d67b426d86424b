"""The application around the tiny model."""

import anyio
import httpx
import pytest

from boxwright.runtime import Execution
from boxwright.serving.app import create_app
from boxwright.serving.engine import Engine, load_models
from boxwright.serving.settings import Limits, ServerSettings


@pytest.fixture(scope="session")
def engine(mar):
    """Runs what ``Predictor`` takes, so that answers are equal to the last bit; a warm-up may take another."""
    return Engine(load_models([mar], Execution("onnxruntime")))


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """What serving remembers of a machine stays out of the home folder; these tests share it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


SMALL = ServerSettings(limits=Limits(max_body=200_000))


@pytest.fixture
def ask(engine):
    """One request to the application, without a socket."""

    def call(method, path, app=None, **options):
        async def send():
            transport = httpx.ASGITransport(app or create_app(engine, SMALL))
            async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
                return await client.request(method, path, **options)

        return anyio.run(send)

    return call
