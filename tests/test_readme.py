"""Runs every `bash` block of the README, in order, on a small folder; training for two epochs only."""

import re

import pytest

from boxwright.data import draw_demo_data
from support.walk import DOCS, Walk, blocks_of, lines_of

README = DOCS.parent / "README.md"
SHORTER = {"--name my-run": "--name my-run --model fasterrcnn_mobilenet_v3_large_320_fpn --epochs 2"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("readme")
    draw_demo_data(folder / "my-folder", sizes={"train": 4, "valid": 2, "test": 2})
    picture = next((folder / "my-folder" / "test").glob("*.jpg"))
    (folder / "picture.jpg").write_bytes(picture.read_bytes())
    return folder


def test_the_readme_is_short():
    commands = [line for _, block in blocks_of(README) for line in lines_of(block)]
    assert 8 <= len(commands) <= 10
    assert len(README.read_text(encoding="utf-8").splitlines()) < 80


def test_its_links_lead_somewhere():
    links = re.findall(r"\]\(([^)#]+)\)", README.read_text(encoding="utf-8"))
    assert {"docs/tutorial.md", "docs/report.png", "docs/page.png"} <= set(links)
    assert [link for link in links if not (README.parent / link).is_file()] == []


def test_every_command_does_what_it_says(place, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    with Walk(place, SHORTER) as walk:
        printed = walk.through(README)
    assert any(line.startswith("curl") for line in printed)
    assert any("--endpoint" in line for line in printed)
