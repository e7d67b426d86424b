"""What every protocol does with a call: refuse it early, receive the body, predict, and stop when the client leaves."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from boxwright.runtime import Detections, PictureError

from .bodies import unpacked
from .engine import Engine
from .intake import Body, Gone, Intake
from .jobs import Answer, NotAnswered
from .model import ServedModel
from .refusals import Refusal, refusal_of
from .repository import Repository
from .settings import ServerSettings

__all__ = ["THRESHOLDS", "Found", "Protocol", "Service", "number_of"]

_log = logging.getLogger(__name__)

THRESHOLDS = ("threshold", "conf")
"""Names of the parameter for the lowest reported score: ours, and the one that other detectors' servers have."""


@dataclass(frozen=True, eq=False)
class Found:
    """An answered picture.

    Attributes:
        model: that answered.
        detections: the reported ones, best first, in pixels of the picture.
        answer: as the engine gave it.
    """

    model: ServedModel
    detections: Detections
    answer: Answer


@dataclass(frozen=True, eq=False)
class Service:
    """What calls work with.

    Attributes:
        engine: the models.
        settings: of the server.
        repository: where clients may load models from; None where they may not.
        intake: receives bodies.
    """

    engine: Engine
    settings: ServerSettings
    repository: Repository | None = None
    intake: Intake = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "intake", Intake(self.settings.limits))

    @property
    def ready(self) -> bool:
        """Whether to send it pictures: it is not about to end, and each model has the workers it was asked for."""
        return self.engine.ready and all(len(model.workers) >= model.least for model in self.engine.models.values())

    def find(self, name: str, version: str | None = None) -> ServedModel:
        """A served version.

        Raises:
            Refusal: 404, there is none.
        """
        try:
            return self.engine.find(name, version)
        except NotAnswered as error:
            raise refusal_of(error) from None

    def require_room(self, name: str, version: str | None = None) -> ServedModel:
        """The version, if it takes another picture; asked before a body is read, so that it need not be sent.

        Raises:
            Refusal: 404, 503.
        """
        try:
            return self.engine.require_room(name, version)
        except NotAnswered as error:
            raise refusal_of(error) from None

    async def receive(self, request: Request, most: int | None = None) -> Body:
        """The whole body of a request, unpacked.

        Args:
            request: that is to be answered.
            most: bytes of the body, packed and unpacked, where they are less than ``Limits.max_body``.

        Raises:
            Refusal: too large (413), too slow (408), no room (503), or its encoding is unknown or broken (415, 400).
            Gone: the client has left.
        """
        length = request.headers.get("content-length", "")
        body = await self.intake.receive(request.receive, int(length) if length.isdecimal() else None, most)
        encoding = request.headers.get("content-encoding", "identity").strip().lower()
        if encoding == "identity":
            return body
        largest = self.settings.limits.max_body if most is None else min(most, self.settings.limits.max_body)
        try:  # on a thread whatever its size: a thousandth of what is packed in it
            content = await anyio.to_thread.run_sync(lambda: unpacked(body.read(), encoding, largest))
        finally:
            body.release()
        return self.intake.kept(content)

    async def predict(
        self,
        request: Request | None,
        name: str,
        version: str | None,
        pictures: Sequence[Body],
        threshold: float | None = None,
    ) -> list[Found]:
        """The detections of pictures, in their order.

        Args:
            request: its body was received. If its client leaves, what was not begun is not computed. None where leaving
                cancels the call itself.
            name: of the model.
            version: of the model; the default one if None.
            pictures: released here, whatever happens.
            threshold: lowest reported score; the model's operating point if None.

        Raises:
            Refusal: 400, they are more than the model's queue holds; or one cannot be used, was not accepted, or could
                not be computed.
            Gone: the client has left.
        """
        self._require_fitting(name, version, pictures)
        asked: list[tuple[ServedModel, Future[Answer]]] = []
        try:
            for picture in pictures:
                asked.append(self.engine.submit(name, picture, version))  # noqa: PERF401 - kept if one is refused
            answers = await _while_there(request, [future for _, future in asked])
        except (PictureError, NotAnswered) as error:
            raise _named(refusal_of(error), error, [future for _, future in asked], len(pictures)) from None
        finally:
            for _, future in asked:
                future.cancel()
            for picture in pictures[len(asked) :]:
                picture.release()
        found_at = time.perf_counter()
        found = [
            Found(model, _reported(model, answer.detections, threshold), answer)
            for (model, _), answer in zip(asked, answers, strict=True)
        ]
        if request is not None:  # for metrics and the access log, which are around the application
            request.state.found_at, request.state.found = found_at, found
        return found

    def _require_fitting(self, name: str, version: str | None, pictures: Sequence[Body]) -> None:
        """Refuse for good what would never fit, instead of saying when to come back."""
        try:
            model = self.find(name, version)
            most = model.options.queue_size
            if len(pictures) > most:
                message = f"The request holds {len(pictures)} pictures, and model {model.name} takes {most} at a time."
                raise Refusal(400, message)
        except Refusal:
            for picture in pictures:
                picture.release()
            raise


def _no_routes(service: Service) -> list[BaseRoute]:
    return []


@dataclass(frozen=True)
class Protocol:
    """A way to ask over HTTP.

    Attributes:
        prefix: of its paths.
        routes: its calls, for a service.
        error: encodes a refusal.
        late_routes: calls whose paths fit those of other protocols too, which go before.
    """

    prefix: str
    routes: Callable[[Service], list[BaseRoute]]
    error: Callable[[Refusal], Response]
    late_routes: Callable[[Service], list[BaseRoute]] = _no_routes


def _named(
    refusal: Refusal, error: PictureError | NotAnswered, asked: Sequence[Future[Answer]], pictures: int
) -> Refusal:
    """A refusal that says which of several pictures is the bad one; they are counted from 1."""
    if pictures < 2 or not isinstance(error, PictureError):
        return refusal
    places = [place for place, one in enumerate(asked, 1) if _failed_with(one, error)]
    place = places[0] if places else len(asked) + 1  # it was refused before it was asked for
    return Refusal(refusal.status, f"Picture {place} of {pictures}: {refusal.message}", refusal.kind, refusal.headers)


def _failed_with(future: Future[Answer], error: Exception) -> bool:
    return future.done() and not future.cancelled() and future.exception() is error


async def _while_there(request: Request | None, futures: Sequence[Future[Answer]]) -> list[Answer]:
    """All answers; raise as soon as the client has left."""
    waiting = asyncio.gather(*map(asyncio.wrap_future, futures))
    waiting.add_done_callback(_seen)
    leaving = asyncio.ensure_future(_left(request))
    both: set[asyncio.Future[Any]] = {waiting, leaving}
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            raise Gone
        return waiting.result()
    finally:
        leaving.cancel()
        waiting.cancel()


def _seen(done: asyncio.Future[Any]) -> None:
    """Look at an outcome that nobody may wait for any more, so that asyncio does not log it as overlooked."""
    if not done.cancelled():
        done.exception()


async def _left(request: Request | None) -> None:
    if request is None:
        await asyncio.Event().wait()  # which nobody sets
        return
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _reported(model: ServedModel, detections: Detections, threshold: float | None) -> Detections:
    return detections.filter_by_score(model.thresholds if threshold is None else threshold)


def number_of(text: str, what: str) -> float:
    """A score that a client asks for.

    Raises:
        Refusal: 400, it is not a number from 0 to 1.
    """
    try:
        number = float(text)
    except (TypeError, ValueError):
        number = math.nan
    if not 0.0 <= number <= 1.0:
        raise Refusal(400, f"{what} = {text!r} is not a number from 0 to 1.")
    return number
