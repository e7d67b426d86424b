"""Builds the site of the documentation: ``python docs_site/build.py [OUT]``, or ``make docs``.

All that is special to us happens before the generator starts: it gets a folder of Markdown and a ``mkdocs.yml``, and
can be exchanged. Every warning ends the build. Nothing is fetched.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import llms
import yaml
from sources import REPOSITORY, gather, navigation, places, settings_of_site


def build(out: Path) -> None:
    """Build the site into ``out``, in place of what is there.

    Args:
        out: folder; made if missing.
    """
    settings = settings_of_site()
    settings["nav"] = navigation(settings["nav"])
    listed = list(places(settings["nav"]))
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        pages = gather(work / "docs")
        _compare(set(pages), [place for _, place in listed])
        (work / "mkdocs.yml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
        (work / "src").symlink_to(REPOSITORY / "src")
        _generate(work)
        llms.write(work / "site", (settings["site_name"], settings["site_description"]), listed, pages)
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(work / "site", out)


def _compare(there: set[str], listed: list[str]) -> None:
    """Raise if a page is not in the navigation once, or one of the navigation is not there."""
    twice = {place for place in listed if listed.count(place) > 1}
    wrong = [("is not in nav", there - set(listed)), ("of nav is not there", set(listed) - there), ("is twice", twice)]
    lines = [f"{place} {what}" for what, places in wrong for place in sorted(places)]
    if lines:
        sys.exit("mkdocs.yml: " + "; ".join(lines))


def _generate(work: Path) -> None:
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--config-file", str(work / "mkdocs.yml")]
    if subprocess.run(command, cwd=work).returncode:
        sys.exit("The site was not built.")


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else REPOSITORY / "site"
    build(target)
    print(f"The site: {target / 'index.html'}")  # noqa: T201
