"""The site of the documentation: built strictly, its links followed, its pages opened in a real browser.

``BOXWRIGHT_ACCEPT=1 .venv/bin/python -m pytest tests/test_site.py`` also writes the screenshots in ``docs/``.
"""

import io
import os
import re
import subprocess
import sys
import threading
from functools import cache, partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import typer
import yaml
from PIL import Image

import boxwright
from boxwright.cli import app
from boxwright.cli.verbs import VERBS
from boxwright.config import TrainConfig
from boxwright.data.findings import CODES
from boxwright.serving.openapi import describe
from boxwright.serving.settings import ServerSettings
from support.browser import Visit, browser

REPOSITORY = Path(__file__).parents[1]
DOCS = REPOSITORY / "docs"
WIDTHS = (360, 1280)
OPENED = (
    "index.html", "tutorial.html", "check.html", "settings.html", "reference/commands.html", "reference/python.html",
    "reference/http.html", "decisions/index.html", "benchmarks/RESULTS.html",
)  # fmt: skip
LARGEST = 150_000
"""Bytes of a screenshot."""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("site") / "site"
    command = [sys.executable, REPOSITORY / "docs_site" / "build.py", out]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


class Page(HTMLParser):
    """What a page refers to, and the places in it."""

    def __init__(self, path):
        super().__init__()
        self.places, self.links, self.loaded = set(), [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        said = dict(attributes)
        self.places |= {said[name] for name in ("id", "name") if said.get(name)}
        if tag in ("a", "area") and said.get("href") is not None:
            self.links.append(said["href"])
        self.loaded += [said[name] for name in ("src", "data", "poster") if said.get(name)]
        if tag == "link" and said.get("rel") != "canonical":
            self.loaded.append(said["href"])


@cache
def read(path):
    return Page(path)


def fault_of(link, page, site):
    """What is wrong with a link of a page; None if it leads somewhere."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return None
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if target.is_dir():
        target /= "index.html"
    if site.resolve() not in target.resolve().parents or not target.is_file():
        return "leads nowhere"
    wanted = unquote(parts.fragment)
    if wanted and not wanted.startswith("__") and target.suffix == ".html" and wanted not in read(target).places:
        return "has no such place"
    return None


def pages_of(site):
    return [path for path in sorted(site.rglob("*.html")) if path.name != "404.html"]  # which may stand at any depth


def test_every_link_and_every_place_in_a_page_is_there(site):
    followed = [(page, link) for page in pages_of(site) for link in [*read(page).links, *read(page).loaded]]
    assert len(followed) > 5000
    faults = [(page.name, link, fault) for page, link in followed if (fault := fault_of(link, page, site))]
    assert faults == []


def test_nothing_is_loaded_from_another_host(site):
    loaded = {link for page in site.rglob("*.html") for link in Page(page).loaded}
    assert loaded
    assert [link for link in loaded if urlsplit(link).scheme not in ("", "data") or urlsplit(link).netloc] == []
    styles = [path.read_text(encoding="utf-8") for path in site.rglob("*.css")]
    assert styles
    assert not any("url(http" in style or "url(//" in style or "@import" in style for style in styles)


def test_the_reference_has_all_that_the_code_has(site):
    group = typer.main.get_command(app)
    verbs = {name: group.get_command(None, name) for name in VERBS}
    commands = (site / "reference" / "commands.html").read_text(encoding="utf-8")
    options = [name for verb in verbs.values() for one in verb.params for name in one.opts if name.startswith("--")]
    assert len(options) > 80
    assert [name for name in options if f"<code>{name}</code>" not in commands] == []
    assert "<td><code>--seed</code> <code>&lt;int range&gt;</code></td>\n<td><code>0</code></td>" in commands
    assert set(verbs) <= read(site / "reference" / "commands.html").places
    assert set(TrainConfig.model_fields) <= read(site / "settings.html").places
    assert set(CODES) <= read(site / "reference" / "findings.html").places
    assert {*boxwright.__all__} - {"__version__"} <= read(site / "reference" / "python.html").places
    calls = (site / "reference" / "http.html").read_text(encoding="utf-8")
    paths = [path for port in ("predictions", "management") for path in describe(port, ServerSettings())["paths"]]
    assert [path for path in paths if f" {path}</code>" not in calls] == []


def test_every_page_is_in_llms_txt_and_its_markdown_beside_it(site):
    listed = (site / "llms.txt").read_text(encoding="utf-8")
    assert listed.startswith("# boxwright\n\n> A folder of COCO annotations goes in")
    names = [page.relative_to(site).as_posix() for page in pages_of(site)]
    assert [name for name in names if f"({name}.md)" not in listed or not (site / f"{name}.md").is_file()] == []
    whole = (site / "llms-full.txt").read_text(encoding="utf-8")
    assert "Train a detector; all results are in the run folder" in whole  # a docstring, not where to find it
    assert "\n::: " not in whole


def test_the_navigation_names_every_guide():
    text = (REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8")
    assert yaml.safe_load(text)["theme"]["font"] is False
    assert [path.name for path in DOCS.glob("*.md") if path.name not in text] == []


def test_every_option_of_every_verb_is_on_a_page():
    written = "\n".join(path.read_text(encoding="utf-8") for path in (REPOSITORY / "README.md", *DOCS.glob("*.md")))
    named = set(re.findall(r"--[a-z][a-z-]*", written))
    group = typer.main.get_command(app)
    options = [(name, one) for name in VERBS for one in group.get_command(None, name).params if one.opts[0][0] == "-"]
    assert len(options) > 100
    assert [(name, one.opts) for name, one in options if not named & {*one.opts, *one.secondary_opts}] == []


@pytest.fixture(scope="module")
def address(site):
    """Of the site on a free port."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=site)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def chromium():
    with browser() as one:
        yield one


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", OPENED)
def test_a_page_fits_its_window_and_asks_for_nothing_elsewhere(chromium, address, name, width):
    with Visit(chromium, address + name, width) as visit:
        visit.page.wait_for_load_state("networkidle")
        assert visit.errors == []
        assert visit.overflow() <= 0
        assert [url for url in visit.requests if not url.startswith((address, "data:", "blob:"))] == []
        assert visit.page.locator("h1").count() == 1


def test_its_search_finds_a_word_without_another_host(chromium, address):
    with Visit(chromium, address + "index.html", 1280) as visit:
        visit.page.keyboard.press("/")
        visit.page.keyboard.type("letterbox", delay=20)
        visit.page.get_by_role("link", name="Settings").last.wait_for(timeout=20_000)
        assert visit.errors == []
        assert [url for url in visit.requests if not url.startswith((address, "data:", "blob:"))] == []


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["index", "tutorial"])
def test_a_screenshot_shows_it(chromium, address, name, width):
    with Visit(chromium, f"{address}{name}.html", width) as visit:
        visit.page.wait_for_load_state("networkidle")
        shot = visit.page.screenshot()
    small = io.BytesIO()
    Image.open(io.BytesIO(shot)).convert("RGB").quantize(128).save(small, "PNG", optimize=True)
    kept = DOCS / f"site-{name}-{width}.png"
    if "BOXWRIGHT_ACCEPT" in os.environ:
        kept.write_bytes(small.getvalue())
    assert len(small.getvalue()) < LARGEST
    with Image.open(kept) as image:
        assert image.size == (width, 900)
        assert len(image.convert("RGB").getcolors(1 << 20)) > 16
