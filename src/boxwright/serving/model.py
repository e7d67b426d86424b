"""One version of a served model: its queue, its batches, its workers."""

from __future__ import annotations

import datetime
import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from boxwright.runtime import (
    Bundle,
    Detections,
    Execution,
    ModelSpec,
    PictureError,
    PicturePredictor,
    Prepared,
    prepare,
)
from boxwright.runtime.picture import MAX_PIXELS
from boxwright.tuning import Choice, choose_execution

from .jobs import Answer, Busy, Draining, Expired, Job, NotAnswered, NoWorkers, OutOfMemory, WorkerFailed
from .workers import InOwnProcess, InThisProcess, Worker, WorkerDied

__all__ = ["Counts", "ModelOptions", "ServedModel", "load_model"]

_log = logging.getLogger(__name__)

_FORGETTING = 0.1  # weight of the newest picture in the mean time per picture
_AHEAD = 2  # batches per worker that are decoded while others run
_SECONDS_TO_LEAVE = 5.0  # for workers of a version that ends: a batch that takes longer must not hold up the end
_SECONDS_TO_TRY = 10.0  # between attempts to replace a worker, while no picture comes
_RESTARTS = 1  # a batch whose worker dies is tried this often again: a picture that kills workers must not go on


@dataclass(frozen=True)
class ModelOptions:
    """How one version is served.

    Attributes:
        queue_size: accepted pictures that may wait; one more is refused.
        batch_size: most pictures per call of the network. 1 unless a device gains by more: on CPUs a batch loses.
        batch_delay: seconds for which the first picture of a batch waits for others.
        timeout: seconds after which a picture that still waits is given up, and a worker's process that does not answer
            is killed and replaced.
        own_processes: whether each worker is a process, which is replaced if it ends.
        max_pixels: largest width x height of a picture.
    """

    queue_size: int = 100
    batch_size: int = 1
    batch_delay: float = 0.0
    timeout: float = 120.0
    own_processes: bool = False
    max_pixels: int = MAX_PIXELS


@dataclass
class Counts:
    """What happened since the version was loaded.

    Attributes:
        answered: pictures with an answer.
        failed: pictures whose network failed.
        batches: calls of the network.
        cancelled: pictures nobody waited for any more, so that they were not computed.
        expired: pictures whose deadline passed in the queue.
        replaced: workers that ended and were replaced.
        refused: pictures that were not accepted.
        last: when the last one was answered, in milliseconds since 1970; 0 before the first.
        seconds: by stage, of all that were answered; see ``Answer``.
    """

    answered: int = 0
    failed: int = 0
    batches: int = 0
    cancelled: int = 0
    expired: int = 0
    replaced: int = 0
    refused: int = 0
    last: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: {"decode": 0.0, "queue": 0.0, "network": 0.0})


@dataclass(eq=False)
class _Post:
    """A worker and the thread that drives it; ``lost`` is one that has ended and that no other could replace yet."""

    worker: Worker
    number: int
    started: datetime.datetime
    thread: threading.Thread | None = None
    leaving: bool = False
    lost: bool = False


class ServedModel:
    """One loaded version.

    Pictures are decoded in a pool that all versions share, a few ahead of the workers, then wait for a worker. A worker
    takes as many as wait, up to a batch. If a batch fails, each of its pictures runs alone, so that one that cannot be
    computed fails alone; if memory was not enough, halves are tried first.

    Args:
        bundle: the archive, opened.
        path: of the archive.
        choice: how it runs, and why so.
        options: how it is served.
        at_startup: whether it was there when the server started.
        name: in the URL; the archive's own by default.

    Attributes:
        name: in the URL.
        version: in the URL, optionally.
        path: of the archive.
        url: as it was asked for, for whoever lists models; the archive's file name by default.
        spec: of the model.
        card: text of its model card; None if its archive has none.
        thresholds: lowest reported score of each class, by class index.
        choice: how it runs, and why so.
        options: how it is served; ``reconfigure`` changes them.
        at_startup: whether it was there when the server started.
        started: when it was loaded, UTC.
        counts: what happened since.
        least: workers that were asked for.
        most: workers that it may have, as it was told; it has no more than ``least`` of its own accord.
    """

    def __init__(
        self,
        bundle: Bundle,
        path: Path,
        choice: Choice,
        options: ModelOptions = ModelOptions(),
        at_startup: bool = True,
        name: str | None = None,
    ) -> None:
        self.name, self.version = name or bundle.spec.name, bundle.version
        self.path, self.choice, self.options, self.at_startup = path, choice, options, at_startup
        self.url = path.name
        self.spec: ModelSpec = bundle.spec
        self.card = bundle.card
        self.thresholds = self.spec.operating_point.thresholds(self.spec.class_names)
        self.started = datetime.datetime.now(datetime.UTC)
        self.counts = Counts()
        self.least = self.most = 0
        self._bundle = bundle
        self._changed = threading.Condition()
        self._scaling = threading.Lock()
        self._posts: list[_Post] = []
        self._numbers = 9000  # TorchServe's first worker
        self._waiting: deque[Job] = deque()  # not decoded
        self._ready: deque[Job] = deque()  # decoded
        self._decoding = 0
        self._pending: set[Job] = set()
        self._decoders: Executor | None = None
        self._closed = False
        self._mean = 0.0  # seconds per picture and worker

    # what is asked of it

    def submit(self, job: Job, decoders: Executor) -> Future[Answer]:
        """Accept a picture.

        Args:
            job: the picture, complete.
            decoders: decodes it.

        Returns:
            The job's future. It ends with an ``Answer``, a ``PictureError`` or a ``NotAnswered``.

        Raises:
            NotAnswered: it is not accepted, see ``require_room``.
        """
        with self._changed:
            self._require_room(job.deadline)
            self._decoders = decoders
            self._pending.add(job)
            self._waiting.append(job)
        job.future.add_done_callback(lambda future: self._left(job))
        self._feed()
        return job.future

    def require_room(self, deadline: float) -> None:
        """Raise unless a picture would be accepted now.

        Raises:
            Draining: the version is about to end.
            NoWorkers: it was scaled to none.
            Busy: the queue is full, or what waits already takes until after the deadline.
        """
        with self._changed:
            self._require_room(deadline)

    @property
    def pending(self) -> int:
        """Accepted pictures that were not answered yet."""
        return len(self._pending)

    @property
    def waiting(self) -> int:
        """Of these, pictures that no worker has taken yet."""
        with self._changed:
            return len(self._waiting) + self._decoding + len(self._ready)

    @property
    def workers(self) -> list[tuple[int, Worker, datetime.datetime]]:
        """Number, worker and start (UTC) of each that can answer."""
        with self._changed:
            there = [post for post in self._posts if not post.leaving and not post.lost]
            return [(post.number, post.worker, post.started) for post in there]

    @property
    def class_names(self) -> tuple[str, ...]:
        """By class index."""
        return self.spec.class_names

    def reconfigure(self, **changes: Any) -> None:
        """Change options, see ``ModelOptions``; pictures that wait are under the new ones."""
        with self._changed:
            self.options = replace(self.options, **changes)
            self._changed.notify_all()

    def _require_room(self, deadline: float) -> None:
        try:
            if self._closed:
                raise Draining(f"Model {self.name} {self.version} is about to end.", 1)
            workers = sum(not post.leaving for post in self._posts)
            if not workers:
                raise NoWorkers(f'Model "{self.name}" has no worker to serve inference request.')
            wait = self._mean * len(self._pending) / workers
            own = self._mean if self._pending else 0.0  # else a model that is slower than its deadline never answers
            if len(self._pending) >= self.options.queue_size:
                message = f'Model "{self.name}" has {len(self._pending)} pictures waiting or running already.'
                raise Busy(message, max(1, round(wait)))
            over = time.monotonic() + wait + own - deadline
            if over > 0:
                raise Busy(f'Model "{self.name}" would answer in {wait:.0f} s.', max(1, round(over)))
        except NotAnswered:
            self.counts.refused += 1
            raise

    def give_up_late(self) -> float | None:
        """Give up what waits past its deadline, although no worker is free to find out.

        Returns:
            The earliest deadline that is still to come, by ``time.monotonic``; None if there is none.
        """
        now = time.monotonic()
        with self._changed:
            late = [job for line in (self._waiting, self._ready) for job in line if job.deadline < now]
            self._waiting = deque(job for job in self._waiting if job.deadline >= now)
            self._ready = deque(job for job in self._ready if job.deadline >= now)
            coming = min((job.deadline for job in self._pending if job.deadline >= now), default=None)
        for job in late:
            self._begun(job)  # which gives it up
            job.prepared = None
        return coming

    def _left(self, job: Job) -> None:
        """Its future has ended, in whichever way."""
        with self._changed:
            self._pending.discard(job)
            cancelled = job.future.cancelled()
            self.counts.cancelled += cancelled
            if cancelled or job.future.exception() is not None:  # a worker must not take it any more
                for line in (self._waiting, self._ready):
                    if job in line:
                        line.remove(job)
                        job.prepared = None
            self._changed.notify_all()
        job.picture.release()
        self._feed()

    # decoding

    def _feed(self) -> None:
        """Let pictures be decoded, as many as workers will soon take."""
        while True:
            with self._changed:
                # the windows of a large picture may take hundreds of megabytes
                tiled = self.spec.input.tile is not None
                ahead = 1 if tiled else _AHEAD * self.options.batch_size * max(1, len(self._posts))
                if not self._waiting or self._decoding + len(self._ready) >= ahead or self._decoders is None:
                    return
                job, decoders = self._waiting.popleft(), self._decoders
                self._decoding += 1
            decoders.submit(self._decode, job)

    def _decode(self, job: Job) -> None:
        try:
            if not job.future.done():
                started = time.perf_counter()
                picture = job.picture.read()
                job.picture.release()
                job.prepared = self._prepared(picture)
                job.decoding = time.perf_counter() - started
        except PictureError as error:
            # its traceback holds the picture, and would until the garbage collector comes by
            job.fail(type(error)(error.message, error.remedy))
        except Exception as error:
            if not job.future.done():  # else its bytes were released while they were read, as nobody waits any more
                _log.error("model %s %s: a picture could not be prepared", self.name, self.version, exc_info=error)
            job.fail((OutOfMemory if _out_of_memory(error) else WorkerFailed)("Prediction failed", 1))
        finally:
            with self._changed:
                self._decoding -= 1
                if job.future.done():
                    job.prepared = None
                else:
                    self._ready.append(job)
                    self._changed.notify_all()
        self._feed()

    def _prepared(self, picture: bytes) -> Prepared:
        return prepare(picture, self.spec.input, self.options.max_pixels)

    # computing

    def _drive(self, post: _Post) -> None:
        """One worker's thread: batch after batch, until it leaves."""
        while batch := self._take(post):
            self._feed()
            if post.lost:
                self._hire_again(post)
            wanted = [job for job in batch if self._begun(job)]
            if wanted:
                self._answer(post, wanted)
            for job in batch:  # a job and its future refer to each other, until the garbage collector comes
                job.prepared = None
            del batch, wanted
        post.worker.close()

    def _take(self, post: _Post) -> list[Job]:
        """The next batch; empty if the worker is to leave. The window opens with the first picture that waits."""
        with self._changed:
            self._changed.wait_for(lambda: self._ready or post.leaving, _SECONDS_TO_TRY if post.lost else None)
            if post.leaving:
                return []
            if self.options.batch_size > 1 and self._ready:
                full = self._ready[0].accepted + self.options.batch_delay
                while len(self._ready) < self.options.batch_size and (left := full - time.monotonic()) > 0:
                    self._changed.wait(left)
            most = min(self.options.batch_size, len(self._ready))
            return [self._ready.popleft() for _ in range(most)] or [_NOBODY]

    def _begun(self, job: Job) -> bool:
        if job is _NOBODY:
            return False
        begun = job.begin()
        if not begun and not job.future.cancelled() and isinstance(job.future.exception(), Expired):
            with self._changed:
                self.counts.expired += 1
        return begun

    def _answer(self, post: _Post, jobs: Sequence[Job]) -> None:
        started = time.monotonic()
        try:
            found = self._computed(post, [job.prepared for job in jobs if job.prepared is not None])
        except Exception as error:
            self._answer_failed(post, jobs, error)
            return
        took = time.monotonic() - started
        self._count(jobs, started, took)
        for job, detections in zip(jobs, found, strict=True):
            waited = started - job.accepted - job.decoding
            seconds = {"decode": job.decoding, "queue": max(0.0, waited), "network": took}
            job.succeed(Answer(detections, seconds, len(jobs)))

    def _count(self, jobs: Sequence[Job], started: float, took: float) -> None:
        with self._changed:
            self.counts.answered += len(jobs)
            self.counts.batches += 1
            self.counts.last = int(1000 * time.time())
            self.counts.seconds["network"] += took * len(jobs)
            for job in jobs:
                self.counts.seconds["decode"] += job.decoding
                self.counts.seconds["queue"] += max(0.0, started - job.accepted - job.decoding)
            each = took / len(jobs)
            self._mean = each if not self._mean else (1 - _FORGETTING) * self._mean + _FORGETTING * each

    def _computed(self, post: _Post, prepared: Sequence[Prepared]) -> list[Detections]:
        """Detections of a batch; a worker that dies over it is replaced, and the batch tried again."""
        if post.lost:
            raise WorkerDied(f"The worker of model {self.name} {self.version} has ended.")
        for attempt in range(_RESTARTS + 1):
            try:
                return post.worker.detect(prepared)
            except WorkerDied as died:
                _log.warning("%s It is replaced.", died)
                post.lost = True
                self._hire_again(post)
                if post.lost or attempt == _RESTARTS:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def _hire_again(self, post: _Post) -> None:
        """Replace a worker that has ended; one that cannot be replaced stays lost, and is tried again later."""
        try:
            worker = self._hired()
        except Exception as error:
            _log.error("model %s %s: a worker cannot be replaced: %s", self.name, self.version, error)
            return
        with self._changed:
            self.counts.replaced += 1
            post.worker, post.lost = worker, False

    def _answer_failed(self, post: _Post, jobs: Sequence[Job], error: Exception) -> None:
        if len(jobs) > 1:
            size = -(-len(jobs) // 2) if _out_of_memory(error) else 1
            for start in range(0, len(jobs), size):
                self._answer(post, jobs[start : start + size])
            return
        _log.error("model %s %s failed", self.name, self.version, exc_info=error)
        with self._changed:
            self.counts.failed += 1
        kind = OutOfMemory if _out_of_memory(error) else WorkerFailed
        jobs[0].fail(kind("Prediction failed", 1))

    # workers

    def scale(self, count: int, most: int | None = None) -> None:
        """Have this many workers: as many are started, or leave when their batch is done. Returns when it is so.

        Args:
            count: of workers.
            most: what it is told it may have; ``count`` if None.

        Raises:
            BoxwrightError: a worker cannot be started.
            WorkerDied: its process ended at once.
        """
        assert count >= 0, "callers check what people ask for"
        with self._scaling:
            if self._closed:
                return  # nobody would end the workers
            self.least, self.most = count, count if most is None else most
            staying = [post for post in self._posts if not post.leaving]
            for _ in range(count - len(staying)):
                self._start(self._hired())
            if leaving := staying[count:]:
                self._dismiss(leaving, self.options.timeout)

    def _hired(self) -> Worker:
        if self.options.own_processes:
            return InOwnProcess(self.path, self._bundle.members, self.choice.execution, self.options.timeout)
        return InThisProcess(PicturePredictor(self._bundle, self.choice.execution))

    def _start(self, worker: Worker) -> None:
        with self._changed:
            post = _Post(worker, self._numbers, datetime.datetime.now(datetime.UTC))
            self._numbers += 1
            self._posts.append(post)
        post.thread = threading.Thread(target=self._drive, args=(post,), name=f"{self.name}-{post.number}", daemon=True)
        post.thread.start()

    def _dismiss(self, posts: Sequence[_Post], seconds: float) -> None:
        """Let workers finish their batch and go; one that hangs is left behind."""
        with self._changed:
            for post in posts:
                post.leaving = True
            self._changed.notify_all()
        end = time.monotonic() + seconds
        for post in posts:
            if post.thread is not None:
                post.thread.join(max(0.0, end - time.monotonic()))
        with self._changed:
            self._posts = [post for post in self._posts if post not in posts]
            orphans = [] if self._posts else list(self._pending)
        for job in orphans:
            job.fail(NoWorkers(f'Model "{self.name}" has no worker to serve inference request.'))

    def close(self, seconds: float) -> bool:
        """Accept no more, finish what was accepted, end the workers.

        Args:
            seconds: most to wait for what was accepted; the rest is then answered with ``Draining``.

        Returns:
            Whether all of it was answered.
        """
        with self._changed:
            self._closed = True
            done = self._changed.wait_for(lambda: not self._pending, seconds)
        for job in list(self._pending):
            job.fail(Draining(f"Model {self.name} {self.version} has ended.", 1))
        with self._scaling:
            self.least = 0
            self._dismiss([post for post in self._posts if not post.leaving], _SECONDS_TO_LEAVE)
        return done


_NOBODY = Job(picture=None, deadline=0.0)  # type: ignore[arg-type]
"""What a worker takes if all that waited were cancelled meanwhile."""


def _out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or "out of memory" in str(error).lower()


def load_model(
    path: Path,
    bundle: Bundle,
    asked: Execution = Execution(),
    options: ModelOptions = ModelOptions(),
    workers: int | None = None,
    name: str | None = None,
) -> ServedModel:
    """Make one opened archive ready to answer; nothing in it is executed.

    Args:
        path: of the archive.
        bundle: the archive, opened.
        asked: how it runs, as far as it is settled; the rest is what ``boxwright bench`` found best on this machine,
            else what a warm-up shows.
        options: how it is served.
        workers: how many; by default one per session of the execution.
        name: in the URL; the archive's own by default.

    Raises:
        ConfigError: an unknown backend or precision.
        MissingDependency: the backend is not installed.
        ArchiveError: it cannot be run.
    """
    choice = choose_execution(path, bundle, asked)
    model = ServedModel(bundle, path, choice, options, name=name)
    try:
        model.scale((choice.execution.sessions or 1) if workers is None else workers)
    except BaseException:
        model.close(0.0)  # the workers that did start
        raise
    return model
