"""What a server does, in figures: Prometheus metrics, and the calls that give them."""

from __future__ import annotations

import threading
import time
import weakref
from bisect import bisect_left
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from boxwright.metrics.stability import SCORE_BUCKETS, picture_counts

from .calls import Found, Protocol, Service
from .drift import LEAST_PICTURES, WINDOW, Drift
from .engine import Engine
from .intake import Intake
from .jobs import Answer, ModelNotFound
from .model import ServedModel
from .settings import ServerSettings
from .torchserve import error_json
from .torchserve_metrics import SystemFigures, Totals, torchserve_text
from .workers import memory_of

__all__ = ["ADDITIVE", "CONTENT_TYPE", "PER_REQUEST", "STAGES", "Metrics", "create_metrics_app", "metrics_protocol"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
STAGES = ("receive", "decode", "queue", "network", "post")
"""A picture's way: body received, decoded, waited, computed, answer encoded."""

ADDITIVE = frozenset(
    {
        "boxwright_bytes_in_flight",
        "boxwright_bodies_receiving",
        "boxwright_pictures_pending",
        "boxwright_queue_pictures",
        "boxwright_queue_limit",
        "boxwright_workers",
        "boxwright_workers_wanted",
    }
)
"""Gauges that count: for several servers together, their sum. The sum of any other gauge says nothing."""

PER_REQUEST = frozenset(
    {"boxwright_requests", "boxwright_request_seconds", "Requests2XX", "Requests4XX", "Requests5XX"}
)
"""What is counted for every request over HTTP, by family: where requests pass two servers, one of them counts."""

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_MODEL = ("model", "version")

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]


class _Histogram:
    """Counts by upper end of a bucket, and the sum."""

    def __init__(self, ends: Sequence[float]) -> None:
        self.ends = ends
        self.counts = [0] * (len(ends) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.ends, value)] += 1
        self.sum += value

    def buckets(self) -> list[tuple[str, float]]:
        return _cumulated(self.ends, self.counts)


def _cumulated(ends: Sequence[float], counts: Sequence[int]) -> list[tuple[str, float]]:
    """As Prometheus counts them: in each bucket all that lies below its end, in the last one everything."""
    totals = np.cumsum(counts).tolist()
    return [(str(end), float(total)) for end, total in zip((*map(float, ends), "+Inf"), totals, strict=True)]


class _Tally:
    """What is known of one version beyond its own counts."""

    def __init__(self, model: ServedModel, window: int, least: int) -> None:
        self.stages = {stage: _Histogram(_SECONDS) for stage in STAGES}
        self.batches: Counter[int] = Counter()  # pictures by the size of the batch they ran in
        self.errors: Counter[str] = Counter()
        self.num_classes = len(model.class_names)
        self.counts = np.zeros(self.num_classes + 1 + SCORE_BUCKETS, np.int64)  # see ``picture_counts``
        self.sum_of_scores = 0.0
        self.drift = Drift(model.spec, window, least)
        self.last: dict[str, float] = {}  # seconds by stage of the newest answer
        self._thresholds = np.array(model.thresholds)

    def add(self, answer: Answer) -> None:
        for stage, seconds in answer.seconds.items():
            self.stages[stage].add(seconds)
        self.last = answer.seconds
        self.batches[answer.batch] += 1
        found = answer.detections
        kept = found.scores >= self._thresholds[found.labels]  # compared in float64, as thresholds always are
        scores = found.scores[kept]
        counts = picture_counts(found.labels[kept], scores, self.num_classes)
        self.counts += counts
        self.drift.add(counts)
        self.sum_of_scores += float(scores.sum())


class Metrics(Collector):
    """Watches an engine, and the applications around it. May be used from any thread.

    Nothing here is global: each object has a registry of its own, and an engine forgets one that is gone.

    Args:
        engine: its models.
        intakes: that receive bodies for it; see ``watch``.
        window: pictures that drift is measured on; see ``Drift``.
        least: pictures below which there is no figure of drift.

    Attributes:
        engine: the same.
        registry: of the client library. Further collectors may be registered.
    """

    def __init__(self, engine: Engine, *intakes: Intake, window: int = WINDOW, least: int = LEAST_PICTURES) -> None:
        self.engine = engine
        self.registry = CollectorRegistry()
        self._intakes = list(intakes)
        self._window, self._least = window, least
        self._lock = threading.Lock()
        self._tallies: weakref.WeakKeyDictionary[ServedModel, _Tally] = weakref.WeakKeyDictionary()
        self._requests: Counter[tuple[str, int]] = Counter()  # by method and status; 0: the client left without one
        self._refused: Counter[str] = Counter()
        self._seconds = _Histogram(_SECONDS)
        self._system = SystemFigures()
        ProcessCollector(registry=self.registry)
        self.registry.register(self)
        _observe_weakly(engine, self)

    def watch(self, intake: Intake) -> None:
        """Count the bodies of one more application."""
        self._intakes.append(intake)

    # what happens

    def observe(self, model: ServedModel, outcome: Answer | BaseException) -> None:
        """Count what became of a picture; an ``Observer`` of the engine."""
        with self._lock:
            tally = self._tally(model)
            if isinstance(outcome, Answer):
                tally.add(outcome)
            else:
                tally.errors[type(outcome).__name__] += 1

    def around(self, app: ASGIApp) -> ASGIApp:
        """An application whose requests are counted and timed."""

        async def counted(scope: _Message, receive: _Receive, send: _Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            request = _Timed(receive, send)
            try:
                await app(scope, request.receive, request.send)
            finally:
                self._requested(scope, request)

        return counted

    def _requested(self, scope: _Message, request: _Timed) -> None:
        state = scope.get("state", {})
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"  # a client may send any word
        with self._lock:
            self._requests[method, request.status] += 1
            self._seconds.add(time.perf_counter() - request.began)
            if kind := state.get("refused"):
                self._refused[kind] += 1
            found: Sequence[Found] = state.get("found", ())
            if found and request.answered:
                tally = self._tally(found[0].model)
                tally.stages["receive"].add(request.received - request.began)
                tally.stages["post"].add(max(0.0, request.answered - state["found_at"]))

    def _tally(self, model: ServedModel) -> _Tally:
        tally = self._tallies.get(model)
        if tally is None:
            tally = self._tallies[model] = _Tally(model, self._window, self._least)
        return tally

    # what is told

    def text(self, names: Iterable[str] = ()) -> str:
        """All metrics in Prometheus' text format 0.0.4, then TorchServe's names for some of them.

        Args:
            names: of metrics or samples; only those are given. All by default.
        """
        wanted = frozenset(names)
        families = list(self.registry.collect())
        if wanted:
            families = [part for family in families if (part := _part(family, wanted)).samples]
        ours = generate_latest(_Collected(families)).decode()
        with self._lock:
            theirs = torchserve_text(self._totals(), self._system, wanted)
        return ours + theirs

    def collect(self) -> Iterator[Metric]:
        """The metrics as they are now, for the registry."""
        with self._lock:
            families = [*self._of_server(), *self._of_models()]
        yield from families

    def _models(self) -> list[tuple[ServedModel, _Tally]]:
        models: list[ServedModel] = []
        for name in self.engine.models:
            with suppress(ModelNotFound):  # taken out in this moment
                models += self.engine.versions(name)
        return [(model, self._tally(model)) for model in models]

    def _of_server(self) -> Iterator[Metric]:
        ready = GaugeMetricFamily(
            "boxwright_ready", "1 while the server takes pictures; 0 from the moment it is to end."
        )
        ready.add_metric([], float(self.engine.ready))
        yield ready
        requests = CounterMetricFamily(
            "boxwright_requests",
            "Requests by method and status; status 0: the client left.",
            labels=("method", "status"),
        )
        for (method, status), count in sorted(self._requests.items()):
            requests.add_metric([method, str(status)], count)
        yield requests
        refused = CounterMetricFamily(
            "boxwright_refused_requests", "Requests that were refused, by kind.", labels=("kind",)
        )
        for kind, count in sorted(self._refused.items()):
            refused.add_metric([kind], count)
        yield refused
        seconds = HistogramMetricFamily("boxwright_request_seconds", "From a request's head to the end of its answer.")
        seconds.add_metric([], self._seconds.buckets(), self._seconds.sum)
        yield seconds
        flying = GaugeMetricFamily("boxwright_bytes_in_flight", "Bytes of bodies that are held.")
        flying.add_metric([], sum(intake.in_flight for intake in self._intakes))
        yield flying
        receiving = GaugeMetricFamily("boxwright_bodies_receiving", "Bodies on their way in.")
        receiving.add_metric([], sum(intake.receiving for intake in self._intakes))
        yield receiving

    def _of_models(self) -> Iterator[Metric]:
        models = self._models()
        yield from _gauges(models)
        yield from _counters(models)
        yield from _histograms(models)
        yield from _drift(models)

    def _totals(self) -> Totals:
        """What TorchServe's names stand for."""
        classes: Counter[str] = Counter()
        for (_, status), count in self._requests.items():
            classes[f"Requests{status // 100}XX"] += count
        models = {
            (model.name, "default" if self.engine.is_default(model) else model.version): (
                {stage: tally.stages[stage].sum for stage in STAGES},
                sum(tally.batches.values()),
                tally.last,
            )
            for model, tally in self._models()
        }
        return Totals(classes, models)


def _observe_weakly(engine: Engine, metrics: Metrics) -> None:
    """Let an engine tell metrics as long as they are in use elsewhere."""
    method = weakref.WeakMethod(metrics.observe)

    def tell(model: ServedModel, outcome: Answer | BaseException) -> None:
        if (observe := method()) is not None:
            observe(model, outcome)

    engine.observers.append(tell)
    weakref.finalize(metrics, _forget, weakref.ref(engine), tell)


def _forget(engine: weakref.ref[Engine], observer: object) -> None:
    if (known := engine()) is not None:  # a new list: another thread may walk through the old one
        known.observers = [one for one in known.observers if one is not observer]


class _Timed:
    """A request on its way through an application."""

    def __init__(self, receive: _Receive, send: _Send) -> None:
        self._receive, self._send = receive, send
        self.began = time.perf_counter()
        self.received = self.began  # when the body was complete
        self.answered = 0.0  # when the answer began
        self.status = 0
        self._complete = False

    async def receive(self) -> _Message:
        message = await self._receive()
        if not self._complete and not message.get("more_body", False):
            self._complete = True
            self.received = time.perf_counter()
        return message

    async def send(self, message: _Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.answered = message["status"], time.perf_counter()
        await self._send(message)


_Models = Sequence[tuple[ServedModel, _Tally]]


def _gauges(models: _Models) -> Iterator[Metric]:
    about = (*_MODEL, "architecture", "backend", "precision", "device")
    info = GaugeMetricFamily("boxwright_model_info", "1; how a version runs.", labels=about)
    pending = GaugeMetricFamily("boxwright_pictures_pending", "Accepted pictures without an answer.", labels=_MODEL)
    waiting = GaugeMetricFamily("boxwright_queue_pictures", "Of these, pictures that wait for a worker.", labels=_MODEL)
    room = GaugeMetricFamily("boxwright_queue_limit", "Most pictures that are accepted at once.", labels=_MODEL)
    workers = GaugeMetricFamily("boxwright_workers", "Workers that are there.", labels=_MODEL)
    asked = GaugeMetricFamily("boxwright_workers_wanted", "Workers that were asked for.", labels=_MODEL)
    memory = GaugeMetricFamily(
        "boxwright_worker_memory_bytes", "Memory of a worker's process.", labels=(*_MODEL, "worker")
    )
    for model, _ in models:
        labels, run = [model.name, model.version], model.choice.execution
        posts = model.workers
        info.add_metric([*labels, model.spec.architecture, str(run.backend), str(run.precision), str(run.device)], 1.0)
        pending.add_metric(labels, model.pending)
        waiting.add_metric(labels, model.waiting)
        room.add_metric(labels, model.options.queue_size)
        workers.add_metric(labels, len(posts))
        asked.add_metric(labels, model.least)
        for number, worker, _ in posts:
            memory.add_metric([*labels, str(number)], memory_of(worker.pid))
    yield from (info, pending, waiting, room, workers, asked, memory)


def _counters(models: _Models) -> Iterator[Metric]:
    answered = CounterMetricFamily("boxwright_pictures", "Pictures with an answer.", labels=_MODEL)
    errors = CounterMetricFamily("boxwright_errors", "Pictures without one, by kind.", labels=(*_MODEL, "kind"))
    cancelled = CounterMetricFamily(
        "boxwright_cancelled_pictures", "Pictures whose client left before they were computed.", labels=_MODEL
    )
    replaced = CounterMetricFamily("boxwright_workers_replaced", "Workers that ended and were replaced.", labels=_MODEL)
    detections = CounterMetricFamily(
        "boxwright_detections", "Detections from the operating point on.", labels=(*_MODEL, "class")
    )
    for model, tally in models:
        labels = [model.name, model.version]
        answered.add_metric(labels, sum(tally.batches.values()))
        cancelled.add_metric(labels, model.counts.cancelled)
        replaced.add_metric(labels, model.counts.replaced)
        for kind, count in sorted(tally.errors.items()):
            errors.add_metric([*labels, kind], count)
        for name, count in zip(model.class_names, tally.counts.tolist(), strict=False):
            detections.add_metric([*labels, name], count)
    yield from (answered, errors, cancelled, replaced, detections)


def _histograms(models: _Models) -> Iterator[Metric]:
    stages = HistogramMetricFamily(
        "boxwright_stage_seconds",
        "A picture's time in a stage; receive and post: a request's.",
        labels=(*_MODEL, "stage"),
    )
    batches = HistogramMetricFamily("boxwright_batch_pictures", "Pictures per call of the network.", labels=_MODEL)
    scores = HistogramMetricFamily(
        "boxwright_detection_scores", "Scores of detections from the operating point on.", labels=_MODEL
    )
    for model, tally in models:
        labels = [model.name, model.version]
        for stage, histogram in tally.stages.items():
            stages.add_metric([*labels, stage], histogram.buckets(), histogram.sum)
        calls = {size: pictures // size for size, pictures in tally.batches.items()}
        ends = (1, 2, 4, 8, 16, 32, 64)
        counts = [0] * (len(ends) + 1)
        for size, count in calls.items():
            counts[bisect_left(ends, size)] += count
        batches.add_metric(labels, _cumulated(ends, counts), sum(size * count for size, count in calls.items()))
        tenths = [(number + 1) / SCORE_BUCKETS for number in range(SCORE_BUCKETS)]
        scores.add_metric(
            labels, _cumulated(tenths, [*tally.counts[tally.num_classes + 1 :].tolist(), 0]), tally.sum_of_scores
        )
    yield from (stages, batches, scores)


def _drift(models: _Models) -> Iterator[Metric]:
    pictures = GaugeMetricFamily("boxwright_drift_pictures", "Pictures that drift is measured on.", labels=_MODEL)
    known = GaugeMetricFamily(
        "boxwright_drift_reference_pictures", "Pictures of validation in the archive; 0: it holds none.", labels=_MODEL
    )
    classes = GaugeMetricFamily(
        "boxwright_drift_classes", "Stability index of class shares against validation.", labels=_MODEL
    )
    scores = GaugeMetricFamily("boxwright_drift_scores", "Stability index of scores against validation.", labels=_MODEL)
    for model, tally in models:
        labels, drift = [model.name, model.version], tally.drift
        pictures.add_metric(labels, drift.pictures)
        known.add_metric(labels, drift.expected.pictures if drift.expected else 0)
        if figures := drift.figures():
            classes.add_metric(labels, figures.classes)
            scores.add_metric(labels, figures.scores)
    yield from (pictures, known, classes, scores)


class _Collected(Collector):
    """Families that were collected already, for the library's encoder."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _part(family: Metric, names: frozenset[str]) -> Metric:
    """The samples of a family that are asked for: by their names, or all by the family's."""
    part = Metric(family.name, family.documentation, family.type, family.unit)
    whole = bool(names & {family.name, f"{family.name}_total"})
    part.samples = [sample for sample in family.samples if whole or sample.name in names]
    return part


def metrics_protocol(metrics: Metrics) -> Protocol:
    """``GET /metrics``; ``?name[]=`` asks for some only, as TorchServe has it."""

    def routes(service: Service) -> list[BaseRoute]:
        async def answer(request: Request) -> Response:
            # milliseconds, in which other requests go on
            text = await run_in_threadpool(metrics.text, request.query_params.getlist("name[]"))
            return Response(text, headers={"Content-Type": CONTENT_TYPE})

        return [Route("/metrics", answer, methods=["GET"])]

    return Protocol("/metrics", routes, error_json)


def create_metrics_app(metrics: Metrics) -> ASGIApp:
    """The application of a port that has nothing but ``/metrics``; its own requests are not counted."""
    from .app import make_app  # which offers metrics beside predictions

    service = Service(metrics.engine, ServerSettings())
    return make_app(service, [metrics_protocol(metrics), Protocol("", lambda service: [], error_json)])
