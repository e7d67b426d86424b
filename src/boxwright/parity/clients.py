"""Asks an endpoint for detections in the protocol that its URL names: TorchServe's, or KServe's v1 or v2.

What is posted is the picture's file, byte for byte; what comes back is checked before it counts.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult

import numpy as np

from boxwright.runtime import ConfigError, Detections, PictureError, ServingError

from .connections import Http, Reply, split_url

__all__ = ["FORMS", "Answer", "Client", "Refusal", "open_client"]

FORMS = "http://HOST:PORT, …/predictions/NAME, …/v2/models/NAME or …/v1/models/NAME:predict"
"""URLs that are understood; a version may follow the name: ``/predictions/NAME/VERSION``, ``/versions/VERSION``."""

TIMEOUT = 120.0
"""Seconds a picture may take."""

CONCURRENCY = 2
"""Pictures on their way at once: one is decoded while the other is looked at."""

_OK, _NOT_FOUND, _REDIRECTS = 200, 404, range(300, 400)
_FAR = 1e9
_PROTOCOLS = {
    "predictions": re.compile(r".*/predictions/[^/]+(/[^/]+)?"),
    "v1": re.compile(r".*/v1/models/[^/:]+(/versions/[^/:]+)?:predict"),
    "v2": re.compile(r".*/v2/models/[^/:]+(/versions/[^/]+)?(/infer)?"),
}


@dataclass(frozen=True, eq=False)
class Answer:
    """To one picture.

    Attributes:
        detections: those whose class the model knows, in pixels of the picture.
        unknown: names of classes that it does not know, one a detection.
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
class Client:
    """An endpoint.

    Attributes:
        url: that is posted to.
        path: its part after the host, with the query.
        protocol: ``predictions``, ``v1`` or ``v2``.
        class_names: of the model, by index.
        http: the connections.
    """

    url: str
    path: str
    protocol: str
    class_names: tuple[str, ...]
    http: Http

    def ask(self, picture: bytes) -> Answer | Refusal:
        """Post one picture.

        Raises:
            ServingError: no server, no such model, a redirect, or an answer that is none.
        """
        body, content_type = _REQUESTS[self.protocol](picture)
        reply = self.http.request("POST", self.path, body, Content_Type=content_type)
        if reply.status == _NOT_FOUND:
            raise ServingError(
                f"{self.url} answered 404: {reply.beginning}", "Check the model's name and version in the URL."
            )
        if reply.status in _REDIRECTS:
            where = reply.headers.get("location", "nowhere")
            raise ServingError(
                f"{self.url} answered {reply.status}, a redirect to {where!r}.", "Give that server's URL."
            )
        if reply.status != _OK:
            return Refusal(reply.status, reply.beginning)
        return self._read(reply)

    def platform(self) -> str:
        """What runs the model, in the server's own words; protocol v2 only.

        Raises:
            ServingError: the server does not say.
        """
        path = self.path.removesuffix("/infer")
        reply = self.http.request("GET", path)
        try:
            return str(json.loads(reply.body)["platform"])
        except (ValueError, TypeError, KeyError) as error:
            raise ServingError(
                f"{self.http.base}{path} answered {reply.status} without a platform: {reply.beginning!r}.",
                "Give the URL of a model in the Open Inference Protocol.",
            ) from error

    def _read(self, reply: Reply) -> Answer:
        try:
            return _ANSWERS[self.protocol](json.loads(reply.body), self.class_names)
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            raise ServingError(
                f"{self.url} answered {reply.status} with what is no answer: {reply.beginning!r}.",
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
        timeout: seconds a picture may take.

    Raises:
        ConfigError: the URL is none of them.
        ServingError: no server answers.
    """
    parts = split_url(url, FORMS)
    with closing(Http(parts, timeout)) as http:
        path = parts.path.rstrip("/") or _find(http, name)
        protocol = next((one for one, pattern in _PROTOCOLS.items() if pattern.fullmatch(path)), None)
        if protocol is None:
            raise ConfigError(f"Endpoint {url!r} names no model.", f"Give {FORMS}.")
        if protocol == "v2" and not path.endswith("/infer"):
            path += "/infer"
        yield Client(f"{http.base}{path}", path + _query(parts), protocol, tuple(class_names), http)


def _find(http: Http, name: str) -> str:
    own, other = f"/predictions/{name}", f"/v2/models/{name}"
    # Triton answers paths that it has not with 400, and so do we a request without a picture; /ping is TorchServe's
    strange = http.request("GET", own).status == _NOT_FOUND or http.request("GET", "/ping").status != _OK
    return other if strange and http.request("GET", other).status == _OK else own


def _query(parts: SplitResult) -> str:
    return f"?{parts.query}" if parts.query else ""


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
        raise ValueError("no list of detections")
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
        raise ValueError("label_names are no texts")
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
        raise ValueError("a number is none, or no pixel lies there")
    if not ((numbers[:, 4] >= 0) & (numbers[:, 4] <= 1)).all():
        raise ValueError("a score is outside 0..1")
    known = np.array([name in index for name, _, _ in rows], bool)
    labels = np.array([index.get(name, -1) for name, _, _ in rows], np.int64)
    detections = Detections(numbers[:, :4], numbers[:, 4], labels).select(known)
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
