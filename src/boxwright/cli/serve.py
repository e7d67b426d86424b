"""``boxwright serve``."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

import boxwright
from boxwright.host.places import in_command

from .options import BackendOption, DeviceOption, PrecisionOption

if TYPE_CHECKING:
    from boxwright.host.places import Place
    from boxwright.serving.configuration import Configuration
    from boxwright.serving.engine import Engine
    from boxwright.serving.model import ServedModel
    from boxwright.serving.registry import Rescan
    from boxwright.serving.settings import ServerSettings

__all__ = ["serve"]

_OTHER_FILES = 512  # archives, pipes of workers, what clients upload
_MIB = 1024**2
_DAY = 86_400  # seconds
_SERVER, _MODELS, _SECURITY, _EXECUTION, _CLUSTER = "Server", "Models", "Security", "Execution", "Cluster"


def serve(
    archives: Annotated[
        list[str] | None, typer.Argument(metavar="MAR...", help="Archives or run folders, or their URLs.")
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(
            help="Model store, a folder of archives: all of it is served if no MAR is named.", rich_help_panel=_SERVER
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="A config.properties of TorchServe; options win over it.", rich_help_panel=_SERVER),
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to bind; 127.0.0.1.", rich_help_panel=_SERVER)] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="8080; 0 takes a free one.", rich_help_panel=_SERVER)
    ] = None,
    management_port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Register, scale, unregister; off.", rich_help_panel=_SERVER),
    ] = None,
    metrics_port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="A port for /metrics alone; off.", rich_help_panel=_SERVER),
    ] = None,
    grpc_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Open Inference Protocol; off.", rich_help_panel=_SERVER)
    ] = None,
    grace: Annotated[
        float | None,
        typer.Option(min=0, max=_DAY, help="Seconds for accepted work after SIGTERM; 60.", rich_help_panel=_SERVER),
    ] = None,
    max_body: Annotated[
        float | None,
        typer.Option(min=0.001, max=2047, help="Largest request body in MiB; 32.", rich_help_panel=_SERVER),
    ] = None,
    log: Annotated[str, typer.Option(help="A line per request: none, text or json.", rich_help_panel=_SERVER)] = "none",
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=64,
            help="Processes per model; one that ends is replaced; threads by default.",
            rich_help_panel=_MODELS,
        ),
    ] = None,
    queue: Annotated[
        int | None, typer.Option(min=1, help="Pictures per model, waiting or computed; 100.", rich_help_panel=_MODELS)
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(min=0.001, max=_DAY, help="Seconds a picture may wait; 120.", rich_help_panel=_MODELS),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, max=256, help="Most pictures per call of the network; 1.", rich_help_panel=_MODELS),
    ] = None,
    batch_delay: Annotated[
        float | None,
        typer.Option(
            min=0, max=600_000, help="Milliseconds a picture waits for others of its batch; 0.", rich_help_panel=_MODELS
        ),
    ] = None,
    max_pixels: Annotated[
        int | None, typer.Option(min=1, help="Largest width x height; 50 million.", rich_help_panel=_MODELS)
    ] = None,
    token_auth: Annotated[
        bool, typer.Option("--token-auth", help="Ask for tokens as TorchServe does.", rich_help_panel=_SECURITY)
    ] = False,
    key_file: Annotated[
        Path | None, typer.Option(help="Where tokens are written; key_file.json.", rich_help_panel=_SECURITY)
    ] = None,
    model_control: Annotated[
        bool,
        typer.Option(
            "--model-control", help="Load and unload over /v2 at the predictions' port, too.", rich_help_panel=_SECURITY
        ),
    ] = False,
    tls_cert: Annotated[Path | None, typer.Option(help="PEM certificate: https.", rich_help_panel=_SECURITY)] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM key of it.", rich_help_panel=_SECURITY)] = None,
    cors: Annotated[
        list[str] | None,
        typer.Option(metavar="ORIGIN", help="Pages that may ask; may be repeated.", rich_help_panel=_SECURITY),
    ] = None,
    backend: BackendOption = "auto",
    precision: PrecisionOption = "auto",
    threads: Annotated[int | None, typer.Option(min=1, max=1024, help="Processors that one picture may use.")] = None,
    sessions: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Pictures at the same time, each with its own network.")
    ] = None,
    device: DeviceOption = "cpu",
    on: Annotated[
        str | None,
        typer.Option(
            "--on", metavar="CLUSTER", help="On Ray: ray, HOST:PORT or ray://HOST:PORT.", rich_help_panel=_CLUSTER
        ),
    ] = None,
    replicas: Annotated[
        str | None, typer.Option(metavar="N[-M]", help="Processes on the cluster; 1.", rich_help_panel=_CLUSTER)
    ] = None,
    canary: Annotated[
        str | None,
        typer.Option(metavar="MAR=SHARE%", help="Another archive for some requests.", rich_help_panel=_CLUSTER),
    ] = None,
    write_config: Annotated[
        Path | None,
        typer.Option(help="Serve nothing, write a configuration of Ray Serve.", rich_help_panel=_CLUSTER),
    ] = None,
) -> None:
    """Serve archives at TorchServe's URLs until Ctrl-C, as 'boxwright bench' found best here."""
    from boxwright.host.places import place_of
    from boxwright.inputs.stores import local_place
    from boxwright.runtime.bundle import RUN_SPEC
    from boxwright.serving.configuration import read_configuration
    from boxwright.serving.server import Offer, run

    configured = None if config is None else read_configuration(config)
    for note in configured.notes if configured else ():
        typer.echo(f"{config}: {note}", err=True)
    settings = _changed(
        _settings_of(configured),
        {"store": store, "host": host, "port": port, "management_port": management_port, "metrics_port": metrics_port,
         "management_host": host, "metrics_host": host, "grpc_port": grpc_port, "grace": grace,
         "access_log": _log_form(log)},
        models={"queue_size": queue, "timeout": timeout, "batch_size": batch_size, "max_pixels": max_pixels,
                "batch_delay": None if batch_delay is None else batch_delay / 1000,
                "own_processes": True if workers else None},
        limits={"max_body": None if max_body is None else round(max_body * _MIB)},
        security={"tokens": token_auth or None, "key_file": key_file, "model_control": model_control or None,
                  "certificate": tls_cert, "private_key": tls_key,
                  "origins": tuple(cors) if cors else None,
                  "model_api": True if management_port is not None else None},
    )  # fmt: skip
    _require_pair(settings)
    places = [place_of(one) for one in archives or ()]
    _require_no_stores(places)
    if on or replicas or canary or write_config:
        if config is not None:  # of which a cluster would follow a part
            raise boxwright.ConfigError("--config cannot be used with --on.", "Give its settings as options.")
        for option, value in (("--sessions", sessions), ("--model-control", model_control)):
            if value:
                raise boxwright.ConfigError(f"{option} cannot be used with --on.", "Leave it out.")
        offered = replace(settings, host="0.0.0.0") if write_config and not host else settings  # proxies everywhere
        asked = boxwright.Execution(backend, precision, device, threads, 1)
        _serve_on(on, places, offered, asked, replicas, canary, write_config)
        return
    if workers and sessions:
        raise boxwright.ConfigError("--workers and --sessions say the same.", "Give one of them.")
    asked = boxwright.Execution(backend, precision, device, threads, workers or sessions)
    load = () if places or settings.store is None else None
    offer = Offer(tuple(map(local_place, places)), asked, workers, load)
    if configured:
        offer = offer._replace(
            load=offer.load if places or not configured.load else configured.load,
            workers=workers or configured.workers,
            models=configured.models,
        )
    if not offer.archives and settings.store is None:
        raise boxwright.ServingError("There is nothing to serve.", "Give one or more .mar archives, or --store.")
    if settings.access_log is not None:
        from boxwright.serving.access_log import log_to

        log_to()
    _allow_connections(settings)
    for place in (place for place in offer.archives if (place / RUN_SPEC).is_file()):
        typer.echo(f"{place}: PyTorch is loaded for a run, and timed; an archive of it is ready sooner.", err=True)
    announce = partial(_announce if log != "json" else _announce_aside, settings)
    run(offer, settings, announce, partial(_tell, settings))


def _settings_of(configured: Configuration | None) -> ServerSettings:
    from boxwright.serving.settings import ServerSettings

    return ServerSettings() if configured is None else configured.settings


def _changed(settings: ServerSettings, own: Mapping[str, Any], **parts: Mapping[str, Any]) -> ServerSettings:
    """Settings with what was given; None was not."""
    whole = {name: replace(getattr(settings, name), **_given(changes)) for name, changes in parts.items()}
    return replace(settings, **_given(own), **whole)


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _log_form(text: str) -> Literal["json", "text"] | None:
    if text not in ("none", "text", "json"):
        raise boxwright.ConfigError(f"--log {text!r} is unknown.", "Use none, text or json.")
    return None if text == "none" else cast(Literal["json", "text"], text)


def _serve_on(
    on: str | None,
    archives: Sequence[Place],
    settings: ServerSettings,
    execution: boxwright.Execution,
    replicas: str | None,
    canary: str | None,
    config: Path | None,
) -> None:
    from boxwright.host.places import name_of
    from boxwright.scale.serving import Canary, Replicas, serve_on
    from boxwright.scale.serving import write_config as write

    if on is None:
        options = {"--replicas": replicas, "--canary": canary, "--write-config": config}
        given_ones = [option for option, value in options.items() if value is not None]
        raise boxwright.ConfigError(f"{_listed(given_ones)} for clusters.", "Add --on ray.")
    if given := _not_on_clusters(settings):
        raise boxwright.ConfigError(f"{' and '.join(given)} cannot be used with --on.", "Leave it out.")
    count = Replicas.parse(replicas or "1")
    other = None if canary is None else Canary.parse(canary)
    if config is not None:
        if settings.security.certificate:
            raise boxwright.ConfigError("--tls-cert: Ray Serve's proxies speak HTTP alone.", "Put a proxy in front.")
        write(config, archives, settings, execution, count, other)
        typer.echo(f"Configuration: {config}. To deploy it: serve deploy {in_command(config)}")
        return
    _allow_connections(settings)
    names = ", ".join(Path(name_of(place)).stem for place in archives)

    def announce(url: str) -> None:
        part = "" if other is None else f"; {100 * other.share:g} % of its requests to {other.archive}"
        typer.echo(f"{names}: {url}, {count} on {on}{part}")

    serve_on(archives, on, settings, execution, count, other, announce, partial(typer.echo, err=True))


def _listed(options: Sequence[str]) -> str:
    """Options as the subject of a sentence."""
    return f"{options[0]} is" if len(options) == 1 else f"{', '.join(options[:-1])} and {options[-1]} are"


def _not_on_clusters(settings: ServerSettings) -> list[str]:
    """The options that were given and that only the server of one machine follows."""
    given = {
        "--store": settings.store is not None,
        "--management-port": settings.management_port is not None,
        "--metrics-port": settings.metrics_port is not None,
        "--grpc-port": settings.grpc_port is not None,
        "--log": settings.access_log is not None,
        "--token-auth": settings.security.tokens,
        "--workers": settings.models.own_processes,
    }
    return [option for option, there in given.items() if there]


def _allow_connections(settings: ServerSettings) -> None:
    """Raise the system's limit of open files to what all ports together may need; a note if that is not allowed."""
    from boxwright.host.processes import allow_open_files

    ports = (settings.port, settings.management_port, settings.metrics_port)
    needed = settings.limits.connections * sum(port is not None for port in ports) + _OTHER_FILES
    allowed = allow_open_files(needed)
    if allowed < needed:
        typer.echo(
            f"Note: the system allows {allowed} open files, and {needed} may be needed: "
            "further connections then wait. To change it: ulimit -n, or LimitNOFILE= of systemd.",
            err=True,
        )


def _require_pair(settings: ServerSettings) -> None:
    """Raise unless both parts of TLS were given, or neither, and can be read."""
    parts = (settings.security.certificate, settings.security.private_key)
    if sum(part is None for part in parts) == 1:
        raise boxwright.ConfigError("TLS needs a certificate and its key.", "Give --tls-cert and --tls-key.")
    for part in parts:
        if part is not None and not part.is_file():
            raise boxwright.ConfigError(f"{part} is not a file.", "Give a PEM file.")


def _require_no_stores(archives: Sequence[Place]) -> None:
    """Raise if one is a folder of archives, which is for another option."""
    from boxwright.runtime import open_bundle

    for place in archives:
        if isinstance(place, Path) and place.is_dir() and any(place.glob("*.mar")):
            try:
                open_bundle(place)
            except boxwright.ArchiveError:
                remedy = f"To serve all of them: boxwright serve --store {in_command(place)}"
                raise boxwright.ConfigError(f"{place} is a folder of archives.", remedy) from None


def _announce(settings: ServerSettings, engine: Engine, urls: Mapping[str, str]) -> None:
    from boxwright.serving.jobs import ModelNotFound

    base = urls["predictions"]
    for name in engine.models:
        with suppress(ModelNotFound):  # taken out in this moment
            for model in engine.versions(name):
                path = name if engine.is_default(model) else f"{name}/{model.version}"
                _announce_model(model, f"{base}/predictions/{path}")
    for what, url in urls.items():
        if what != "predictions":
            typer.echo(f"{what}: {url}")
    if settings.security.tokens:
        typer.echo(f"tokens: in {settings.security.key_file}; KEY is the key of inference")
    for name in list(engine.models)[:1]:
        typer.echo(f"Try: curl {_curl_options(settings)}-T picture.jpg {_from_here(base)}/predictions/{name}")


def _curl_options(settings: ServerSettings) -> str:
    """What curl needs besides: few certificates are for this machine's own address."""
    unproved = "-k " if settings.security.certificate else ""
    return unproved + ('-H "Authorization: Bearer KEY" ' if settings.security.tokens else "")


def _from_here(base: str) -> str:
    """A URL that leads to the server from its own machine: nobody can connect to the address of all interfaces."""
    return base.replace("://0.0.0.0:", "://127.0.0.1:").replace("://[::]:", "://[::1]:")


def _announce_aside(settings: ServerSettings, engine: Engine, urls: Mapping[str, str]) -> None:
    """On standard error: standard output has lines of JSON and nothing else."""
    with redirect_stdout(sys.stderr):
        _announce(settings, engine, urls)


def _tell(settings: ServerSettings, found: Rescan) -> None:
    """What SIGHUP changed; what is wrong with files was logged."""
    changes = [f"{name} {version} is served now." for name, version in found.added]
    changes += [f"{name} {version} is served anew." for name, version in found.replaced]
    nothing = "Nothing in the store has changed." if settings.store else "There is no --store to look at."
    for line in changes or ([] if found.faults else [nothing]):
        typer.echo(line, err=True)


def _announce_model(model: ServedModel, url: str) -> None:
    for note in model.choice.notes:
        typer.echo(note, err=True)
    typer.echo(f"{model.name} {model.version}: {url}")
    typer.echo(f"  {model.choice.execution}: {model.choice.reason}.")
    typer.echo(f"  {', '.join(model.class_names)}; reports detections from a score of {_scores(model.thresholds)} on")


def _scores(thresholds: Sequence[float]) -> str:
    low, high = min(thresholds), max(thresholds)
    return f"{low:.3f}" if low == high else f"{low:.3f} to {high:.3f}, by class"
