"""``serve`` on a cluster: Ray Serve keeps replicas of the server's own application, and a relay stands in front."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from boxwright.host.files import write_text
from boxwright.host.places import Place, place_of, whole
from boxwright.inputs.stores import local_place
from boxwright.runtime import BoxwrightError, ConfigError, Execution, ServingError, open_bundle
from boxwright.runtime.backends import settle
from boxwright.serving.model import ModelOptions
from boxwright.serving.refusals import Refusal
from boxwright.serving.server import require_ports, serve_app
from boxwright.serving.settings import Limits, Security, ServerSettings

from .cluster import LOCAL, connected, environment, require_cluster, require_processors
from .figures import SECONDS_BETWEEN, Figures
from .relay import Asked, Group, Lost, Told, answer_of, make_relay

__all__ = ["Canary", "Replicas", "application", "serve_on", "write_config"]

_log = logging.getLogger(__name__)

STABLE, CANARY, FRONT = "boxwright-stable", "boxwright-canary", "boxwright-front"
_QUEUED = 200  # requests that wait for a replica
_ONGOING = 32  # requests of one replica at once: those that wait are in its own queue, with its deadlines
_REPLICAS = re.compile(r"(\d{1,4})(?:-(\d{1,4}))?")
_NAMESPACE = "boxwright"  # of the actor that has the figures of all replicas
_SECONDS_FOR_FIGURES = 10.0
_SECONDS_TO_END = 30.0  # that a deployment may take that was begun before the end
_DIRECT = {
    "RAY_SERVE_USE_GRPC_BY_DEFAULT": "1",
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
}
"""What Ray Serve documents for more throughput: one call to a replica instead of a stream of two objects, and no other
thread in it. Ray Serve reads it from the environment when it is imported."""


@dataclass(frozen=True)
class Replicas:
    """How many: between two numbers, by what waits.

    Attributes:
        least: at any time.
        most: at any time.
        waiting: requests per replica, waiting and computed, that their number is kept at.
    """

    least: int = 1
    most: int = 1
    waiting: float = 4.0

    @classmethod
    def parse(cls, text: str) -> Replicas:
        """``2`` or ``2-8``.

        Raises:
            ConfigError: it is something else.
        """
        found = _REPLICAS.fullmatch(text)
        least = int(found[1]) if found else 0
        most = int(found[2] or least) if found else 0
        if not 0 < least <= most:
            raise ConfigError(f"--replicas {text!r} does not fit.", "Give a number, or two: --replicas 2-8.")
        return cls(least, most)

    def __str__(self) -> str:
        """For a person."""
        if self.least < self.most:
            return f"{self.least} to {self.most} replicas"
        return f"{self.most} replica{'s'[: self.most > 1]}"

    def settings(self) -> dict[str, Any]:
        """As Ray Serve takes them."""
        if self.least == self.most:
            return {"num_replicas": self.least}
        scaling = {
            "min_replicas": self.least,
            "initial_replicas": self.least,
            "max_replicas": self.most,
            "target_ongoing_requests": self.waiting,
        }
        return {"autoscaling_config": scaling}


@dataclass(frozen=True)
class Canary:
    """Another archive, which some of the requests go to.

    Attributes:
        archive: path, which all machines see, or URL.
        share: of the requests for its model that name no version, in (0, 1).
    """

    archive: Place
    share: float

    @classmethod
    def parse(cls, text: str) -> Canary:
        """``MAR=10%``.

        Raises:
            ConfigError: it is something else.
        """
        archive, equals, share = text.rpartition("=")
        try:
            number = float(share.removesuffix("%")) / 100
        except ValueError:
            number = 0.0
        if not equals or not share.endswith("%") or not 0 < number < 1:
            raise ConfigError(f"--canary {text!r} does not fit.", "Give an archive and a share: --canary NEW.mar=10%.")
        return cls(place_of(archive), number)


class Replica:
    """Serves archives in one of Ray Serve's processes; the application is the one of ``boxwright serve``.

    Args:
        archives: path or URL of each, and the fields of its execution.
        limits: fields of ``Limits``.
        models: fields of ``ModelOptions``.
        stamp: of the archives' files: Ray Serve replaces replicas if what they are given has changed.
        box: name of the actor that its figures are told to; that of the application by default.
    """

    def __init__(
        self,
        archives: Sequence[tuple[str, Mapping[str, Any]]],
        limits: Mapping[str, Any],
        models: Mapping[str, Any],
        stamp: str = "",
        box: str = "",
    ) -> None:
        from boxwright.host.memory import keep_freed_memory
        from boxwright.serving.app import predictions_app
        from boxwright.serving.calls import Service
        from boxwright.serving.engine import Engine, load_models
        from boxwright.serving.metrics import Metrics

        keep_freed_memory()
        settings = _settings(limits, models)
        loaded: dict[str, Any] = {}
        for path, execution in archives:
            loaded |= load_models([local_place(path)], Execution(**execution), settings.models)
        self.engine = Engine(loaded)
        service = Service(self.engine, settings)
        metrics = Metrics(self.engine, service.intake)
        self.app = predictions_app(service, metrics)
        self._over = threading.Event()
        self._telling = _telling(metrics.text, box, self._over)

    async def ask(self, asked: Asked) -> Told:
        """Answer a request."""
        return await answer_of(self.app, asked)

    def check_health(self) -> None:
        """Ray Serve replaces a replica for which this raises."""
        if not all(len(model.workers) >= model.least for model in self.engine.models.values()):
            raise RuntimeError("a worker is gone")

    def __del__(self) -> None:
        """Ray Serve's call before a replica ends in order: the last figures are told."""
        if hasattr(self, "_telling"):
            self._over.set()
            self._telling.join(_SECONDS_FOR_FIGURES)


def _telling(page: Callable[[], str], box: str, over: threading.Event) -> threading.Thread:
    """A thread that tells the figures of this replica until it is over, and then once more."""
    import ray
    from ray import serve
    from ray.exceptions import RayError

    context = serve.get_replica_context()

    def tell() -> None:
        going = True
        while going:
            going = not over.wait(SECONDS_BETWEEN)
            # it is not there yet, or was lost with the part in front: there will be another
            with suppress(ValueError, RayError):
                actor = ray.get_actor(box or context.app_name, _NAMESPACE)
                ray.get(actor.tell.remote(context.replica_id.unique_id, page()), timeout=_SECONDS_FOR_FIGURES)

    thread = threading.Thread(target=tell, name="figures", daemon=True)
    thread.start()
    return thread


class _Box:
    """The actor that has the figures of all replicas. It lives beside the part in front, and as long.

    Args:
        name: that replicas find it by.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._actor = self._started()

    def _started(self) -> Any:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        kind: Any = ray.remote(Figures)
        options = {"name": self._name, "namespace": _NAMESPACE, "get_if_exists": True, "scheduling_strategy": here}
        return kind.options(num_cpus=0, max_restarts=-1, **options).remote()

    async def page(self, front: str, names: Sequence[str]) -> str:
        """See ``Figures``.

        Raises:
            Refusal: 503, it does not answer.
        """
        from ray.exceptions import RayActorError

        try:
            async with asyncio.timeout(_SECONDS_FOR_FIGURES):
                text: str = await self._actor.page.remote(front, list(names))
        except (RayActorError, TimeoutError) as error:
            if isinstance(error, RayActorError):
                self._actor = self._started()
            message = "The replicas' figures cannot be had at the moment."
            raise Refusal(503, message, "ServiceUnavailableException", {"Retry-After": "5"}) from error
        return text

    def close(self) -> None:
        """End it."""
        import ray

        ray.kill(self._actor)


def serve_on(
    archives: Sequence[Place],
    on: str = LOCAL,
    settings: ServerSettings = ServerSettings(),
    execution: Execution = Execution(),
    replicas: Replicas = Replicas(),
    canary: Canary | None = None,
    on_ready: Callable[[str], None] = lambda url: None,
    tell: Callable[[str], object] = _log.warning,
) -> None:
    """Serve archives from a cluster until SIGTERM or Ctrl-C; the replicas end with it. SIGHUP reads the archives again.

    Requests come to this process, which passes them on. If a replica is lost, what it had is asked again.

    Args:
        archives: ``.mar`` files, which all machines of the cluster see, or URLs: each machine makes a copy of its own.
        on: see ``require_ray``.
        settings: host, port and limits of what comes in.
        execution: how they run. It is settled here, once, so that all replicas give the same bits; one thread by
            default.
        replicas: how many.
        canary: another archive for some of the requests.
        on_ready: called with the base URL when all replicas answer.
        tell: called with a sentence before what takes a while, and when archives were read again, or could not be.

    Raises:
        ArchiveError: an archive cannot be used.
        ConfigError: no cluster.
        MissingDependency: ``boxwright[ray]`` or the backend is not installed.
        ServingError: the port is taken, two archives have the same name, a canary is not another version of one of
            them, or the replicas do not come up.
    """
    require_cluster(on)
    require_ports(settings)
    plan = _plan(archives, settings, execution, canary)  # what is wrong is found before a cluster is started
    needed = replicas.least * sum(_processors(part) for part in _parts(plan).values())
    require_processors(on, needed, f"{replicas}{' and as many of the canary' if canary else ''}")
    with (
        connected(on, tell),
        _deployed(lambda: _plan(archives, settings, execution, canary), replicas, tell) as (groups, again, box),
    ):

        def hang_up(*_: object) -> None:
            threading.Thread(target=again, name="deploy", daemon=True).start()

        before = signal.signal(signal.SIGHUP, hang_up) if hasattr(signal, "SIGHUP") else None
        try:
            serve_app(make_relay(groups, settings, page=box.page), settings, on_ready)
        finally:
            if before is not None:
                signal.signal(signal.SIGHUP, before)


def write_config(
    path: Path,
    archives: Sequence[Place],
    settings: ServerSettings = ServerSettings(),
    execution: Execution = Execution(),
    replicas: Replicas = Replicas(),
    canary: Canary | None = None,
) -> None:
    """Write a configuration for ``serve deploy``, Ray Serve's own command, and for a RayService on Kubernetes.

    Args:
        path: of the YAML file.
        archives: see ``serve_on``.
        settings: host and port of Ray Serve's proxies.
        execution: see ``serve_on``.
        replicas: see ``serve_on``.
        canary: see ``serve_on``.

    Raises:
        ArchiveError: an archive cannot be used.
        ServingError: see ``serve_on``.
    """
    plan = _plan(archives, settings, execution, canary)
    names = [STABLE, *([CANARY] if canary else [])]
    document = {
        "proxy_location": "EveryNode",
        "http_options": {"host": settings.host, "port": settings.port},
        "applications": [
            {
                "name": "boxwright",
                "route_prefix": "/",
                "import_path": f"{__name__}:application",
                "args": plan,
                "deployments": [
                    {"name": FRONT, "num_replicas": 1, **_actors()},
                    *({"name": name, **replicas.settings(), **_place(plan)} for name in names),
                ],
            }
        ],
    }
    write_text(path, yaml.safe_dump(document, sort_keys=False))


def application(args: Mapping[str, Any]) -> Any:
    """What a configuration of ``write_config`` names: the relay as Ray Serve's ingress, and the replicas behind it.

    Args:
        args: the plan in the configuration.
    """
    from ray import serve

    class Front:
        def __init__(self, *handles: Any) -> None:
            self.groups = _groups(args, handles)
            self.box = _Box(serve.get_replica_context().app_name)

        async def __serve_build_asgi_app__(self) -> Any:
            settings = _settings(args["limits"], args["models"], args["origins"])
            return make_relay(self.groups, settings, page=self.box.page)

    front: Any = serve.deployment(name=FRONT, max_ongoing_requests=1000, **_actors())(serve.ingress()(Front))
    return front.bind(*(_deployment(name, part, Replicas(), args) for name, part in _parts(args).items()))


@contextmanager
def _deployed(
    plan: Callable[[], Mapping[str, Any]], replicas: Replicas, tell: Callable[[str], object]
) -> Iterator[tuple[list[Group], Callable[[], None], _Box]]:
    """The replicas, for the time of the block; what has their archives read again; and all their figures."""
    with environment(_DIRECT):
        from ray import serve
    from ray.exceptions import RayError

    own = f"{os.getpid()}-{os.urandom(3).hex()}"  # others may serve on this cluster, too
    groups: list[Group] = []
    names: list[str] = []
    deploying, ending = threading.Lock(), threading.Event()

    def deploy() -> None:
        with deploying:
            current = plan()
            handles = []
            for name, part in _parts(current).items():
                if ending.is_set():
                    return
                names.append(f"{name}-{own}")
                target = _deployment(name, part, replicas, current, own)
                handles.append(serve.run(target, name=names[-1], route_prefix=None, blocking=False))
            groups[:] = _groups(current, handles)

    def again() -> None:
        tell("The archives are read again.")
        try:
            deploy()
        except (BoxwrightError, RuntimeError, RayError) as error:
            if not ending.is_set():  # else what it was given to goes meanwhile
                tell(f"The archives were not read again: {error}")
        else:
            if not ending.is_set():
                tell("The archives were read again; replicas with the former ones are replaced one after the other.")

    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    alone = not serve.status().proxies and not serve.status().applications
    serve.start(proxy_location="Disabled", logging_config={"log_level": "WARNING"})
    box = _Box(own)
    try:
        try:
            deploy()
        except RuntimeError as error:
            raise ServingError(f"The replicas do not come up: {error}", "See Ray's log of them.") from error
        yield groups, again, box
    finally:
        ending.set()
        box.close()
        for name in dict.fromkeys(names):
            serve.delete(name)
        if deploying.acquire(timeout=_SECONDS_TO_END):  # what was being deployed meanwhile is there now
            for name in dict.fromkeys(names):
                serve.delete(name)
        if alone:
            serve.shutdown()


def _deployment(name: str, part: Mapping[str, Any], replicas: Replicas, plan: Mapping[str, Any], box: str = "") -> Any:
    from ray import serve

    options = {
        "max_ongoing_requests": _ONGOING,
        "max_queued_requests": _QUEUED,
        "health_check_period_s": 5,
        **replicas.settings(),
        **_place(plan),
    }
    kind = serve.deployment(Replica, name=name, **options)
    return kind.bind(part["archives"], plan["limits"], plan["models"], part["stamp"], box)


def _processors(part: Mapping[str, Any]) -> int:
    """Of one replica."""
    return int(part["archives"][0][1]["threads"])


def _place(plan: Mapping[str, Any]) -> dict[str, Any]:
    execution = plan["stable"]["archives"][0][1]
    return _actors(num_cpus=_processors(plan["stable"]), num_gpus=int(execution["device"] != "cpu"))


def _actors(**resources: float) -> dict[str, Any]:
    return {"ray_actor_options": {**resources, "runtime_env": {"env_vars": dict(_DIRECT)}}}


def _parts(plan: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {name: plan[key] for name, key in ((STABLE, "stable"), (CANARY, "canary")) if plan.get(key)}


def _groups(plan: Mapping[str, Any], handles: Sequence[Any]) -> list[Group]:
    return [
        Group(_asking(handle), frozenset(map(tuple, part["versions"])), part["share"])
        for part, handle in zip(_parts(plan).values(), handles, strict=True)
    ]


def _asking(handle: Any) -> Callable[[Asked], Any]:
    method = handle.ask  # once: Ray makes another handle each time

    async def ask(asked: Asked) -> Told:
        from grpc.aio import AioRpcError
        from ray.exceptions import RayActorError, RayError
        from ray.serve.exceptions import BackPressureError

        try:
            told: Told = await method.remote(asked)
        except BackPressureError as error:
            raise Refusal(
                503, "Too many requests wait.", "ServiceUnavailableException", {"Retry-After": "1"}
            ) from error
        except RayActorError as error:
            raise Lost(error.actor_id or "") from error
        except AioRpcError as error:  # the connection broke in the middle
            raise Lost from error
        except RayError as error:
            _log.error("a replica failed", exc_info=error)
            raise Refusal(500, "Internal error; see the server's log.", "InternalServerException") from error
        return told

    return ask


def _plan(
    archives: Sequence[Place], settings: ServerSettings, execution: Execution, canary: Canary | None
) -> dict[str, Any]:
    """All that replicas are told, as JSON has it: ``limits``, ``models``, ``stable`` and, if there is one, ``canary``.

    Raises:
        ArchiveError: an archive cannot be used.
        ServingError: none, two of the same name, or a canary that is not another version of one.
    """
    if not archives:
        raise ServingError("There is nothing to serve.", "Give one or more .mar archives.")
    stable = _part(archives, execution, 1.0)
    names = [name for name, _ in stable["versions"]]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ServingError(f"A model named {twice[0]!r} is given twice.", "Serve one of them, the other as --canary.")
    plan: dict[str, Any] = {
        "limits": asdict(settings.limits),
        "models": asdict(settings.models),
        "origins": list(settings.security.origins),
        "stable": stable,
    }
    if canary is not None:
        plan["canary"] = _part([canary.archive], execution, canary.share)
        _require_another(canary, plan["canary"]["versions"][0], stable["versions"])
    return plan


def _require_another(canary: Canary, version: Sequence[str], stable: Sequence[Sequence[str]]) -> None:
    """Raise unless a canary is another version of a model that is served: else its share would find no model.

    Raises:
        ServingError: it is not.
    """
    name, number = version
    names = [other for other, _ in stable]
    if name not in names:
        raise ServingError(
            f"--canary {canary.archive} is a model named {name!r}; served {'is' if len(names) == 1 else 'are'} "
            f"{', '.join(map(repr, names))}.",
            f"Pack it under that name, as another version: boxwright archive RUN --name {names[0]} --version 2.0",
        )
    if [name, number] in stable:
        raise ServingError(
            f"--canary {canary.archive} is {name!r} {number}, as what it is compared with.",
            f"Pack it as another version: boxwright archive RUN --name {name} --version NEW",
        )


def _part(archives: Sequence[Place], execution: Execution, share: float) -> dict[str, Any]:
    files = [local_place(place) for place in archives]
    bundles = [open_bundle(path) for path in files]
    fixed = [replace(settle(one, execution), threads=execution.threads or 1, sessions=1) for one in bundles]
    places = [str(whole(place)) for place in archives]
    return {
        "archives": [[place, asdict(how)] for place, how in zip(places, fixed, strict=True)],
        "versions": [[bundle.spec.name, bundle.version] for bundle in bundles],
        "share": share,
        "stamp": " ".join(str(path.stat().st_mtime_ns) for path in files),  # new files, new replicas
    }


def _settings(limits: Mapping[str, Any], models: Mapping[str, Any], origins: Sequence[str] = ()) -> ServerSettings:
    return ServerSettings(
        models=ModelOptions(**models), limits=Limits(**limits), security=Security(origins=tuple(origins))
    )
