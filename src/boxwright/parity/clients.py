"""Asks an endpoint for detections in the protocol that its URL names: TorchServe's, or KServe's v1 or v2.

What is posted is the picture's file, byte for byte; what comes back is checked before it counts.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, quote, urlsplit

import numpy as np

from boxwright.inputs.http import Http, HttpFailure, Reply, TooSlow, open_http
from boxwright.runtime import ConfigError, Detections, PictureError, ServingError

__all__ = ["FORMS", "Answer", "Client", "Refusal", "open_client"]

FORMS = "http://HOST:PORT, …/predictions/NAME, …/v2/models/NAME or …/v1/models/NAME:predict"
"""URLs that are understood; a version may follow the name: ``/predictions/NAME/VERSION``, ``/versions/VERSION``."""

TIMEOUT = 120.0
"""Most seconds per picture."""

CONCURRENCY = 2
"""Pictures on their way at once: one is decoded while the other is looked at."""

_OK, _NOT_FOUND, _UNAVAILABLE, _REDIRECTS = 200, 404, 503, range(300, 400)
_TRIES = 6
_LONGEST_WAIT = 5.0
_LARGEST_REPLY = 64 * 1024**2
_NO_HOST = re.compile(r"[\x00-\x20\x7f]")
_FAR = 1e9
_PROTOCOLS = {
    "predictions": re.compile(r".*/predictions/[^/]+(/[^/]+)?"),
    "v1": re.compile(r".*/v1/models/[^/:]+(/versions/[^/:]+)?:predict"),
    "v2": re.compile(r".*/v2/models/[^/:]+(/versions/[^/]+)?(/infer)?"),
}


@dataclass(frozen=True, eq=False)
class Answer:
    """The answer to one picture.

    Attributes:
        detections: those whose class the model knows, in pixels of the picture.
        unknown: names of classes that it does not know, one per detection.
    """

    detections: Detections
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Refusal:
    """A picture that got an error status instead of an answer.

    Attributes:
        status: of HTTP.
        message: beginning of the body.
    """

    status: int
    message: str


@dataclass(frozen=True, eq=False)
class _Server:
    """One server, asked over connections that stay open."""

    base: str
    timeout: float
    http: Http

    def request(self, method: str, path: str, body: bytes = b"", content_type: str | None = None) -> Reply:
        """One request; repeated a few times where the server says 503 and when to come back.

        Raises:
            ServingError: no server there, or none that speaks HTTP.
        """
        for _ in range(_TRIES - 1):
            reply = self._answer(method, path, body, content_type)
            if reply.status != _UNAVAILABLE or "retry-after" not in reply.headers:
                return reply
            time.sleep(_wait(reply.headers["retry-after"]))
        return self._answer(method, path, body, content_type)

    def _answer(self, method: str, path: str, body: bytes, content_type: str | None) -> Reply:
        url, headers = f"{self.base}{path}", {"Content-Type": content_type} if content_type else {}
        try:
            return self.http.request(method, quote(url, safe="/:?&=%~+,@[]"), self.timeout, body, headers)
        except TooSlow as error:
            remedy = "See what keeps the server busy."
            raise ServingError(f"{url}: no answer within {self.timeout:g} s.", remedy) from error
        except HttpFailure as error:
            remedy = "Check host and port, and that the server runs: boxwright serve NAME.mar"
            raise ServingError(f"{url}: cannot be reached: {error}.", remedy) from error


def _wait(retry_after: str) -> float:
    """Seconds to wait; a date, or what is neither, counts as one second."""
    seconds = float(retry_after) if retry_after.isascii() and retry_after.isdigit() else 1.0
    return min(seconds, _LONGEST_WAIT)


@dataclass(frozen=True, eq=False)
class Client:
    """An endpoint.

    Attributes:
        url: that is posted to.
        path: its part after the host, with the query.
        protocol: ``predictions``, ``v1`` or ``v2``.
        class_names: of the model, by index.
        server: that it is on.
    """

    url: str
    path: str
    protocol: str
    class_names: tuple[str, ...]
    server: _Server

    def ask(self, picture: bytes) -> Answer | Refusal:
        """Post one picture.

        Raises:
            ServingError: no server, no such model, a redirect, or something else than detections.
        """
        reply = self.server.request("POST", self.path, *_REQUESTS[self.protocol](picture))
        if reply.status == _NOT_FOUND:
            raise ServingError(
                f"{self.url} answered 404: {_beginning(reply)}", "Check the model's name and version in the URL."
            )
        if reply.status in _REDIRECTS:
            where = reply.headers.get("location", "nowhere")
            raise ServingError(
                f"{self.url} answered {reply.status}, a redirect to {where!r}.", "Give that server's URL."
            )
        if reply.status != _OK:
            return Refusal(reply.status, _beginning(reply))
        return self._read(reply)

    def platform(self) -> str:
        """What runs the model, in the server's own words; protocol v2 only.

        Raises:
            ServingError: the server does not say.
        """
        path = self.path.removesuffix("/infer")
        reply = self.server.request("GET", path)
        try:
            return str(json.loads(reply.body)["platform"])
        except (ValueError, TypeError, KeyError) as error:
            raise ServingError(
                f"{self.server.base}{path} answered {reply.status} without a platform: {_beginning(reply)!r}.",
                "Give the URL of a model in the Open Inference Protocol.",
            ) from error

    def _read(self, reply: Reply) -> Answer:
        try:
            return _ANSWERS[self.protocol](json.loads(reply.body), self.class_names)
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            raise ServingError(
                f"{self.url} answered {reply.status}, but not with detections: {_beginning(reply)!r}.",
                f"Give the URL of a detector: {FORMS}.",
            ) from error

    def ask_all(
        self, pictures: Sequence[Path], progress: Callable[[int, int], object] | None = None
    ) -> list[Answer | Refusal]:
        """Post many files, a few at a time; the answers in their order.

        Raises:
            PictureError: a file cannot be read.
            ServingError: see ``ask``; every picture was refused.
        """
        answers: list[Answer | Refusal] = []
        with ThreadPoolExecutor(CONCURRENCY) as pool:
            for answer in pool.map(lambda path: self.ask(_read_file(path)), pictures):
                answers.append(answer)
                if progress:
                    progress(len(answers), len(pictures))
        self._require_some(answers)
        return answers

    def _require_some(self, answers: Sequence[Answer | Refusal]) -> None:
        refusals = [one for one in answers if isinstance(one, Refusal)]
        if refusals and len(refusals) == len(answers):
            raise ServingError(
                f"{self.url} answered every picture with an error, the first {refusals[0].status}: "
                f"{refusals[0].message}",
                "See the server's log.",
            )


@contextmanager
def open_client(url: str, name: str, class_names: Sequence[str], timeout: float = TIMEOUT) -> Iterator[Client]:
    """The client for a URL, its connections open for the time of the block.

    Args:
        url: one of ``FORMS``; a server's alone is asked for ``/predictions/NAME``, else for ``/v2/models/NAME``.
        name: of the model.
        class_names: by index.
        timeout: most seconds per picture.

    Raises:
        ConfigError: the URL is not one of ``FORMS``.
        ServingError: no server answers.
    """
    parts = _split(url)
    with open_http(_LARGEST_REPLY) as http:
        server = _Server(f"{parts.scheme}://{parts.netloc}", timeout, http)
        path = parts.path.rstrip("/") or _find(server, name)
        protocol = next((one for one, pattern in _PROTOCOLS.items() if pattern.fullmatch(path)), None)
        if protocol is None:
            raise ConfigError(f"Endpoint {url!r} names no model.", f"Give {FORMS}.")
        if protocol == "v2" and not path.endswith("/infer"):
            path += "/infer"
        yield Client(f"{server.base}{path}", path + _query(parts), protocol, tuple(class_names), server)


def _split(url: str) -> SplitResult:
    """The parts of an endpoint's URL.

    Raises:
        ConfigError: it is not one of ``FORMS``.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        host.encode("idna")  # raises UnicodeError, a ValueError, as looking the name up would
        sound = parts.scheme in ("http", "https") and bool(host) and not _NO_HOST.search(host) and parts.port != 0
    except ValueError:
        sound = False
    if not sound or parts.username is not None:
        raise ConfigError(f"Endpoint {url!r} is not the URL of a server.", f"Give {FORMS}.")
    return parts


def _find(server: _Server, name: str) -> str:
    own, other = f"/predictions/{name}", f"/v2/models/{name}"
    # 400 is Triton's answer to an unknown path, and ours to a request without a picture; /ping is TorchServe's
    strange = server.request("GET", own).status == _NOT_FOUND or server.request("GET", "/ping").status != _OK
    return other if strange and server.request("GET", other).status == _OK else own


def _query(parts: SplitResult) -> str:
    return f"?{parts.query}" if parts.query else ""


def _beginning(reply: Reply) -> str:
    """Of the body, on one line, for errors."""
    return " ".join(reply.body[:400].decode("utf-8", "replace").split())[:200]


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PictureError(f"Picture '{path}' cannot be read: {error.strerror}.", "Check the path.") from error


def _as_file(picture: bytes) -> tuple[bytes, str]:
    return picture, "application/octet-stream"


def _as_instance(picture: bytes) -> tuple[bytes, str]:
    return json.dumps({"instances": [{"b64": _base64(picture)}]}).encode(), "application/json"


def _as_tensor(picture: bytes) -> tuple[bytes, str]:
    tensor = {
        "name": "image",
        "shape": [1],
        "datatype": "BYTES",
        "parameters": {"content_type": "base64"},
        "data": [_base64(picture)],
    }
    return json.dumps({"inputs": [tensor]}).encode(), "application/json"


def _base64(picture: bytes) -> str:
    return base64.b64encode(picture).decode("ascii")


def _of_list(document: Any, names: Sequence[str]) -> Answer:
    """``[{name: [x1, y1, x2, y2], "score": s}]``."""
    if not isinstance(document, list):
        raise ValueError("not a list of detections")
    return _answer(list(map(_detection, document)), names)


def _detection(item: Any) -> tuple[str, Any, Any]:
    if not isinstance(item, dict) or len(item) != 2:
        raise ValueError("a detection has one class and a score")
    (name,) = (key for key in item if key != "score")
    return name, item[name], item["score"]


def _of_predictions(document: Any, names: Sequence[str]) -> Answer:
    (one,) = document["predictions"]
    return _of_list(one, names)


def _of_outputs(document: Any, names: Sequence[str]) -> Answer:
    """Tensors ``boxes`` [n, 4], ``scores`` [n] and ``label_names`` [n], ``labels`` [n] or both."""
    outputs: dict[str, list[Any]] = {output["name"]: output["data"] for output in document["outputs"]}
    boxes = np.asarray(outputs["boxes"], np.float64).reshape(-1, 4).tolist()
    labels = outputs.get("labels")
    if not all(isinstance(name, str) for name in outputs.get("label_names") or []):
        raise ValueError("label_names are not texts")
    labelled = outputs.get("label_names") or [_named(label, names) for label in labels or []]
    for name, label in zip(labelled, labels or [], strict=False):
        if name in names and name != _named(label, names):
            raise ValueError("labels and label_names contradict each other")
    return _answer(list(zip(labelled, boxes, outputs["scores"], strict=True)), names)


def _named(label: Any, names: Sequence[str]) -> str:
    return names[label] if 0 <= label < len(names) else f"class {label}"


def _answer(rows: Sequence[tuple[str, Any, Any]], names: Sequence[str]) -> Answer:
    index = {name: label for label, name in enumerate(names)}
    numbers = np.array([[*box, score] for _, box, score in rows], np.float64).reshape(-1, 5)
    if not (np.abs(numbers) < _FAR).all():
        raise ValueError("a number is not finite, or no pixel lies there")
    if not ((numbers[:, 4] >= 0) & (numbers[:, 4] <= 1)).all():
        raise ValueError("a score is outside 0..1")
    known = np.array([name in index for name, _, _ in rows], bool)
    labels = np.array([index[name] for name, _, _ in rows if name in index], np.int64)
    detections = Detections(numbers[known, :4], numbers[known, 4], labels)
    return Answer(detections, tuple(name for name, _, _ in rows if name not in index))


_REQUESTS: Mapping[str, Callable[[bytes], tuple[bytes, str]]] = {
    "predictions": _as_file,
    "v1": _as_instance,
    "v2": _as_tensor,
}
_ANSWERS: Mapping[str, Callable[[Any, Sequence[str]], Answer]] = {
    "predictions": _of_list,
    "v1": _of_predictions,
    "v2": _of_outputs,
}
