"""Gathers what the site is made of: pages of ``docs/``, pages from the code, and what they link to outside ``docs/``.

A link that works on the disk, as ``../benchmarks/RESULTS.md`` in ``docs/figures.md``, works on the site: the file is
there, under its path in the repository. So pages keep one form of link, which editors and code hosts understand too.
"""

from __future__ import annotations

import posixpath
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import reference
import yaml

REPOSITORY = Path(__file__).parents[1]

_DOCS = "docs/"
_SETTINGS = "settings.md"
_DECISIONS = "decisions/"
_PAGES = ("CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/RESULTS.md")
"""Outside ``docs/`` and in ``nav``."""

_LINK = re.compile(r"(?<=\]\()(?!\w+:)([^)\s#]+)(?=[)#])")
_BLOCK = re.compile(r"^(?:```.*?^```|(?: {4}.*\n)+)", re.DOTALL | re.MULTILINE)


def gather(folder: Path) -> dict[str, str]:
    """Write all files of the site, before it is built, into ``folder``.

    Returns:
        The Markdown of every page by its place.
    """
    shutil.copytree(REPOSITORY / _DOCS, folder, ignore=shutil.ignore_patterns("*.md"))
    made = reference.pages()
    pages = {place: text for place, text in made.items() if place.endswith(".md")}
    for path in sorted([f"{_DOCS}{one.relative_to(REPOSITORY / _DOCS).as_posix()}" for one in _pages_of_docs()]):
        pages[_place(path)] = _with_links_of_site(path)
    for path in _from_elsewhere():
        if path.endswith(".md"):
            pages[path] = _with_links_of_site(path)
        else:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / path, folder / path)
    pages[_SETTINGS] = reference.with_settings(pages[_SETTINGS])
    for place, text in {**made, **pages}.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(text, encoding="utf-8")
    return pages


def navigation(nav: Any) -> Any:
    """``nav`` with the pages of ``docs/decisions`` in place of the folder's name, so that none is named twice."""
    if isinstance(nav, dict):
        return {name: navigation(below) for name, below in nav.items()}
    if isinstance(nav, list):
        return [navigation(below) for below in nav]
    if nav != _DECISIONS:
        return nav
    numbered = sorted(path.name for path in (REPOSITORY / _DOCS / _DECISIONS).glob("[0-9]*.md"))
    return [{"All decisions": f"{_DECISIONS}README.md"}, *(f"{_DECISIONS}{name}" for name in numbered)]


def places(nav: Any, section: str = "") -> Iterator[tuple[str, str]]:
    """Outermost section and place of every page of ``nav``, in its order."""
    if isinstance(nav, str):
        yield section, nav
    elif isinstance(nav, Mapping):
        for name, below in nav.items():
            yield from places(below, section if section or isinstance(below, str) else name)
    else:
        for below in nav:
            yield from places(below, section)


def settings_of_site() -> dict[str, Any]:
    """``mkdocs.yml``."""
    text = (REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8")
    settings: dict[str, Any] = yaml.safe_load(text)
    return settings


def _pages_of_docs() -> Iterator[Path]:
    return (REPOSITORY / _DOCS).rglob("*.md")


def _from_elsewhere() -> list[str]:
    """Files outside ``docs/`` that pages link to, and those that they link to, by their paths in the repository."""
    waiting = [*_PAGES]
    for page in _pages_of_docs():
        waiting += _linked(page.relative_to(REPOSITORY).as_posix())
    found: list[str] = []
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.append(path)
            waiting += _linked(path) if path.endswith(".md") else []
    return sorted(found)


def _linked(page: str) -> list[str]:
    text = _BLOCK.sub("", (REPOSITORY / page).read_text(encoding="utf-8"))
    paths = (_target(page, target) for target in _LINK.findall(text))
    return [path for path in paths if not path.startswith((_DOCS, "../")) and _is_file(path) and path != "README.md"]


def _is_file(path: str) -> bool:
    return (REPOSITORY / path).is_file()


def _with_links_of_site(page: str) -> str:
    """The Markdown of a page of the repository, its links as the site has the files."""
    here = posixpath.dirname(_place(page)) or "."

    def of_site(link: re.Match[str]) -> str:
        path = _target(page, link[1])
        return posixpath.relpath(_place(path), here) if (REPOSITORY / path).exists() else link[1]

    return _LINK.sub(of_site, (REPOSITORY / page).read_text(encoding="utf-8"))


def _place(path: str) -> str:
    """Where the site has a file of the repository."""
    if path == "README.md":
        return "index.md"
    if (REPOSITORY / path / "README.md").is_file():
        path = f"{path}/README.md"
    return path.removeprefix(_DOCS)


def _target(page: str, link: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), link))
