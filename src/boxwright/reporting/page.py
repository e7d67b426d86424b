"""Makes one file of a template; the file needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from boxwright.host.files import writing

from .svg import NONE, between, colour, figure

__all__ = ["as_json", "write_page"]


def write_page(path: Path, template: str, **values: Any) -> None:
    """Render a template of ``templates/`` with the stylesheet and the script that all pages share.

    The page forbids connections and all scripts but its own, so that names on it cannot become code.

    Args:
        path: of the HTML file, which is written whole or not at all; an existing one is replaced.
        template: its file name.
        values: for the template; text is escaped.
    """
    script = _source("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = (
        _environment()
        .get_template(template)
        .render(style=Markup(_source("style.css")), script=Markup(script), script_digest=digest, **values)
    )
    with writing(path) as part:
        part.write_text(page, encoding="utf-8", errors="replace")


def _environment() -> Environment:
    environment = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined, loader=FunctionLoader(_source)
    )
    environment.filters.update(figure=figure, colour=colour, json=as_json)
    environment.globals.update(none=NONE, between=between)
    return environment


def _source(name: str) -> str:
    return resources.files(__package__).joinpath("templates", name).read_text(encoding="utf-8")


def as_json(value: Any) -> Markup:
    """Compact JSON for the inside of a script element: nothing in it can end the element.

    Raises:
        ValueError: a number that is not finite.
    """
    return Markup(json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"))
