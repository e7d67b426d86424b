"""TorchServe's configuration files, as far as they mean something here; what does not is named, not dropped."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from boxwright.host.plain_yaml import require_plain
from boxwright.runtime import ArchiveError, Bundle, ConfigError
from boxwright.runtime.bundle import MANIFEST

from .settings import ServerSettings

__all__ = [
    "BATCH_DELAY",
    "BATCH_SIZE",
    "QUEUE_SIZE",
    "RESPONSE_TIMEOUT",
    "Configuration",
    "ModelChanges",
    "Setting",
    "read_configuration",
    "read_model_config",
    "read_properties",
]

_LARGEST = 256 * 1024  # bytes of a file: these are written by hand
_SHOWN = 80  # characters of a value in a message


@dataclass(frozen=True)
class Setting:
    """A number that TorchServe's files and calls have for an option of a model.

    Attributes:
        field: of ``ModelOptions``.
        least: smallest allowed.
        most: largest allowed.
        factor: to the unit that the field has.
    """

    field: str
    least: int
    most: int
    factor: float = 1

    def option(self, number: int) -> dict[str, Any]:
        """The change that a number stands for.

        Raises:
            ValueError: it is out of bounds; the message says which these are.
        """
        if not self.least <= number <= self.most:
            raise ValueError(f"is not from {self.least} to {self.most}")
        return {self.field: number if self.factor == 1 else number * self.factor}


BATCH_SIZE = Setting("batch_size", 1, 1024)
BATCH_DELAY = Setting("batch_delay", 0, 600_000, 0.001)
RESPONSE_TIMEOUT = Setting("timeout", 1, 86_400)
QUEUE_SIZE = Setting("queue_size", 1, 1_000_000)

_OF_MODELS = {
    "batchSize": BATCH_SIZE,
    "maxBatchDelay": BATCH_DELAY,
    "responseTimeout": RESPONSE_TIMEOUT,
    "jobQueueSize": QUEUE_SIZE,
}

_MEANINGLESS_OF_MODELS = {
    "asyncCommunication", "clientTimeoutInMills", "continuousBatching", "deviceIds", "deviceType", "maxNumSequence",
    "maxRetryTimeoutInSec", "maxSequenceJobQueueSize", "parallelLevel", "parallelType", "sequenceBatching",
    "sequenceMaxIdleMSec", "sequenceTimeoutMSec", "startupTimeout", "torchrun", "useJobTicket", "useVenv",
}  # fmt: skip
"""Keys that TorchServe knows, of what this server does not have."""


@dataclass(frozen=True)
class ModelChanges:
    """What a file says of one model.

    Attributes:
        options: changes to ``ModelOptions``.
        workers: how many; None if it does not say.
        default: whether it is the version that answers where none is named.
        notes: a sentence for each key that means nothing here.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    workers: int | None = None
    default: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Configuration:
    """What a ``config.properties`` says.

    Attributes:
        settings: those that were given, changed.
        load: names of files in the store, and the name to serve each under (None for its own); None for all of them.
        workers: of each model that does not say itself; None if the file does not say.
        models: of each name and version that the file describes.
        notes: a sentence for each key that is unknown or means nothing here.
    """

    settings: ServerSettings
    load: tuple[tuple[str, str | None], ...] | None = ()
    workers: int | None = None
    models: Mapping[tuple[str, str], ModelChanges] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


# a model's own


def read_model_config(path: Path, bundle: Bundle) -> ModelChanges:
    """What a model's YAML file says: ``NAME.model-config.yaml`` beside ``NAME.mar``, else the one in the archive.

    Args:
        path: of the archive.
        bundle: the archive, opened.

    Raises:
        ArchiveError: the file cannot be read, or a value does not fit its key.
    """
    beside = path.with_name(f"{path.stem}.model-config.yaml")
    try:
        if beside.is_file():
            return _model_changes(_yaml(beside.read_bytes()))
        member = json.loads(bundle.read(MANIFEST))["model"].get("configFile") if MANIFEST in bundle.members else None
        return _model_changes(_yaml(bundle.read(str(member)))) if member else ModelChanges()
    except OSError as error:
        raise ArchiveError(f"{beside}: cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise ArchiveError(f"{path}: its model configuration cannot be used: {error}.", "Correct the file.") from error


def _yaml(content: bytes) -> Mapping[str, Any]:
    import yaml

    if len(content) > _LARGEST:
        raise ValueError(f"it is larger than {_LARGEST:,} bytes")
    try:
        require_plain(content)
        document = yaml.safe_load(content)
    except (yaml.YAMLError, RecursionError, ValueError) as broken:
        raise ValueError(f"it is not YAML ({_shortened(' '.join(str(broken).split()), 4 * _SHOWN)})") from None
    if document is None:
        return {}
    if not isinstance(document, dict) or not all(isinstance(key, str) for key in document):
        raise ValueError("it is not a list of keys and values")
    return document


def _model_changes(document: Mapping[str, Any]) -> ModelChanges:
    """What the keys of a model's YAML file, or of ``models`` in ``config.properties``, stand for."""
    options: dict[str, Any] = {}
    notes: list[str] = []
    for key, value in document.items():
        if key in _OF_MODELS:
            options |= _said(key, value, _OF_MODELS[key].option)
        elif key in _MEANINGLESS_OF_MODELS:
            notes.append(f"{key} has no meaning here.")
        elif key not in ("minWorkers", "maxWorkers", "defaultVersion", "marName"):
            notes.append(f"{_shortened(key)} is unknown; there are no handlers that could read it.")
    workers = _whole(document, "minWorkers")
    most = _whole(document, "maxWorkers")
    if workers is None:
        workers = most
    elif most is not None and most != workers:
        notes.append(f"maxWorkers has no meaning here: there are always minWorkers = {workers}.")
    return ModelChanges(options, workers, document.get("defaultVersion") is True, tuple(notes))


def _whole(document: Mapping[str, Any], key: str) -> int | None:
    value = document.get(key)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{key} = {_shortened(repr(value))} is not a number of workers")
    return value


def _shortened(text: str, most: int = _SHOWN) -> str:
    return text if len(text) <= most else f"{text[:most]}…"


def _said(key: str, value: Any, option: Callable[[int], dict[str, Any]]) -> dict[str, Any]:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{key} = {_shortened(repr(value))} is not a whole number")
    try:
        return option(value)
    except ValueError as error:
        raise ValueError(f"{key} = {_shortened(str(value))} {error}") from None


# the server's


def read_configuration(
    path: Path, settings: ServerSettings = ServerSettings(), environment: Mapping[str, str] = os.environ
) -> Configuration:
    """What a ``config.properties`` of TorchServe says.

    Args:
        path: of the file.
        settings: what it changes.
        environment: for ``$$NAME$$`` in values, and, if the file says ``enable_envvars_config=true``, for variables
            ``TS_KEY``, which win over the file.

    Raises:
        ConfigError: it cannot be read, or a value does not fit its key.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise ConfigError(f"{path}: larger than {_LARGEST:,} bytes.", "Give a config.properties.")
        said = read_properties(path.read_text(encoding="utf-8"))
        given = {key: _resolved(key, value, environment) for key, value in said.items()}
        given |= _of_environment(given, environment)
        reader = _Reader(settings)
        for key, value in given.items():
            reader.read(key, value)
        return reader.configuration()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}.", "Give a config.properties.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is no text in UTF-8.", "Give a config.properties.") from error
    except ValueError as error:
        raise ConfigError(f"{path}: {error}.", "Correct the file.") from error


_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "f": "\f"}
_ESCAPED = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_PAIR = re.compile(r"((?:\\.|[^\\=:\s])*)\s*[=:]?\s*(.*)", re.DOTALL)
_VARIABLE = re.compile(r"\$\$([^$]+)\$\$")


def read_properties(text: str) -> dict[str, str]:
    """The keys and values of Java's properties format: comments, continued lines, escapes; the last of a key counts."""
    found: dict[str, str] = {}
    for line in _logical_lines(text):
        pair = _PAIR.fullmatch(line)
        assert pair is not None, "every part of the pattern may be empty"
        found[_unescaped(pair[1])] = _unescaped(pair[2])
    return found


def _logical_lines(text: str) -> Iterator[str]:
    whole = ""
    for line in text.splitlines():
        part = line.lstrip()
        if not whole and (not part or part[0] in "#!"):
            continue
        backslashes = len(part) - len(part.rstrip("\\"))
        if backslashes % 2:
            whole += part[:-1]
            continue
        yield whole + part
        whole = ""
    if whole:
        yield whole


def _unescaped(text: str) -> str:
    def one(found: re.Match[str]) -> str:
        code = found[1]
        return chr(int(code[1:], 16)) if code[0] == "u" and len(code) > 1 else _ESCAPES.get(code, code)

    return _ESCAPED.sub(one, text)


def _resolved(key: str, value: str, environment: Mapping[str, str]) -> str:
    def one(found: re.Match[str]) -> str:
        if found[1] not in environment:
            raise ValueError(f"{key} names the environment variable {found[1]}, which is not set")
        return environment[found[1]]

    return _VARIABLE.sub(one, value).strip()


_MEANINGLESS = {
    "async_logging", "blacklist_env_vars", "cors_allowed_headers", "cors_allowed_methods", "cpp_log_config",
    "cpu_launcher_args", "cpu_launcher_enable", "debug", "decode_input_request", "default_service_handler",
    "default_startup_timeout", "disable_system_metrics", "enable_grpc_ssl", "enable_metrics_api",
    "grpc_inference_address", "grpc_inference_max_connection_age_grace_ms", "grpc_inference_max_connection_age_ms",
    "grpc_management_address", "grpc_management_max_connection_age_grace_ms",
    "grpc_management_max_connection_age_ms", "grpc_management_port", "initial_distribution_port",
    "initial_worker_port", "install_py_dep_per_model", "io_ratio", "ipex_enable", "ipex_gpu_enable", "keystore",
    "keystore_pass", "keystore_type", "limit_max_image_pixels", "max_response_size", "metric_time_interval",
    "metrics_config", "metrics_mode", "model_metrics_auto_detect", "model_server_home", "model_snapshot",
    "netty_client_threads", "number_of_gpu", "number_of_netty_threads", "plugins_path", "prefer_direct_buffer",
    "python", "service_envelope", "snapshot_store", "system_metrics_cmd", "ts_header_key_sequence_end",
    "ts_header_key_sequence_id", "ts_header_key_sequence_start", "ts_open_inference_protocol",
    "unregister_model_timeout", "use_native_io", "version", "workflow_store",
}  # fmt: skip
"""Keys that TorchServe knows, of what this server does not have, or decides by itself."""

_REASONS = {
    "keystore": "give certificate_file and private_key_file in PEM instead",
    "limit_max_image_pixels": "the pixels of a picture are always limited",
    "service_envelope": "the URL says which protocol is spoken",
    "ts_open_inference_protocol": "the Open Inference Protocol is always spoken below /v2",
    "default_service_handler": "no code of archives is executed",
    "metrics_mode": "metrics are always in Prometheus' format",
    "enable_metrics_api": "metrics are always offered",
    "number_of_gpu": "choose devices with --device",
}

_NOT_BY_ENVIRONMENT = {
    "enable_envvars_config", "io_ratio", "metric_time_interval", "model_snapshot", "models", "plugins_path", "python",
    "snapshot_store", "system_metrics_cmd", "use_env_allowed_urls", "use_native_io", "version",
}  # fmt: skip

_VARIABLES = {"token_expiration_min": "TS_TOKEN_EXPIRATION_TIME_MIN"}
"""Environment variables that are not ``TS_`` and the key."""


def _of_environment(given: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    if _is_true("enable_envvars_config", given.get("enable_envvars_config", "false")):
        keys = (set(_Reader.MEANINGS) | _MEANINGLESS) - _NOT_BY_ENVIRONMENT
    elif _is_true("use_env_allowed_urls", given.get("use_env_allowed_urls", "false")):
        keys = {"allowed_urls"}
    else:
        return {}
    variables = {key: _variable(key) for key in sorted(keys)}
    return {key: environment[name].strip() for key, name in variables.items() if name in environment}


def _variable(key: str) -> str:
    return _VARIABLES.get(key, key.upper() if key.startswith("ts_") else f"TS_{key.upper()}")


class _Reader:
    """Collects what each key changes."""

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        self.load: tuple[tuple[str, str | None], ...] | None = ()
        self.workers: int | None = None
        self.models: dict[tuple[str, str], ModelChanges] = {}
        self.notes: list[str] = []
        self.secure: str | None = None

    def read(self, key: str, value: str) -> None:
        if key in self.MEANINGS:
            self.MEANINGS[key](self, key, value)
        elif key in _MEANINGLESS:
            reason = f": {_REASONS[key]}" if key in _REASONS else ""
            self.notes.append(f"{key} has no meaning here{reason}.")
        else:
            self.notes.append(f"{key} is unknown.")

    def configuration(self) -> Configuration:
        if self.secure is not None and self.settings.security.certificate is None:
            raise ValueError(
                f"{self.secure} asks for https, but there is no certificate_file with its private_key_file"
            )
        return Configuration(self.settings, self.load, self.workers, self.models, tuple(self.notes))

    # what one key means

    def _address(self, key: str, value: str) -> None:
        try:
            parts, given = urlsplit(value), urlsplit(value).port
        except ValueError as error:  # of the port, or of an address in brackets
            raise ValueError(f"{key} = {value} is not http://HOST:PORT ({error})") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{key} = {value} is not http://HOST:PORT")
        usual = {"inference_address": (8080, 8443), "management_address": (8081, 8444)}.get(key, (8082, 8445))
        port = given if given is not None else usual[parts.scheme == "https"]
        if parts.scheme == "https":
            self.secure = f"{key} = {value}"
        of = "" if key == "inference_address" else key.replace("address", "")
        changes: dict[str, Any] = {f"{of}port": port, f"{of}host": parts.hostname}
        self.settings = replace(self.settings, **changes)

    def _grpc(self, key: str, value: str) -> None:
        self.settings = replace(self.settings, grpc_port=_number(key, value, 0, 65535))

    def _store(self, key: str, value: str) -> None:
        self.settings = replace(self.settings, store=Path(value))

    def _load(self, key: str, value: str) -> None:
        if value.lower() in ("", "none"):
            self.load = ()
        elif value.lower() == "all":
            self.load = None
        else:
            pairs = [one.strip().rpartition("=") for one in value.split(",") if one.strip()]
            self.load = tuple((file.strip(), name.strip() or None) for name, _, file in pairs)

    def _option(self, key: str, value: str) -> None:
        setting = {"job_queue_size": QUEUE_SIZE, "default_response_timeout": RESPONSE_TIMEOUT}[key]
        changes = setting.option(_number(key, value, setting.least, setting.most))
        self.settings = replace(self.settings, models=replace(self.settings.models, **changes))

    def _workers(self, key: str, value: str) -> None:
        self.workers = _number(key, value, 0, 1024) or None  # 0 is TorchServe's "as many as fit"

    def _max_body(self, key: str, value: str) -> None:
        size = _number(key, value, 1, 2**31 - 1)
        self.settings = replace(self.settings, limits=replace(self.settings.limits, max_body=size))

    def _security(self, **changes: Any) -> None:
        self.settings = replace(self.settings, security=replace(self.settings.security, **changes))

    def _allowed_urls(self, key: str, value: str) -> None:
        patterns = tuple(one.strip() for one in value.split(",") if one.strip())
        for pattern in patterns:
            try:
                re.compile(pattern)
            except (re.error, OverflowError, RecursionError) as error:
                raise ValueError(f"{key} = {pattern} is not a regular expression ({error})") from None
        self._security(allowed_urls=patterns)

    def _model_api(self, key: str, value: str) -> None:
        self._security(model_api=_is_true(key, value))

    def _tokens(self, key: str, value: str) -> None:
        self._security(tokens=not _is_true(key, value))

    def _minutes(self, key: str, value: str) -> None:
        self._security(token_minutes=_number(key, value, 1, 1_000_000))

    def _origins(self, key: str, value: str) -> None:
        self._security(origins=tuple(one.strip() for one in value.split(",") if one.strip()))

    def _certificate(self, key: str, value: str) -> None:
        self._security(**{"certificate" if key == "certificate_file" else "private_key": Path(value)})

    def _models(self, key: str, value: str) -> None:
        try:
            document = json.loads(value)
            for name, versions in document.items():
                for version, said in versions.items():
                    changes = _model_changes(said)
                    self.models[name, version] = changes
                    self.notes += [f"{key}: {name} {version}: {note}" for note in changes.notes]
        except (AttributeError, RecursionError, json.JSONDecodeError) as error:
            raise ValueError(f"{key} is not JSON of names, versions and their settings ({error})") from None

    def _switch(self, key: str, value: str) -> None:
        _is_true(key, value)  # it was read before the other keys

    MEANINGS: Mapping[str, Callable[[_Reader, str, str], None]] = {
        "inference_address": _address,
        "management_address": _address,
        "metrics_address": _address,
        "grpc_inference_port": _grpc,
        "model_store": _store,
        "load_models": _load,
        "job_queue_size": _option,
        "default_response_timeout": _option,
        "default_workers_per_model": _workers,
        "max_request_size": _max_body,
        "allowed_urls": _allowed_urls,
        "enable_model_api": _model_api,
        "disable_token_authorization": _tokens,
        "token_expiration_min": _minutes,
        "cors_allowed_origin": _origins,
        "certificate_file": _certificate,
        "private_key_file": _certificate,
        "models": _models,
        "enable_envvars_config": _switch,
        "use_env_allowed_urls": _switch,
    }


def _number(key: str, value: str, least: int, most: int) -> int:
    if not re.fullmatch("[0-9]{1,10}", value) or not least <= int(value) <= most:
        raise ValueError(f"{key} = {value} is not a number from {least} to {most}")
    return int(value)


def _is_true(key: str, value: str) -> bool:
    if value.lower() not in ("true", "false"):
        raise ValueError(f"{key} = {value} is neither true nor false")
    return value.lower() == "true"
