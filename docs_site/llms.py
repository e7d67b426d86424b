"""Writes ``llms.txt`` and ``llms-full.txt``, and the Markdown of every page beside it, as https://llmstxt.org proposes.

Links are relative to the site's root, since the site may lie anywhere. The Markdown of ``a.html`` is ``a.html.md``.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

_OPTIONAL = ("Project",)
_OPTIONAL_PLACES = ("decisions/", "benchmarks/")
"""What may be left out where space is short: llms.txt has a section of that name for it."""

_OBJECT = re.compile(r'(?:<a id="[^"]*"></a>\s*)?^::: (\S+)\n(?:    .*\n?)*', re.MULTILINE)
_PARAGRAPH = re.compile(r"(?<=\n\n)(?![#|!>< ]|```|[-*] |:::)(.+?)(?=\n\n|\Z)", re.DOTALL)


def write(site: Path, head: tuple[str, str], places: Iterable[tuple[str, str]], pages: Mapping[str, str]) -> None:
    """Write the files into the built site.

    Args:
        site: its folder.
        head: its name and what it is about.
        places: outermost section and place of each page, in the order of the navigation.
        pages: Markdown by place.
    """
    sections: dict[str, list[str]] = {}
    whole = []
    for section, place in places:
        text = _OBJECT.sub(lambda found: _described(found[1]), pages[place]).strip() + "\n"
        built = page_of(place)
        (site / f"{built}.md").write_text(text, encoding="utf-8")
        optional = section in _OPTIONAL or place.startswith(_OPTIONAL_PLACES)
        sections.setdefault("Optional" if optional else section or "Start here", []).append(_entry(built, text))
        whole.append(text)
    parts = [f"# {head[0]}", f"> {head[1]}"]
    parts += ["\n".join([f"## {name}", "", *sections[name]]) for name in sorted(sections, key="Optional".__eq__)]
    (site / "llms.txt").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    (site / "llms-full.txt").write_text("\n".join(whole), encoding="utf-8")


def page_of(place: str) -> str:
    """The HTML file that is built of a Markdown file."""
    folder, _, name = place.rpartition("/")
    name = "index.html" if name == "README.md" else f"{name.removesuffix('.md')}.html"
    return f"{folder}/{name}" if folder else name


def _entry(page: str, text: str) -> str:
    title = re.search(r"^# (.+)$", text, re.MULTILINE)
    assert title, f"{page} has no heading of the first level."
    first = _PARAGRAPH.search(text)
    words = " ".join(re.sub(r"\*\*|\[([^\]]*)\]\([^)]*\)", r"\1", first[1]).split()) if first else ""
    sentence = re.split(r"(?<=[.:?!]) ", words)[0].rstrip(":")
    return f"- [{title[1]}]({page}.md)" + (f": {sentence}" if sentence else "")


def _described(path: str) -> str:
    """What mkdocstrings would read from the code."""
    module, _, name = path.rpartition(".")
    thing: Any = getattr(import_module(module), name)
    try:
        signature = str(inspect.signature(thing))
    except ValueError:  # an exception without an __init__ of its own
        signature = ""
    return f"### {name}\n\n```python\n{name}{signature}\n```\n\n{inspect.getdoc(thing)}\n"
