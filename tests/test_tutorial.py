"""Does the tutorial, command by command as it stands there, and after it the guides that go on in its folder."""

import json
import re
import tomllib

import pytest

from support.walk import DOCS, Walk, blocks_of, free_port

GUIDES = ("check", "data", "thresholds", "comparing", "archive", "predict", "python", "offline")
"""Pages whose blocks need the tutorial's folder and runs."""

SHORTER = {
    "{'train': 120, 'valid': 24, 'test': 24}": "{'train': 24, 'valid': 8, 'test': 8}",
    "--epochs 12": "--epochs 1",
    "epochs=2": "epochs=1",
}
"""All that is changed of the pages: how many pictures there are, how long trainings take, and the port."""


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        with Walk(tmp_path_factory.mktemp("tutorial"), SHORTER, free_port()) as walk:
            yield walk


@pytest.fixture(scope="module")
def done(walk):
    """The tutorial, done; what each of its commands printed."""
    return walk.through(DOCS / "tutorial.md")


def test_the_tutorial_leads_from_a_folder_to_an_endpoint(done, walk):
    (answer,) = (printed for line, printed in done.items() if line.startswith("curl"))
    assert isinstance(json.loads(answer), list)
    left = ["check.html", "runs/my-run/report.html", "test.html", "compare.html", "model-store/my-run.mar", "drawn"]
    assert [name for name in left if not (walk.place / name).exists()] == []
    (last,) = (printed for line, printed in done.items() if "--endpoint" in line)
    assert re.search(r"mAP .*\+0\.000000", last), last


@pytest.mark.parametrize("name", GUIDES)
def test_a_guide_goes_on_from_there(name, done, walk):
    assert any(walk.through(DOCS / f"{name}.md").values())


def test_what_it_installs_can_be_installed():
    project = tomllib.loads((DOCS.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [block for _, block in blocks_of(DOCS / "tutorial.md") if "pip install" in block]
    (wanted,) = re.findall(r"boxwright\[(.*?)\]", lines[0])
    assert wanted in project["optional-dependencies"]
