"""The page at ``/``: try a model on a picture, and read what its archive says of it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from importlib import resources
from pathlib import PureWindowsPath
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from boxwright.metrics.figures import HEADLINE
from boxwright.runtime import ModelSpec

from .calls import Protocol, Service
from .engine import Engine
from .jobs import ModelNotFound
from .model import ServedModel
from .refusals import Refusal
from .torchserve import error_json

__all__ = ["PROTOCOL", "page"]

_PLACE = ">MODELS<"
_PER_CLASS = {
    "threshold": "threshold",
    "f2": "F2",
    "precision": "precision",
    "recall": "recall",
    "map": "mAP",
    "boxes": "boxes",
}


def page(engine: Engine) -> str:
    """The whole page: it asks for nothing but predictions of this server.

    Args:
        engine: its models are on the page, with what their archives say.
    """
    models: list[ServedModel] = []
    for name in engine.models:
        with suppress(ModelNotFound):  # taken out in this moment
            models += engine.versions(name)
    documents = [_document(model, engine) for model in models]
    text = json.dumps(documents, separators=(",", ":")).replace("<", "\\u003c")  # nothing in it can end the element
    return _template().replace(_PLACE, f">{text}<", 1)


@cache
def _template() -> str:
    return resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8")


@cache
def _headers() -> Mapping[str, str]:
    """What the browser may do for the page: run its one script, use its one style, and ask this server."""
    (script,), (style,) = (re.findall(rf"<{tag}>(.*?)</{tag}>", _template(), re.DOTALL) for tag in ("script", "style"))
    policy = {
        "default-src": "'none'",
        "script-src": _digest(script),
        "style-src": _digest(style),
        "connect-src": "'self'",
        "img-src": "data:",
        "media-src": "blob:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return {
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "Permissions-Policy": "camera=(self)",
        "Referrer-Policy": "no-referrer",
    }


def _digest(source: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"


def _routes(service: Service) -> list[BaseRoute]:
    async def answer(request: Request) -> Response:
        if not _accepts_html(request.headers.get("accept", "")):
            message = "Requested method is not allowed, please refer to API document."
            raise Refusal(405, message, "MethodNotAllowedException", {"Allow": "OPTIONS"})
        return Response(page(service.engine), media_type="text/html", headers=dict(_headers()))

    return [Route("/", answer, methods=["GET"])]


def _accepts_html(accept: str) -> bool:
    """Whether a client names HTML, as browsers do; ``*/*`` is what programs say."""
    for part in accept.split(","):
        kind, *parameters = (word.strip().lower() for word in part.split(";"))
        if kind == "text/html" and not any(re.fullmatch(r"q=0(\.0*)?", one) for one in parameters):
            return True
    return False


def _document(model: ServedModel, engine: Engine) -> dict[str, Any]:
    """What the page knows of a version."""
    return {
        "name": model.name,
        "version": model.version,
        "default": engine.is_default(model),
        "classes": model.class_names,
        "thresholds": model.thresholds,
        "facts": [[name, text] for name, text in _facts(model)],
        "tables": [table for split, figures in model.spec.measured.items() for table in _tables(split, figures)],
        "card": model.card,
    }


def _facts(model: ServedModel) -> Iterator[tuple[str, str]]:
    spec, recorded = model.spec, model.spec.provenance
    yield "Name, version", f"{model.name}, {model.version}"
    yield "Architecture", spec.architecture
    size = f"{spec.input.height} x {spec.input.width} pixels (height x width)"
    yield "Canvas", f"{size}, {spec.input.resize}{_windows(spec)}"
    yield "Runs as", f"{model.choice.execution}: {model.choice.reason}"
    yield "Operating point", _operating_point(spec)
    if isinstance(recorded.get("data"), Mapping):
        parts = (f"{split}: {_counts(counts)}" for split, counts in recorded["data"].items())
        yield "Data", "; ".join(parts)
    for key, title in (("data_fingerprint", "Fingerprint of the data"), ("weights", "Starting weights"),
                       ("weights_licence", "Licence of these"), ("created", "Trained")):  # fmt: skip
        if isinstance(recorded.get(key), str):
            # of weights from a file the name: folders of the machine that trained are nobody's business
            yield title, PureWindowsPath(recorded[key]).name if key == "weights" else recorded[key]
    if spec.exports:
        yield "Proved exports", ", ".join(spec.exports)


def _windows(spec: ModelSpec) -> str:
    return f", windows of {spec.input.tile} pixels" if spec.input.tile else ""


def _counts(counts: Any) -> str:
    if not isinstance(counts, Mapping):
        return str(counts)
    return ", ".join(f"{number} {name}" for name, number in counts.items())


def _operating_point(spec: ModelSpec) -> str:
    point = spec.operating_point
    text = "by class, see below" if point.by_class else f"score {point.threshold:.3f}{_between(point.interval)}"
    if point.value is None:
        return f"{text}; not measured"
    return f"{text}; {point.objective} = {point.value:.3f}{_between(point.value_interval)} on {point.split}"


def _tables(split: str, figures: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The measured figures of a split, and those of each class."""
    intervals = figures.get("intervals")
    ends = intervals if isinstance(intervals, Mapping) else {}
    rows = [
        [title, _number(figures[key]), _between(ends.get(key)).strip(" ()")]
        for key, title in HEADLINE.items()
        if key in figures
    ]
    if rows:
        title = f"Measured on {split}, {figures.get('images', 'unknown')} pictures"
        yield {"title": title, "head": ["figure", "value", "95 % interval"], "rows": rows}
    per_class = figures.get("per_class")
    if isinstance(per_class, Mapping) and per_class:
        rows = [
            [name, *(_number(one.get(key)) for key in _PER_CLASS)]
            for name, one in per_class.items()
            if isinstance(one, Mapping)
        ]
        yield {"title": f"By class on {split}", "head": ["class", *_PER_CLASS.values()], "rows": rows}


def _between(ends: Any) -> str:
    if not isinstance(ends, (list, tuple)) or len(ends) != 2 or any(not isinstance(end, (int, float)) for end in ends):
        return ""
    return f" ({ends[0]:.3f} to {ends[1]:.3f})"


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    return "-" if value is None else str(value)


PROTOCOL = Protocol("", _routes, error_json)
"""``GET /`` for browsers. Others get TorchServe's 405, as they do from TorchServe."""
